// im2col: unfold the patches of a convolution into the rows of a matrix, and col2im, its transpose.
//
//   im2col_v1   one thread per element of the matrix, every index by division
//   im2col      16 bytes a thread where channel counts allow it (general: one element); a thread keeps its tap and channels and walks down the
//               rows: no division in the loop
//   col2im      a thread gathers every entry of the matrix that its channels of x were copied to (16 bytes; general: one element): no
//               atomics, so the sum's order is fixed; the taps that reach a pixel are found once for all of them
//
// The matrix of group i begins at col + i · rows · R·S·deep. Row (n, p, q), column (r, s, c): a GEMM with the (K, R·S·C) filter gives the NHWC
// output, and neighbouring threads (c fastest) read and write neighbouring addresses. It is made a tile at a time, `rows` rows from row
// `first` on; with `pooling` the rows of the four pixels of a 2×2 window follow each other (see conv_operands.cuh). The matrix is in the type
// that sums are kept in: float for 16-bit images.
//
// N·P·Q·R·S·C passes 2^31 at batch 75 of VGG's conv1_2: products are 64-bit.
//
// Legend: N batch, C channels in (deep of one group), H W input, R S filter, P Q output; x is NHWC.
//
// entries: im2col_*, col2im_*
// hot: im2col_f*, im2col_bf16, col2im_f*, col2im_bf16
#include "common.cuh"
#include "conv_operands.cuh"
#include "vector.cuh"

template <class T, class Sum>
__device__ void im2col_by_element(const T* __restrict__ x, Sum* __restrict__ col, const ConvShape& g, int64 first, int64 rows, bool pooling) {
    const int deep = deep_of(g);
    const int64 columns = (int64)g.R * g.S * deep;
    for_each_element(i, g.groups * rows * columns) {
        const int column = i % columns, tap = column / deep, group = i / (rows * columns);
        const T* at = Taps<false>::under(x, g, pixel_of(int(first + i / columns % rows), g.P, g.Q, pooling), tap / g.S, tap % g.S);
        col[i] = at ? widen(at[group * deep + column % deep]) : Sum(0);
    }
}

// Blocks: (vectors of a row, rows, groups), blockDim.y rows at a time.
template <int V, class T, class Sum>
__device__ void im2col_by_column(const T* __restrict__ x, Sum* __restrict__ col, const ConvShape& g, int64 first, int64 rows,
                                 bool pooling) {
    const int deep = deep_of(g), column = (blockIdx.x * blockDim.x + threadIdx.x) * V, tap = column / deep, step = gridDim.y * blockDim.y;
    const int64 columns = (int64)g.R * g.S * deep;
    if (column >= columns) return;
    const int top = tap / g.S * g.dilation_h - g.pad_top, left = tap % g.S * g.dilation_w - g.pad_left;
    int64 row = (int64)blockIdx.y * blockDim.y + threadIdx.y;
    Pixel at = pixel_of(int(first + row), g.P, g.Q, pooling);
    const Pixel stride = pixel_of(step, g.P, g.Q, false);
    x += blockIdx.z * deep + column % deep;
    col += blockIdx.z * rows * columns + column;
    for (; row < rows; row += step) {
        const int h = at.h * g.stride_h + top, w = at.w * g.stride_w + left;
        Vector<T, V> value = filled<V>(narrow<T>(0));
        if (0 <= h && h < g.H && 0 <= w && w < g.W) value = load<V>(x + (((int64)at.n * g.H + h) * g.W + w) * g.C);
        Vector<Sum, V> wide;
#pragma unroll
        for (int v = 0; v < V; ++v) wide.at[v] = widen(value.at[v]);
        store<V>(col + row * columns, wide);
        if (pooling) {
            at = pixel_of(int(first + row) + step, g.P, g.Q, true);
            continue;
        }
        at = {at.n + stride.n, at.h + stride.h, at.w + stride.w};
        if (at.w >= g.Q) at.w -= g.Q, ++at.h;
        if (at.h >= g.P) at.h -= g.P, ++at.n;
    }
}

// V channels from c on of pixel (n, h, w) of x. All rows of the images' matrices are there: first is 0.
template <int V, class T, class Sum>
__device__ __forceinline__ void gather(const Sum* __restrict__ col, T* __restrict__ x, const ConvShape& g, int n, int h, int w, int c) {
    const int deep = deep_of(g), group = c / deep;
    const int64 columns = (int64)g.R * g.S * deep, rows = (int64)g.N * g.P * g.Q;
    col += group * rows * columns + c - group * deep;
    Vector<Sum, V> sum = filled<V>(Sum(0));
    for (int r = 0; r < g.R; ++r) {
        const int p = Taps<true>::place(h + g.pad_top, r, g.stride_h, g.dilation_h, g.P);
        if (p < 0) continue;
        for (int s = 0; s < g.S; ++s) {
            const int q = Taps<true>::place(w + g.pad_left, s, g.stride_w, g.dilation_w, g.Q);
            if (q < 0) continue;
            const auto value = load<V>(col + (((int64)n * g.P + p) * g.Q + q) * columns + (r * g.S + s) * deep);
#pragma unroll
            for (int v = 0; v < V; ++v) sum.at[v] += value.at[v];
        }
    }
    Vector<T, V> narrowed;
#pragma unroll
    for (int v = 0; v < V; ++v) narrowed.at[v] = narrow<T>(sum.at[v]);
    store<V>(x + (((int64)n * g.H + h) * g.W + w) * g.C + c, narrowed);
}

// Blocks: (vectors of channels, pixels), blockDim.y pixels at a time.
template <int V, class T, class Sum>
__device__ void col2im(const Sum* __restrict__ col, T* __restrict__ x, const ConvShape& g) {
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V, pixels = g.N * g.H * g.W;
    if (c >= g.C) return;
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < pixels; i += gridDim.y * blockDim.y) {
        const Pixel pixel = pixel_of(i, g.H, g.W, false);
        gather<V>(col, x, g, pixel.n, pixel.h, pixel.w, c);
    }
}

// 16 bytes of the matrix, which is never narrower than the image.
template <class T>
constexpr int SPAN = 16 / sizeof(Acc<T>);

#define IM2COL(T)                                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(256)                                                                                                \
        im2col_v1_##T(const T* x, Acc<T>* col, ConvShape g, int64 first, int64 rows, int pooling) {                                                  \
        im2col_by_element(x, col, g, first, rows, pooling != 0);                                                                                     \
    }                                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                                                \
        im2col_general_##T(const T* x, Acc<T>* col, ConvShape g, int64 first, int64 rows, int pooling) {                                             \
        im2col_by_column<1>(x, col, g, first, rows, pooling != 0);                                                                                   \
    }                                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                                                \
        im2col_##T(const T* x, Acc<T>* col, ConvShape g, int64 first, int64 rows, int pooling) {                                                     \
        im2col_by_column<SPAN<T>>(x, col, g, first, rows, pooling != 0);                                                                             \
    }                                                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 4) col2im_general_##T(const Acc<T>* col, T* x, ConvShape g) { col2im<1>(col, x, g); }          \
    extern "C" __global__ void __launch_bounds__(256, 4) col2im_##T(const Acc<T>* col, T* x, ConvShape g) { col2im<SPAN<T>>(col, x, g); }

typedef float f32;
typedef double f64;
IM2COL(f16)
IM2COL(bf16)
IM2COL(f32)
IM2COL(f64)
