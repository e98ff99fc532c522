// C = A B^T in bf16, tiles of 64 x 64 x 32, four warps, three stages of cp.async.
#include "common.cuh"

constexpr int TILE = 64, DEPTH = 32, STAGES = 3;

template <int MUTANT>
__device__ void product(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) {
    extern __shared__ __align__(128) unsigned char memory[];
    auto* tiles = reinterpret_cast<__nv_bfloat16*>(memory);
    const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31;
    const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
    auto swizzle = [](int row, int chunk) { return row * DEPTH + ((chunk ^ ((row >> 1) & 3)) << 3); };
    auto stage_of = [&](int s, int operand) { return tiles + (2 * s + operand) * TILE * DEPTH; };
    auto load = [&](int s, int k0) {
        for (int i = thread; i < TILE * 4; i += 128) {
            const int row = i >> 2, chunk = i & 3;
            copy_async_16(shared_address(stage_of(s, 0) + swizzle(row, chunk)), a + (row0 + row) * k + k0 + chunk * 8);
            copy_async_16(shared_address(stage_of(s, 1) + swizzle(row, chunk)), b + (column0 + row) * k + k0 + chunk * 8);
        }
        commit_copies();
    };
    float acc[2][4][4];
    if (MUTANT != 3)  // accumulators that nothing has set
        for (auto& i : acc) for (auto& j : i) for (float& v : j) v = 0;
    const int steps = k / DEPTH, warp_row = (warp & 1) * 32, warp_column = (warp >> 1) * 32;
    for (int s = 0; s < STAGES - 1; s++) load(s, s * DEPTH);
    for (int step = 0; step < steps; step++) {
        if (MUTANT == 2) wait_copies<STAGES - 1>(); else wait_copies<STAGES - 2>();  // 2: one group too lax
        if (MUTANT != 1) __syncthreads();
        const int next = step + STAGES - 1;
        // 4: overwrites the stage that is being read.
        if (next < steps) load((MUTANT == 4 ? step : next) % STAGES, next * DEPTH); else commit_copies();
        const int s = step % STAGES;
        for (int part = 0; part < 2; part++) {
            uint32_t fa[2][4], fb[2][4];
            for (int i = 0; i < 2; i++) {
                const int row = warp_row + i * 16 + (lane & 15);
                // 5: the swizzle of the store is forgotten.
                const int chunk = part * 2 + (lane >> 4);
                load_matrices(fa[i], shared_address(stage_of(s, 0) + (MUTANT == 5 ? row * DEPTH + chunk * 8 : swizzle(row, chunk))));
            }
            for (int j = 0; j < 2; j++) {
                const int row = warp_column + j * 16 + (lane & 7) + ((lane >> 4) << 3);
                load_matrices(fb[j], shared_address(stage_of(s, 1) + swizzle(row, part * 2 + ((lane >> 3) & 1))));
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++) multiply(acc[i][j], fa[i], fb[j >> 1][(j & 1) * 2], fb[j >> 1][(j & 1) * 2 + 1]);
        }
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++) {
            const int row = row0 + warp_row + i * 16 + (lane >> 2), column = column0 + warp_column + j * 8 + (lane & 3) * 2;
            for (int e = 0; e < 4; e++) c[(row + (e >> 1) * 8) * n + column + (e & 1)] = acc[i][j][e];
        }
}

#define KERNEL(M)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        product_##M(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) { product<M>(a, b, c, n, k); }
FOR_EACH_MUTANT_6(KERNEL)
