// Bulk copies out of shared memory, and who reads what they wrote: the CTA itself, and the CTA that
// ends last.
#include "common.cuh"

constexpr int PART = 64, CTAS = 4;

template <int MUTANT>
__device__ void publish(const float* x, float* parts, unsigned* ticket, float* y, float* sums) {
    __shared__ __align__(128) float own[PART];
    __shared__ bool last;
    const int thread = threadIdx.x, place = blockIdx.x * PART + thread;  // 64 threads
    own[thread] = 2 * x[place];
    fence_proxy();
    __syncthreads();
    if (thread == 0) {
        bulk_store(parts + blockIdx.x * PART, shared_address(own), PART * 4);
        // 1: the source has been read, but the target need not be written; 2: not even that.
        if (MUTANT == 1 || MUTANT == 3) wait_bulk_read<0>();
        else if (MUTANT != 2) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
    __syncthreads();
    y[place] = MUTANT == 3 ? 2 * x[place] + 1 : parts[place] + 1;  // 3: only another CTA reads the part
    if (thread == 0) {
        __threadfence();
        last = atomicAdd(ticket, 1u) == CTAS - 1;
        __threadfence();
    }
    __syncthreads();
    if (!last) return;
    float sum = 0;
    for (int part = 0; part < CTAS; part++)
        sum += MUTANT == 3 && part == blockIdx.x ? 2 * x[place] : parts[part * PART + thread];
    sums[thread] = sum;
}

#define KERNEL(M)                                                                                   \
    extern "C" __global__ void __launch_bounds__(64)                                                \
        publish_##M(const float* x, float* parts, unsigned* ticket, float* y, float* sums) {        \
        publish<M>(x, parts, ticket, y, sums);                                                      \
    }
KERNEL(0) KERNEL(1) KERNEL(2) KERNEL(3)
