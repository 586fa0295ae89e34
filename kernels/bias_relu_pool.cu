// What follows a convolution in one pass over its output: y = relu(scale · x + bias), then the maximum of every 2 × 2 pixels; and backward.
//
//   scalar  one channel a thread, one byte for the winner of a window; any C
//   (none)  16 bytes of channels a thread, two bits for a winner, four channels a byte; C a multiple of LANES
//   bytes   backward: 16 bytes of channels a thread, but a byte for a winner, as convolutions that pool by themselves write them
//
// Backward makes the gradient dy of the convolution's output from g, y and the winners, and adds up ∂L/∂bias on the way:
//
//   dy[winner of window i] = g[i] where y[i] > 0, and 0 elsewhere        (without the pool every pixel is a window)
//
// Each block writes its sums over n, p, q to a line of `partial`, add_lines adds the lines: no atomics, always the same order, in
// double (the gradient of a bias is a sum of up to millions of numbers of either sign).
//
// Legend: N batch, C channels, P Q the convolution's output, all NHWC; M = N·P·Q pixels. Odd last rows and columns belong to no window.
//
// entries: bias_relu_*, add_lines_*
// hot: bias_relu_*
#include "common.cuh"
#include "planes.cuh"

// scale and bias have C numbers, or are null (1 and 0). y may be x.
template <class T, int V>
__device__ void bias_relu(const T* x, const Acc<T>* scale, const Acc<T>* bias, T* y, int64 M, int C) {
    const int c = first_channel<V>();
    if (c >= C) return;
    const auto factor = scale ? load<V>(scale + c) : filled<V>(Acc<T>(1));
    const auto summand = bias ? load<V>(bias + c) : filled<V>(Acc<T>(0));
    for_each_line(m, M) {
        Vector<T, V> value = load<V>(x + m * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) value.at[v] = narrow<T>(rectify(multiply_add(widen(value.at[v]), factor.at[v], summand.at[v])));
        store<V>(y + m * C + c, value);
    }
}

// scale · x + bias, rounded as it would be stored, so that windows compare what a separate pool would see.
template <class T>
__device__ __forceinline__ Acc<T> shifted(T x, Acc<T> factor, Acc<T> summand) {
    return widen(narrow<T>(multiply_add(widen(x), factor, summand)));
}

// y is (N, P / 2, Q / 2, C). winners may be null: inference needs none. The place of a winner is 2 · row + column, the first of equals.
template <class T, int V>
__device__ void bias_relu_pool(const T* __restrict__ x, const Acc<T>* __restrict__ scale, const Acc<T>* __restrict__ bias, T* __restrict__ y,
                               uint8* __restrict__ winners, int N, int P, int Q, int C) {
    const int c = first_channel<V>(), down = P / 2, across = Q / 2;
    if (c >= C) return;
    const auto factor = scale ? load<V>(scale + c) : filled<V>(Acc<T>(1));
    const auto summand = bias ? load<V>(bias + c) : filled<V>(Acc<T>(0));
    for_each_row(row, N * down) {
        const int64 top = ((int64)(row / down) * P + row % down * 2) * Q;
        for_each_column(j, across) {
            Vector<T, V> corner[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) corner[k] = load<V>(x + (top + k / 2 * Q + 2 * j + k % 2) * C + c);
            Vector<T, V> best;
            int place[V];
#pragma unroll
            for (int v = 0; v < V; ++v) {
                Acc<T> most = shifted(corner[0].at[v], factor.at[v], summand.at[v]);
                place[v] = 0;
#pragma unroll
                for (int k = 1; k < 4; ++k) {
                    const Acc<T> value = shifted(corner[k].at[v], factor.at[v], summand.at[v]);
                    if (beats(value, most)) most = value, place[v] = k;
                }
                best.at[v] = narrow<T>(rectify(most));
            }
            const int64 window = (int64)row * across + j;
            store<V>(y + window * C + c, best);
            if (winners) store_winners<V, (V > 1)>(winners, window, c, C, place);
        }
    }
}

template <int V>
__device__ __forceinline__ void write_sums(const double (&sum)[V], double* partial, int c, int C) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const double all = combine_lines(sum[v]);
        if (threadIdx.y == 0 && c < C) partial[(int64)blockIdx.y * C + c + v] = all;
    }
}

// Without a pool; y and dy may be null: then only Σ g is made, the gradient of a bias that no ReLU follows.
template <class T, int V>
__device__ void bias_relu_backward(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ dy, double* __restrict__ partial, int64 M,
                                   int C) {
    const int c = first_channel<V>();
    double sum[V] = {};
    if (c < C) {
        for_each_line(m, M) {
            Vector<T, V> slope = load<V>(g + m * C + c);
            if (y) {
                const Vector<T, V> value = load<V>(y + m * C + c);
#pragma unroll
                for (int v = 0; v < V; ++v) slope.at[v] = widen(value.at[v]) > 0 ? slope.at[v] : narrow<T>(0);
                store<V>(dy + m * C + c, slope);
            }
#pragma unroll
            for (int v = 0; v < V; ++v) sum[v] += widen(slope.at[v]);
        }
    }
    write_sums<V>(sum, partial, c, C);
}

// g and y are (N, P / 2, Q / 2, C), dy is (N, P, Q, C); rows and columns that belong to no window get 0.
template <class T, int V, bool PACKED>
__device__ void bias_relu_pool_backward(const T* __restrict__ g, const T* __restrict__ y, const uint8* __restrict__ winners, T* __restrict__ dy,
                                        double* __restrict__ partial, int N, int P, int Q, int C) {
    const int c = first_channel<V>(), rows = (P + 1) / 2, across = Q / 2;
    double sum[V] = {};
    if (c < C) {
        for_each_row(row, N * rows) {
            const int n = row / rows, i = row % rows;
            for_each_column(j, (Q + 1) / 2) {
                Vector<T, V> slope = filled<V>(narrow<T>(0));
                int place[V] = {};
                if (i < P / 2 && j < across) {
                    const int64 window = ((int64)n * (P / 2) + i) * across + j;
                    const Vector<T, V> value = load<V>(y + window * C + c);
                    slope = load<V>(g + window * C + c);
                    load_winners<V, PACKED>(winners, window, c, C, place);
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        slope.at[v] = widen(value.at[v]) > 0 ? slope.at[v] : narrow<T>(0);
                        sum[v] += widen(slope.at[v]);
                    }
                }
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const int p = 2 * i + k / 2, q = 2 * j + k % 2;
                    if (p >= P || q >= Q) continue;
                    Vector<T, V> sent;
#pragma unroll
                    for (int v = 0; v < V; ++v) sent.at[v] = place[v] == k ? slope.at[v] : narrow<T>(0);
                    store<V>(dy + (((int64)n * P + p) * Q + q) * C + c, sent);
                }
            }
        }
    }
    write_sums<V>(sum, partial, c, C);
}

// out[c] = Σ of column c of partial (lines, C).
template <class T>
__device__ void add_lines(const double* __restrict__ partial, T* __restrict__ out, int lines, int C) {
    const int c = first_channel<1>();
    double sum = 0;
    if (c < C)
        for (int line = threadIdx.y; line < lines; line += blockDim.y) sum += partial[(int64)line * C + c];
    sum = combine_lines(sum);
    if (threadIdx.y == 0 && c < C) out[c] = narrow<T>(Acc<T>(sum));
}

#define STAMP(T, V, suffix)                                                                                                          \
    extern "C" __global__ void bias_relu_##suffix(const T* x, const Acc<T>* scale, const Acc<T>* bias, T* y, int64 M, int C) {       \
        bias_relu<T, V>(x, scale, bias, y, M, C);                                                                                    \
    }                                                                                                                                \
    extern "C" __global__ void bias_relu_pool_##suffix(const T* x, const Acc<T>* scale, const Acc<T>* bias, T* y, uint8* winners, int N, int P, \
                                                       int Q, int C) {                                                               \
        bias_relu_pool<T, V>(x, scale, bias, y, winners, N, P, Q, C);                                                                \
    }                                                                                                                                \
    extern "C" __global__ void bias_relu_backward_##suffix(const T* g, const T* y, T* dy, double* partial, int64 M, int C) {         \
        bias_relu_backward<T, V>(g, y, dy, partial, M, C);                                                                           \
    }
#define BACKWARD(T, V, PACKED, suffix)                                                                                                \
    extern "C" __global__ void bias_relu_pool_backward_##suffix(const T* g, const T* y, const uint8* winners, T* dy, double* partial, \
                                                                int N, int P, int Q, int C) {                                         \
        bias_relu_pool_backward<T, V, PACKED>(g, y, winners, dy, partial, N, P, Q, C);                                                \
    }
#define BIAS_RELU_POOL(T)                 \
    STAMP(T, 1, scalar_##T)               \
    STAMP(T, LANES<T>, T)                 \
    BACKWARD(T, 1, false, scalar_##T)     \
    BACKWARD(T, LANES<T>, true, T)        \
    BACKWARD(T, LANES<T>, false, bytes_##T) \
    extern "C" __global__ void add_lines_##T(const double* partial, T* out, int lines, int C) { add_lines<T>(partial, out, lines, C); }

BIAS_RELU_POOL(f16)
BIAS_RELU_POOL(bf16)
BIAS_RELU_POOL(f32)
BIAS_RELU_POOL(f64)
