// y = 2 x through shared memory: bulk copies in, two stages with mbarriers, bulk copies out.
#include "common.cuh"

constexpr int CHUNK = 256;  // floats a stage

template <int MUTANT>
__device__ void pipeline(const float* x, float* y, int chunks) {
    __shared__ __align__(128) float in[2][CHUNK];
    __shared__ __align__(128) float out[2][CHUNK];
    __shared__ __align__(8) uint64_t full[2];
    const int thread = threadIdx.x;  // 128 threads
    const uint32_t barrier[2] = {shared_address(&full[0]), shared_address(&full[1])};
    if (thread == 0) {
        mbarrier_init(barrier[0], 1);
        mbarrier_init(barrier[1], 1);
        fence_proxy();
    }
    if (MUTANT != 1) __syncthreads();  // 1: others may wait before the mbarriers exist
    const float* source = x + blockIdx.x * chunks * CHUNK;
    float* target = y + blockIdx.x * chunks * CHUNK;
    auto fetch = [&](int chunk) {
        const int s = chunk & 1;
        mbarrier_expect(barrier[s], MUTANT == 2 ? CHUNK * 4 - 16 : CHUNK * 4);  // 2: too few bytes
        if (MUTANT == 4) mbarrier_arrive(barrier[s]);  // 4: an arrival that the phase does not expect
        bulk_load(shared_address(in[s]), source + chunk * CHUNK, CHUNK * 4, barrier[s]);
    };
    if (thread == 0) {
        fetch(0);
        if (chunks > 1) fetch(1);
    }
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int s = chunk & 1;
        if (MUTANT != 3) mbarrier_wait(barrier[s], (chunk >> 1) & 1);  // 3: reads what is still under way
        // Before a buffer is written again, the copy out of it must have read it.
        if (thread == 0 && MUTANT != 5) wait_bulk_read<1>();
        __syncthreads();
        for (int i = thread; i < CHUNK; i += 128) out[s][i] = 2 * in[s][i];
        if (MUTANT != 6) fence_proxy();
        if (MUTANT != 7) __syncthreads();
        if (thread == 0) {
            bulk_store(target + chunk * CHUNK, shared_address(out[s]), CHUNK * 4);
            if (chunk + 2 < chunks) fetch(chunk + 2);
        }
    }
    if (thread == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

#define KERNEL(M) \
    extern "C" __global__ void __launch_bounds__(128) pipeline_##M(const float* x, float* y, int n) { pipeline<M>(x, y, n); }
FOR_EACH_MUTANT_6(KERNEL)
KERNEL(6)
KERNEL(7)
