// Max pooling in general (window, stride, padding with −∞, dilation): y and which offset k = r · S + s of each window won, one byte.
//
//   naive    one thread an output (backward: an input) element; 64-bit divisions find its place
//   (none)   16 bytes of channels a thread, and no divisions (planes.cuh)
//   windows  backward only, where the windows tile the input: one thread a window reads g and the winner once and writes all of the window
//
// Of equal values the first in row-major order wins; NaN beats everything, and the last NaN wins. Backward *gathers*: an input pixel
// looks at the windows that see it and adds the gradients of those it won, so no two threads write one place and the order is fixed.
//
// Legend: N batch, C channels (a ConvShape with K = C), H W input, R S window, P Q output, all NHWC; R · S <= 256.
//
// hot: max_pool_*
#include "common.cuh"
#include "conv_shape.cuh"
#include "planes.cuh"

// The offsets first ... last − 1 of a window that starts at `start` which lie inside 0 ... size − 1.
__device__ __forceinline__ int first_inside(int start, int dilation) {
    return start < 0 ? (dilation - 1 - start) / dilation : 0;
}

__device__ __forceinline__ int last_inside(int start, int dilation, int offsets, int size) {
    return min_of(offsets, start < size ? (size - 1 - start) / dilation + 1 : 0);
}

// The maximum over one window for V channels; winners may be null.
template <class T, int V>
__device__ __forceinline__ void pool_window(const T* x, T* y, uint8* winners, const ConvShape& g, int n, int p, int q, int c) {
    const int top = p * g.stride_h - g.pad_top, left = q * g.stride_w - g.pad_left;
    const int r0 = first_inside(top, g.dilation_h), r1 = last_inside(top, g.dilation_h, g.R, g.H);
    const int s0 = first_inside(left, g.dilation_w), s1 = last_inside(left, g.dilation_w, g.S, g.W);
    auto most = filled<V>(-infinity<Acc<T>>());
    Vector<uint8, V> place = filled<V>((uint8)(r0 * g.S + s0));  // wins where everything is −∞
    for (int r = r0; r < r1; ++r)
        for (int s = s0; s < s1; ++s) {
            const int64 pixel = ((int64)n * g.H + top + r * g.dilation_h) * g.W + left + s * g.dilation_w;
            const Vector<T, V> value = load<V>(x + pixel * g.C + c);
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (beats(widen(value.at[v]), most.at[v])) most.at[v] = widen(value.at[v]), place.at[v] = (uint8)(r * g.S + s);
        }
    const int64 at = (((int64)n * g.P + p) * g.Q + q) * g.C + c;
    Vector<T, V> best;
#pragma unroll
    for (int v = 0; v < V; ++v) best.at[v] = narrow<T>(most.at[v]);
    store<V>(y + at, best);
    if (winners) store<V>(winners + at, place);
}

// The gradient of one input pixel: of the windows p with p · stride + r · dilation − pad = h for some offset r, and columns alike.
template <class T, int V>
__device__ __forceinline__ void gather_windows(const T* g, const uint8* winners, T* gx, const ConvShape& s, int n, int h, int w, int c) {
    const int bottom = h + s.pad_top, right = w + s.pad_left;
    const int p0 = max_of(0, ceil_div(bottom - (s.R - 1) * s.dilation_h, s.stride_h)), p1 = min_of(s.P - 1, bottom / s.stride_h);
    const int q0 = max_of(0, ceil_div(right - (s.S - 1) * s.dilation_w, s.stride_w)), q1 = min_of(s.Q - 1, right / s.stride_w);
    auto sum = filled<V>(Acc<T>(0));
    for (int p = p0; p <= p1; ++p) {
        const int down = bottom - p * s.stride_h;
        if (down % s.dilation_h) continue;
        for (int q = q0; q <= q1; ++q) {
            const int across = right - q * s.stride_w;
            if (across % s.dilation_w) continue;
            const uint8 place = (uint8)(down / s.dilation_h * s.S + across / s.dilation_w);
            const int64 at = (((int64)n * s.P + p) * s.Q + q) * s.C + c;
            const auto winner = load<V>(winners + at);
            const auto slope = load<V>(g + at);
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (winner.at[v] == place) sum.at[v] += widen(slope.at[v]);
        }
    }
    Vector<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) out.at[v] = narrow<T>(sum.at[v]);
    store<V>(gx + (((int64)n * s.H + h) * s.W + w) * s.C + c, out);
}

template <class T>
__device__ void forward_naive(const T* x, T* y, uint8* winners, const ConvShape& g) {
    for_each_element(i, (int64)g.N * g.P * g.Q * g.C)
        pool_window<T, 1>(x, y, winners, g, (int)(i / g.C / g.Q / g.P), (int)(i / g.C / g.Q % g.P), (int)(i / g.C % g.Q), (int)(i % g.C));
}

template <class T>
__device__ void backward_naive(const T* g, const uint8* winners, T* gx, const ConvShape& s) {
    for_each_element(i, (int64)s.N * s.H * s.W * s.C)
        gather_windows<T, 1>(g, winners, gx, s, (int)(i / s.C / s.W / s.H), (int)(i / s.C / s.W % s.H), (int)(i / s.C % s.W), (int)(i % s.C));
}

template <class T>
__device__ void forward(const T* __restrict__ x, T* __restrict__ y, uint8* __restrict__ winners, const ConvShape& g) {
    constexpr int V = LANES<T>;
    const int c = first_channel<V>();
    if (c >= g.C) return;
    for_each_row(row, g.N * g.P)
        for_each_column(q, g.Q) pool_window<T, V>(x, y, winners, g, row / g.P, row % g.P, q, c);
}

template <class T>
__device__ void backward(const T* __restrict__ g, const uint8* __restrict__ winners, T* __restrict__ gx, const ConvShape& s) {
    constexpr int V = LANES<T>;
    const int c = first_channel<V>();
    if (c >= s.C) return;
    for_each_row(row, s.N * s.H)
        for_each_column(w, s.W) gather_windows<T, V>(g, winners, gx, s, row / s.H, row % s.H, w, c);
}

// H = P · R and W = Q · S, stride = window, no padding, no dilation.
template <class T>
__device__ void backward_windows(const T* __restrict__ g, const uint8* __restrict__ winners, T* __restrict__ gx, const ConvShape& s) {
    constexpr int V = LANES<T>;
    const int c = first_channel<V>();
    if (c >= s.C) return;
    for_each_row(row, s.N * s.P)
        for_each_column(q, s.Q) {
            const int64 at = ((int64)row * s.Q + q) * s.C + c;
            const auto slope = load<V>(g + at);
            const auto winner = load<V>(winners + at);
            for (int k = 0; k < s.R * s.S; ++k) {
                Vector<T, V> sent;
#pragma unroll
                for (int v = 0; v < V; ++v) sent.at[v] = winner.at[v] == k ? slope.at[v] : narrow<T>(0);
                store<V>(gx + (((int64)row * s.R + k / s.S) * s.W + q * s.S + k % s.S) * s.C + c, sent);
            }
        }
}

#define FORWARD(version, T) \
    extern "C" __global__ void max_pool_##version##_##T(const T* x, T* y, uint8* winners, ConvShape g) { version<T>(x, y, winners, g); }
#define BACKWARD(version, T) \
    extern "C" __global__ void max_pool_##version##_##T(const T* g, const uint8* winners, T* gx, ConvShape s) { version<T>(g, winners, gx, s); }
#define MAX_POOL(T)             \
    FORWARD(forward_naive, T)   \
    FORWARD(forward, T)         \
    BACKWARD(backward_naive, T) \
    BACKWARD(backward, T)       \
    BACKWARD(backward_windows, T)

MAX_POOL(f16)
MAX_POOL(bf16)
MAX_POOL(f32)
MAX_POOL(f64)
