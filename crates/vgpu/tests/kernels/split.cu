// Sum of an array by many CTAs; the last one to finish adds up the parts.
#include "common.cuh"

template <int MUTANT>
__device__ void split(const float* x, float* parts, unsigned* ticket, float* total, int n) {
    __shared__ float sums[2];
    __shared__ bool last;
    const int thread = threadIdx.x;  // 64 threads
    float sum = 0;
    for (int i = blockIdx.x * 64 + thread; i < n; i += gridDim.x * 64) sum += x[i];
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    if ((thread & 31) == 0) sums[thread >> 5] = sum;
    __syncthreads();
    if (thread == 0) {
        parts[MUTANT == 4 ? 0 : blockIdx.x] = sums[0] + sums[1];  // 4: all write to one place
        if (MUTANT != 1) __threadfence();  // 1: the part may arrive after the ticket
        const unsigned mine = MUTANT == 2 ? (*ticket)++ : atomicAdd(ticket, 1u);
        last = mine == gridDim.x - 1;
        if (MUTANT != 3) __threadfence();  // 3: the parts may have been read before the ticket
    }
    if (MUTANT != 5) __syncthreads();
    if (last && thread == 0) {
        float all = 0;
        for (int i = 0; i < gridDim.x; i++) all += parts[i];
        *total = all;
    }
}

#define KERNEL(M)                                                                                  \
    extern "C" __global__ void split_##M(const float* x, float* p, unsigned* t, float* s, int n) { \
        split<M>(x, p, t, s, n);                                                                   \
    }
FOR_EACH_MUTANT_6(KERNEL)
