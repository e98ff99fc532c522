// Transposition by tiles of 32 x 32, 32 x 8 threads.
#include "common.cuh"

template <int MUTANT>
__device__ void transpose(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[32][33];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const int row0 = blockIdx.y * 32, column0 = blockIdx.x * 32;
    for (int i = ty; i < 32; i += 8) {
        const int row = row0 + i, column = column0 + tx;
        const bool inside = MUTANT == 1 ? row <= rows && column < columns : row < rows && column < columns;
        if (inside) tile[i][MUTANT == 2 ? tx + 1 : tx] = x[row * columns + column];
    }
    if (MUTANT == 3) {  // only half of each warp comes to the barrier
        if (tx < 16) __syncthreads();
    } else if (MUTANT != 4) {
        __syncthreads();
    }
    const int shift = MUTANT == 5 ? 1 : 0;  // beyond the tile
    for (int i = ty; i < 32; i += 8) {
        const int row = column0 + i, column = row0 + tx;
        if (row < columns && column < rows) y[row * rows + column] = (&tile[0][0])[(tx + shift) * 33 + i];
    }
}

#define KERNEL(M) \
    extern "C" __global__ void transpose_##M(const float* x, float* y, int r, int c) { transpose<M>(x, y, r, c); }
FOR_EACH_MUTANT_6(KERNEL)
