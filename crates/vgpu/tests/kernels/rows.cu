// y = x scaled by a table in constant memory, one CTA a row, staged in dynamic shared memory.
#include "common.cuh"

__constant__ float scales[4] = {1, 2, 3, 4};
__device__ unsigned launches;

template <int MUTANT>
__device__ void rows(const float* x, float* y, int columns) {
    extern __shared__ float row[];
    const int start = blockIdx.x * columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) row[i] = x[start + i];
    __syncthreads();
    float* target = y + start;
    if (MUTANT == 2) target = reinterpret_cast<float*>(reinterpret_cast<uint64_t>(target) + 2);  // misaligned
    for (int i = threadIdx.x; i < columns; i += blockDim.x) target[i] = scales[blockIdx.x & 3] * row[i];
    if (threadIdx.x == 0) atomicAdd(&launches, 1u);
    if (MUTANT == 3 && blockIdx.x == 1) __trap();
}

#define KERNEL(M) \
    extern "C" __global__ void __launch_bounds__(128) rows_##M(const float* x, float* y, int n) { rows<M>(x, y, n); }
KERNEL(0) KERNEL(2) KERNEL(3)
