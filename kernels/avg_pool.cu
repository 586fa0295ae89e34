// Average pooling: y = (sum of the window) / count; backward: gx = the sum of g / count over the windows that see a pixel.
//
//   naive   one thread an element; 64-bit divisions find its place
//   (none)  16 bytes of channels a thread, and no divisions (planes.cuh)
//
// Padding counts as zeros in the sum, and in the count only with count_padding; what hangs over the padding's edge (ceil_mode) never
// counts. divisor, unless 0, is the count of every window. Backward gathers, as in max_pool.cu.
//
// Legend: N batch, C channels (a ConvShape with K = C), H W input, R S window, P Q output, all NHWC.
//
// hot: avg_pool_*
#include "common.cuh"
#include "conv_shape.cuh"
#include "planes.cuh"

struct Count {
    int padding;    // 1: padding counts
    int64 divisor;  // 0: none
};

__device__ __forceinline__ int counted(int start, int length, int size, int pad, int padding) {
    return padding ? min_of(start + length, size + pad) - start : min_of(start + length, size) - max_of(start, 0);
}

template <class A>
__device__ __forceinline__ A count_of(const ConvShape& g, Count count, int p, int q) {
    if (count.divisor) return (A)count.divisor;
    const int down = counted(p * g.stride_h - g.pad_top, g.R, g.H, g.pad_top, count.padding);
    return (A)down * (A)counted(q * g.stride_w - g.pad_left, g.S, g.W, g.pad_left, count.padding);
}

template <class T, int V>
__device__ __forceinline__ void average_window(const T* x, T* y, const ConvShape& g, Count count, int n, int p, int q, int c) {
    const int top = p * g.stride_h - g.pad_top, left = q * g.stride_w - g.pad_left;
    auto sum = filled<V>(Acc<T>(0));
    for (int h = max_of(top, 0); h < min_of(top + g.R, g.H); ++h)
        for (int w = max_of(left, 0); w < min_of(left + g.S, g.W); ++w) {
            const Vector<T, V> value = load<V>(x + (((int64)n * g.H + h) * g.W + w) * g.C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) sum.at[v] += widen(value.at[v]);
        }
    const auto divisor = count_of<Acc<T>>(g, count, p, q);
    Vector<T, V> mean;
#pragma unroll
    for (int v = 0; v < V; ++v) mean.at[v] = narrow<T>(sum.at[v] / divisor);
    store<V>(y + (((int64)n * g.P + p) * g.Q + q) * g.C + c, mean);
}

template <class T, int V>
__device__ __forceinline__ void gather_windows(const T* g, T* gx, const ConvShape& s, Count count, int n, int h, int w, int c) {
    const int bottom = h + s.pad_top, right = w + s.pad_left;
    auto sum = filled<V>(Acc<T>(0));
    for (int p = max_of(0, ceil_div(bottom - s.R + 1, s.stride_h)); p <= min_of(s.P - 1, bottom / s.stride_h); ++p)
        for (int q = max_of(0, ceil_div(right - s.S + 1, s.stride_w)); q <= min_of(s.Q - 1, right / s.stride_w); ++q) {
            const auto divisor = count_of<Acc<T>>(s, count, p, q);
            const Vector<T, V> slope = load<V>(g + (((int64)n * s.P + p) * s.Q + q) * s.C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) sum.at[v] += widen(slope.at[v]) / divisor;
        }
    Vector<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) out.at[v] = narrow<T>(sum.at[v]);
    store<V>(gx + (((int64)n * s.H + h) * s.W + w) * s.C + c, out);
}

template <class T>
__device__ void forward_naive(const T* x, T* y, const ConvShape& g, Count count) {
    for_each_element(i, (int64)g.N * g.P * g.Q * g.C)
        average_window<T, 1>(x, y, g, count, (int)(i / g.C / g.Q / g.P), (int)(i / g.C / g.Q % g.P), (int)(i / g.C % g.Q), (int)(i % g.C));
}

template <class T>
__device__ void backward_naive(const T* g, T* gx, const ConvShape& s, Count count) {
    for_each_element(i, (int64)s.N * s.H * s.W * s.C)
        gather_windows<T, 1>(g, gx, s, count, (int)(i / s.C / s.W / s.H), (int)(i / s.C / s.W % s.H), (int)(i / s.C % s.W), (int)(i % s.C));
}

template <class T>
__device__ void forward(const T* __restrict__ x, T* __restrict__ y, const ConvShape& g, Count count) {
    const int c = first_channel<LANES<T>>();
    if (c >= g.C) return;
    for_each_row(row, g.N * g.P)
        for_each_column(q, g.Q) average_window<T, LANES<T>>(x, y, g, count, row / g.P, row % g.P, q, c);
}

template <class T>
__device__ void backward(const T* __restrict__ g, T* __restrict__ gx, const ConvShape& s, Count count) {
    const int c = first_channel<LANES<T>>();
    if (c >= s.C) return;
    for_each_row(row, s.N * s.H)
        for_each_column(w, s.W) gather_windows<T, LANES<T>>(g, gx, s, count, row / s.H, row % s.H, w, c);
}

#define STAMP(version, T)                                                                                                         \
    extern "C" __global__ void avg_pool_##version##_##T(const T* from, T* to, ConvShape g, int count_padding, int64 divisor) { \
        version<T>(from, to, g, Count{count_padding, divisor});                                                                   \
    }
#define AVG_POOL(T)          \
    STAMP(forward_naive, T)  \
    STAMP(forward, T)        \
    STAMP(backward_naive, T) \
    STAMP(backward, T)

AVG_POOL(f16)
AVG_POOL(bf16)
AVG_POOL(f32)
AVG_POOL(f64)
