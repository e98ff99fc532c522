// C = A B^T in bf16 with edges: tiles of 64 x 64 x 32, four warps, three stages of cp.async.
// The two seeded faults are those of bad1.cu and bad2.cu, with which the first prototype of the
// interpreter was tried.
#include "common.cuh"

constexpr int TILE = 64, DEPTH = 32, STAGES = 3;

template <int MUTANT>
__device__ void gemm(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {
    extern __shared__ __align__(128) unsigned char memory[];
    auto* stages = reinterpret_cast<__nv_bfloat16*>(memory);
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    const int first_row = blockIdx.y * TILE, first_column = blockIdx.x * TILE;
    // Rows of 64 bytes; their four chunks are permuted so that ldmatrix meets no bank twice.
    auto place = [&](int stage, int operand, int row, int chunk) {
        return shared_address(stages + ((2 * stage + operand) * TILE + row) * DEPTH + ((chunk ^ (row >> 1 & 3)) << 3));
    };
    auto fetch = [&](int step) {
        if (step * DEPTH < k)
            for (int i = thread; i < 4 * TILE; i += 128) {
                const int row = i >> 2, chunk = i & 3, depth = step * DEPTH + 8 * chunk;
                // Rows behind the edge repeat the last one; nothing is stored for them.
                copy_async_16(place(step % STAGES, 0, row, chunk), a + size_t(min(first_row + row, m - 1)) * k + depth);
                copy_async_16(place(step % STAGES, 1, row, chunk), b + size_t(min(first_column + row, n - 1)) * k + depth);
            }
        commit_copies();
    };
    float sums[2][4][4] = {};
    const int warp_row = 32 * (warp & 1), warp_column = 32 * (warp >> 1);
    for (int step = 0; step < STAGES - 1; step++) fetch(step);
    for (int step = 0; step * DEPTH < k; step++) {
        wait_copies<MUTANT == 2 ? STAGES - 1 : STAGES - 2>();  // 2: the newest stage may be under way
        if (MUTANT != 1) __syncthreads();                      // 1: others' copies are not waited for
        fetch(step + STAGES - 1);
        for (int half = 0; half < 2; half++) {
            uint32_t rows[2][4], columns[2][4];
            for (int i = 0; i < 2; i++) {
                load_matrices(rows[i], place(step % STAGES, 0, warp_row + 16 * i + (lane & 15), 2 * half + (lane >> 4)));
                load_matrices(columns[i], place(step % STAGES, 1, warp_column + 16 * i + (lane & 7) + (lane >> 4 << 3),
                                                2 * half + (lane >> 3 & 1)));
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++)
                    multiply(sums[i][j], rows[i], columns[j >> 1][2 * (j & 1)], columns[j >> 1][2 * (j & 1) + 1]);
        }
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int half = 0; half < 2; half++) {
                const int row = first_row + warp_row + 16 * i + 8 * half + (lane >> 2);
                const int column = first_column + warp_column + 8 * j + 2 * (lane & 3);
                if (row < m && column < n)
                    *reinterpret_cast<__nv_bfloat162*>(c + size_t(row) * n + column) =
                        __floats2bfloat162_rn(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
}

#define KERNEL(M)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128) gemm_##M(                                              \
        const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int m, int n, int k) {             \
        gemm<M>(a, b, c, m, n, k);                                                                           \
    }
KERNEL(0) KERNEL(1) KERNEL(2)
