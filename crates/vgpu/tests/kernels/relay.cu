// Threads write global memory, and bulk copies of the same kernel read it: each CTA doubles its part
// into a buffer and copies it back; the last CTA copies all parts and adds them up.
#include "common.cuh"

constexpr int PART = 64, CTAS = 4;

// Kernels from 10 on are correct in other ways than 0: in 10 the thread that copies runs the proxy
// fence, in 11 each fence is for all of memory.
template <int MUTANT>
__device__ void relay(const float* x, float* parts, unsigned* ticket, float* y, float* sums) {
    __shared__ __align__(128) float own[PART];
    __shared__ __align__(128) float all[PART * CTAS];
    __shared__ __align__(8) uint64_t full[2];
    __shared__ bool last;
    const int thread = threadIdx.x, place = blockIdx.x * PART + thread;  // 64 threads
    auto fence_global = [] { asm volatile("fence.proxy.async.global;" ::: "memory"); };
    if (thread == 0) {
        mbarrier_init(shared_address(&full[0]), 1);
        mbarrier_init(shared_address(&full[1]), 1);
        fence_proxy();
    }
    parts[place] = 2 * x[place];
    // 1: the copy may read what was there before; 2: a fence, but for shared memory.
    if (MUTANT == 2) fence_proxy();
    else if (MUTANT == 11) asm volatile("fence.proxy.async;" ::: "memory");
    else if (MUTANT != 1 && MUTANT != 3 && MUTANT != 10) fence_global();
    __syncthreads();
    if (thread == 0) {
        if (MUTANT == 10) fence_global();
        if (MUTANT != 3) {
            mbarrier_expect(shared_address(&full[0]), PART * 4);
            bulk_load(shared_address(own), parts + blockIdx.x * PART, PART * 4, shared_address(&full[0]));
        }
    }
    if (MUTANT != 3) {  // 3: no CTA copies its own part, and none has a fence
        mbarrier_wait(shared_address(&full[0]), 0);
        y[place] = own[thread] + 1;
    } else {
        y[place] = 2 * x[place] + 1;
    }
    if (thread == 0) {
        if (MUTANT != 4) __threadfence();  // 4: nothing orders the part before the ticket
        last = atomicAdd(ticket, 1u) == CTAS - 1;
        __threadfence();
    }
    __syncthreads();
    if (!last) return;
    if (thread == 0) {
        if (MUTANT != 3) fence_global();
        mbarrier_expect(shared_address(&full[1]), PART * CTAS * 4);
        bulk_load(shared_address(all), parts, PART * CTAS * 4, shared_address(&full[1]));
    }
    mbarrier_wait(shared_address(&full[1]), 0);
    sums[thread] = all[thread] + all[PART + thread] + all[2 * PART + thread] + all[3 * PART + thread];
}

#define KERNEL(M)                                                                                 \
    extern "C" __global__ void __launch_bounds__(64)                                              \
        relay_##M(const float* x, float* parts, unsigned* ticket, float* y, float* sums) {        \
        relay<M>(x, parts, ticket, y, sums);                                                      \
    }
FOR_EACH_MUTANT_5(KERNEL)
KERNEL(10) KERNEL(11)
