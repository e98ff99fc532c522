// Counts of 64 values, per CTA in shared memory, then added to global memory.
#include "common.cuh"

template <int MUTANT>
__device__ void histogram(const uint8_t* x, unsigned* counts, int n) {
    __shared__ unsigned bins[64];
    const int thread = threadIdx.x;
    if (thread < 64 && MUTANT != 1) bins[thread] = 0;
    if (MUTANT != 2) __syncthreads();
    for (int i = blockIdx.x * blockDim.x + thread; i < n; i += gridDim.x * blockDim.x) {
        const int bin = MUTANT == 3 ? x[i] & 127 : x[i] & 63;  // 3: beyond the bins
        if (MUTANT == 4) bins[bin]++; else atomicAdd(&bins[bin], 1u);
    }
    __syncthreads();
    if (thread < 64) {
        if (MUTANT == 5) counts[thread] += bins[thread]; else atomicAdd(&counts[thread], bins[thread]);
    }
}

#define KERNEL(M) \
    extern "C" __global__ void histogram_##M(const uint8_t* x, unsigned* c, int n) { histogram<M>(x, c, n); }
FOR_EACH_MUTANT_6(KERNEL)
