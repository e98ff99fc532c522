// Shared memory that threads and bulk copies use in turns: written by threads, filled by a copy,
// read by threads, and filled again, by another thread than the one that made the mbarrier.
#include "common.cuh"

constexpr int CHUNK = 256;

__device__ __forceinline__ void fence_everything() { asm volatile("fence.proxy.async;" ::: "memory"); }

// Kernels from 10 on are correct in other ways than 0: 10 has the fence made for mbarriers; the
// proxy fences are run in 11 by the thread that copies, in 12 by one that stands between.
template <int MUTANT>
__device__ void refill(const float* x, float* y, int chunks) {
    __shared__ __align__(128) float tile[CHUNK];
    __shared__ __align__(8) uint64_t full;
    constexpr bool OWN_FENCES = MUTANT <= 10;
    const int thread = threadIdx.x;  // 128 threads
    const uint32_t barrier = shared_address(&full);
    for (int i = thread; i < CHUNK; i += 128) tile[i] = -1;
    // 1: the writes may come after the copy that overwrites them; 4: a fence, but for global memory.
    if (MUTANT == 4) asm volatile("fence.proxy.async.global;" ::: "memory");
    else if (MUTANT != 1 && OWN_FENCES) fence_proxy();
    if (thread == 0) {
        mbarrier_init(barrier, 1);
        if (MUTANT == 10) asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        else if (MUTANT != 3 && OWN_FENCES) fence_proxy();  // 3: threads see the mbarrier, copies need not
    }
    auto meet = [&] {
        __syncthreads();
        if (MUTANT == 12) {
            if (thread == 77) fence_everything();
            __syncthreads();
        }
    };
    meet();
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int start = (blockIdx.x * chunks + chunk) * CHUNK;
        if (thread == 32) {
            if (MUTANT == 11) fence_proxy();
            mbarrier_expect(barrier, CHUNK * 4);
            bulk_load(shared_address(tile), x + start, CHUNK * 4, barrier);
        }
        mbarrier_wait(barrier, chunk & 1);
        for (int i = thread; i < CHUNK; i += 128) y[start + i] = 2 * tile[i];
        if (MUTANT != 2 && OWN_FENCES) fence_proxy();  // 2: the reads may come after the next copy
        meet();
    }
}

#define KERNEL(M) \
    extern "C" __global__ void __launch_bounds__(128) refill_##M(const float* x, float* y, int n) { refill<M>(x, y, n); }
KERNEL(0) KERNEL(1) KERNEL(2) KERNEL(3) KERNEL(4) KERNEL(10) KERNEL(11) KERNEL(12)
