// Adaptive average pooling: output (p, q) is the mean over rows ⌊pH/P⌋ ... ⌈(p + 1)H/P⌉ − 1 and columns alike; ranges may overlap.
// Backward: a pixel gathers g / (size of the range) of the ranges that contain it.
//
//   naive   one thread an element; 64-bit divisions find its place
//   (none)  16 bytes of channels a thread, and divisions only for the ranges
//
// Each row of a range is added up by itself and then the rows: a mean over a whole plane has W + H roundings in line, not W · H.
//
// Legend: N batch, C channels (a ConvShape with K = C), H W input, P Q output, all NHWC.
//
// entries: adaptive_avg_pool_*
// hot: adaptive_avg_pool_*
#include "common.cuh"
#include "conv_shape.cuh"
#include "planes.cuh"

__device__ __forceinline__ int range_start(int i, int size, int out) { return (int)((int64)i * size / out); }
__device__ __forceinline__ int range_end(int i, int size, int out) { return (int)(((int64)(i + 1) * size + out - 1) / out); }

template <class T, int V>
__device__ __forceinline__ void average_range(const T* x, T* y, const ConvShape& g, int n, int p, int q, int c) {
    const int h0 = range_start(p, g.H, g.P), h1 = range_end(p, g.H, g.P), w0 = range_start(q, g.W, g.Q), w1 = range_end(q, g.W, g.Q);
    auto sum = filled<V>(Acc<T>(0));
    for (int h = h0; h < h1; ++h) {
        auto line = filled<V>(Acc<T>(0));
        for (int w = w0; w < w1; ++w) {
            const Vector<T, V> value = load<V>(x + (((int64)n * g.H + h) * g.W + w) * g.C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) line.at[v] += widen(value.at[v]);
        }
#pragma unroll
        for (int v = 0; v < V; ++v) sum.at[v] += line.at[v];
    }
    const Acc<T> count = (Acc<T>)(h1 - h0) * (Acc<T>)(w1 - w0);
    Vector<T, V> mean;
#pragma unroll
    for (int v = 0; v < V; ++v) mean.at[v] = narrow<T>(sum.at[v] / count);
    store<V>(y + (((int64)n * g.P + p) * g.Q + q) * g.C + c, mean);
}

// Pixel h lies in the ranges ⌊hP/H⌋ ... ⌈(h + 1)P/H⌉ − 1: the same two formulas with H and P exchanged.
template <class T, int V>
__device__ __forceinline__ void gather_ranges(const T* g, T* gx, const ConvShape& s, int n, int h, int w, int c) {
    auto sum = filled<V>(Acc<T>(0));
    for (int p = range_start(h, s.P, s.H); p < range_end(h, s.P, s.H); ++p)
        for (int q = range_start(w, s.Q, s.W); q < range_end(w, s.Q, s.W); ++q) {
            const int down = range_end(p, s.H, s.P) - range_start(p, s.H, s.P), across = range_end(q, s.W, s.Q) - range_start(q, s.W, s.Q);
            const Acc<T> count = (Acc<T>)down * (Acc<T>)across;
            const Vector<T, V> slope = load<V>(g + (((int64)n * s.P + p) * s.Q + q) * s.C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) sum.at[v] += widen(slope.at[v]) / count;
        }
    Vector<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) out.at[v] = narrow<T>(sum.at[v]);
    store<V>(gx + (((int64)n * s.H + h) * s.W + w) * s.C + c, out);
}

template <class T>
__device__ void forward_naive(const T* x, T* y, const ConvShape& g) {
    for_each_element(i, (int64)g.N * g.P * g.Q * g.C)
        average_range<T, 1>(x, y, g, (int)(i / g.C / g.Q / g.P), (int)(i / g.C / g.Q % g.P), (int)(i / g.C % g.Q), (int)(i % g.C));
}

template <class T>
__device__ void backward_naive(const T* g, T* gx, const ConvShape& s) {
    for_each_element(i, (int64)s.N * s.H * s.W * s.C)
        gather_ranges<T, 1>(g, gx, s, (int)(i / s.C / s.W / s.H), (int)(i / s.C / s.W % s.H), (int)(i / s.C % s.W), (int)(i % s.C));
}

template <class T>
__device__ void forward(const T* __restrict__ x, T* __restrict__ y, const ConvShape& g) {
    const int c = first_channel<LANES<T>>();
    if (c >= g.C) return;
    for_each_row(row, g.N * g.P)
        for_each_column(q, g.Q) average_range<T, LANES<T>>(x, y, g, row / g.P, row % g.P, q, c);
}

template <class T>
__device__ void backward(const T* __restrict__ g, T* __restrict__ gx, const ConvShape& s) {
    const int c = first_channel<LANES<T>>();
    if (c >= s.C) return;
    for_each_row(row, s.N * s.H)
        for_each_column(w, s.W) gather_ranges<T, LANES<T>>(g, gx, s, row / s.H, row % s.H, w, c);
}

#define STAMP(version, T) \
    extern "C" __global__ void adaptive_avg_pool_##version##_##T(const T* from, T* to, ConvShape g) { version<T>(from, to, g); }
#define ADAPTIVE_POOL(T)     \
    STAMP(forward_naive, T)  \
    STAMP(forward, T)        \
    STAMP(backward_naive, T) \
    STAMP(backward, T)

ADAPTIVE_POOL(f16)
ADAPTIVE_POOL(bf16)
ADAPTIVE_POOL(f32)
ADAPTIVE_POOL(f64)
