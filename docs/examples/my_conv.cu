// my_conv: a 3×3 convolution with stride 1, float32. A kernel to start from; docs/your-own-kernel.md walks through it.
//
// A block makes a tile of 8 × 16 pixels for 16 filters, one pixel a thread. Eight channels at a time, it copies the part of the image
// that the tile sees (10 × 18 pixels: the borders too) and the 16 filters into shared memory. Each word of the image that a thread
// then reads serves 16 multiplications, and each word of global memory is read once a block instead of nine times a thread.
//
// Legend: N batch, C channels in, K channels out, H W input, R S filter, P Q output. x (N, H, W, C), w (K, 3, 3, C), y (N, P, Q, K).
//
// entries: my_conv
// grid: N * ceil(P, 8) * ceil(Q, 16), ceil(K, 16)
// block: 128
// shared: 0
// supports: R == 3 and S == 3 and stride_h == 1 and stride_w == 1 and dilation_h == 1 and dilation_w == 1 and groups == 1
#include "common.cuh"
#include "conv_shape.cuh"

constexpr int ROWS = 8, COLUMNS = 16, FILTERS = 16, DEPTH = 8, THREADS = ROWS * COLUMNS;
constexpr int HIGH = ROWS + 2, WIDE = COLUMNS + 2;  // what a tile sees

extern "C" __global__ void __launch_bounds__(128) my_conv(const float* x, const float* w, const float* bias, float* y, ConvShape g) {
    __shared__ float image[DEPTH][HIGH][WIDE];
    __shared__ float filters[3][3][DEPTH][FILTERS];

    const int across = ceil_div(g.Q, COLUMNS), tiles = ceil_div(g.P, ROWS) * across;
    const int n = blockIdx.x / tiles, tile = blockIdx.x % tiles, k0 = blockIdx.y * FILTERS;
    const int top = tile / across * ROWS, left = tile % across * COLUMNS;
    const int i = threadIdx.x / COLUMNS, j = threadIdx.x % COLUMNS;  // this thread's pixel in the tile

    float sums[FILTERS] = {};
    for (int c0 = 0; c0 < g.C; c0 += DEPTH) {
        // Neighbouring threads copy neighbouring channels: those lie side by side in memory. What is outside of the image, or of C, is 0.
        for (int e = threadIdx.x; e < DEPTH * HIGH * WIDE; e += THREADS) {
            const int c = e % DEPTH, column = e / DEPTH % WIDE, row = e / (DEPTH * WIDE);
            const int h = top + row - g.pad_top, v = left + column - g.pad_left;
            const bool inside = c0 + c < g.C && 0 <= h && h < g.H && 0 <= v && v < g.W;
            image[c][row][column] = inside ? x[(((int64)n * g.H + h) * g.W + v) * g.C + c0 + c] : 0.0f;
        }
        for (int e = threadIdx.x; e < 9 * DEPTH * FILTERS; e += THREADS) {
            const int c = e % DEPTH, f = e / DEPTH % FILTERS, tap = e / (DEPTH * FILTERS);
            const bool there = c0 + c < g.C && k0 + f < g.K;
            filters[tap / 3][tap % 3][c][f] = there ? w[((int64)(k0 + f) * 9 + tap) * g.C + c0 + c] : 0.0f;
        }
        __syncthreads();  // everything is there

        for (int r = 0; r < 3; ++r)
            for (int s = 0; s < 3; ++s)
                for (int c = 0; c < DEPTH; ++c) {
                    const float value = image[c][i + r][j + s];
#pragma unroll
                    for (int f = 0; f < FILTERS; ++f) sums[f] += value * filters[r][s][c][f];  // all threads read one word: no conflict
                }
        __syncthreads();  // everything is read; the next channels may come
    }

    if (top + i >= g.P || left + j >= g.Q) return;
    float* pixel = y + (((int64)n * g.P + top + i) * g.Q + left + j) * g.K;
#pragma unroll
    for (int f = 0; f < FILTERS; ++f)
        if (k0 + f < g.K) pixel[k0 + f] = sums[f] + bias[k0 + f];
}
