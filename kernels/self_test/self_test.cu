// Two small kernels whose results are known exactly: the first launches on a new device, and the
// kernels that the tests of the driver surface use.

// sum[i] = a[i] + b[i] for i < count; any grid.
extern "C" __global__ void __launch_bounds__(256)
    self_test_add_f32(const float* __restrict__ a, const float* __restrict__ b,
                      float* __restrict__ sum, unsigned count) {
    const unsigned stride = gridDim.x * blockDim.x;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        sum[i] = a[i] + b[i];
    }
}

// sums[b] = sum over the block's slice of 256 values (missing ones count as 0), modulo 2^32, through
// shared memory. Blocks of 256 threads.
extern "C" __global__ void __launch_bounds__(256)
    self_test_block_sum_u32(const unsigned* __restrict__ values, unsigned* __restrict__ sums,
                            unsigned count) {
    __shared__ unsigned partial[256];
    const unsigned i = blockIdx.x * 256 + threadIdx.x;
    partial[threadIdx.x] = i < count ? values[i] : 0u;
    __syncthreads();
    for (unsigned half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = partial[0];
    }
}
