// Sum of each row, one CTA of 128 threads a row.
#include "common.cuh"

template <int MUTANT>
__device__ void reduce(const float* x, float* sums, int columns) {
    __shared__ float partial[4];
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    float sum = 0;
    const int end = MUTANT == 1 ? columns + 1 : columns;  // reads past the last row
    for (int i = thread; i < end; i += 128) sum += x[blockIdx.x * columns + i];
    const unsigned mask = MUTANT == 2 ? 0x0000ffffu : 0xffffffffu;  // lanes not in their own mask
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(mask, sum, o);
    if (lane == 0 && !(MUTANT == 3 && warp == 3)) partial[warp] = sum;  // one partial sum is missing
    if (MUTANT != 4) __syncthreads();  // nothing orders the writes before the reads
    if (warp == 0) {
        float total = lane < 4 ? partial[lane] : 0;
        if (MUTANT == 5 && lane < 4) {  // lanes of the mask that never come
            total += __shfl_xor_sync(0xffffffffu, total, 1);
        } else {
            total += __shfl_xor_sync(0xffffffffu, total, 1);
        }
        total += __shfl_xor_sync(0xffffffffu, total, 2);
        if (lane == 0) sums[blockIdx.x] = total;
    }
}

#define KERNEL(M) \
    extern "C" __global__ void __launch_bounds__(128) reduce_##M(const float* x, float* s, int n) { reduce<M>(x, s, n); }
FOR_EACH_MUTANT_6(KERNEL)
