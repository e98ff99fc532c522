// Inclusive prefix sums of 128 numbers a CTA: shared memory within warps, then across them.
#include "common.cuh"

template <int MUTANT>
__device__ void scan(const int* x, int* y) {
    __shared__ int values[128];
    __shared__ int totals[4];
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    values[thread] = x[blockIdx.x * 128 + thread];
    if (MUTANT != 1) __syncwarp();
    for (int o = 1; o < 32; o *= 2) {
        const int other = lane >= o ? values[thread - o] : 0;
        if (MUTANT != 2) __syncwarp();
        values[thread] += other;
        if (MUTANT == 3) { if (lane < 31) __syncwarp(); } else __syncwarp();
    }
    if (lane == 31) totals[warp] = values[thread];
    // 4: one warp names another number of threads; 5: one warp uses another barrier.
    if (MUTANT == 4 && warp == 3) asm volatile("bar.sync 0, 96;" ::: "memory");
    else if (MUTANT == 5 && warp == 3) asm volatile("bar.sync 1;" ::: "memory");
    else asm volatile("bar.sync 0;" ::: "memory");
    int before = 0;
    for (int w = 0; w < warp; w++) before += totals[w];
    y[blockIdx.x * 128 + thread] = values[thread] + before;
}

#define KERNEL(M) extern "C" __global__ void scan_##M(const int* x, int* y) { scan<M>(x, y); }
FOR_EACH_MUTANT_6(KERNEL)
