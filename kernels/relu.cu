// ReLU: y = max(x, 0), NaN kept; backward: gx = g where y > 0, else 0.
//
//   naive   one thread an element
//   (none)  16 bytes a thread, grid-stride: a quarter of the instructions, and memory stays busy with fewer threads
//
// y may be x. Elements are numbered in memory order, whatever the layout.
//
// hot: relu_forward_*, relu_backward_*
#include "common.cuh"
#include "planes.cuh"

template <class T>
__device__ __forceinline__ T relu(T x) {
    return widen(x) <= 0 ? narrow<T>(0) : x;
}

template <class T>
__device__ __forceinline__ T relu_slope(T g, T y) {
    return widen(y) > 0 ? g : narrow<T>(0);
}

template <class T>
__device__ void forward_naive(const T* x, T* y, int64 total) {
    for_each_element(i, total) y[i] = relu(x[i]);
}

template <class T>
__device__ void backward_naive(const T* g, const T* y, T* gx, int64 total) {
    for_each_element(i, total) gx[i] = relu_slope(g[i], y[i]);
}

// Vectors first; the threads after them take the elements that are left over, one each.
template <class T>
__device__ void forward(const T* x, T* y, int64 total) {
    constexpr int V = LANES<T>;
    const int64 vectors = total / V;
    for_each_element(i, vectors + total % V) {
        if (i < vectors) {
            Vector<T, V> value = load<V>(x + i * V);
#pragma unroll
            for (int v = 0; v < V; ++v) value.at[v] = relu(value.at[v]);
            store<V>(y + i * V, value);
        } else {
            const int64 last = vectors * V + (i - vectors);
            y[last] = relu(x[last]);
        }
    }
}

template <class T>
__device__ void backward(const T* g, const T* y, T* gx, int64 total) {
    constexpr int V = LANES<T>;
    const int64 vectors = total / V;
    for_each_element(i, vectors + total % V) {
        if (i < vectors) {
            Vector<T, V> slope = load<V>(g + i * V);
            const Vector<T, V> value = load<V>(y + i * V);
#pragma unroll
            for (int v = 0; v < V; ++v) slope.at[v] = relu_slope(slope.at[v], value.at[v]);
            store<V>(gx + i * V, slope);
        } else {
            const int64 last = vectors * V + (i - vectors);
            gx[last] = relu_slope(g[last], y[last]);
        }
    }
}

#define RELU(T)                                                                                                                    \
    extern "C" __global__ void relu_forward_naive_##T(const T* x, T* y, int64 total) { forward_naive<T>(x, y, total); }            \
    extern "C" __global__ void relu_forward_##T(const T* x, T* y, int64 total) { forward<T>(x, y, total); }                        \
    extern "C" __global__ void relu_backward_naive_##T(const T* g, const T* y, T* gx, int64 total) { backward_naive<T>(g, y, gx, total); } \
    extern "C" __global__ void relu_backward_##T(const T* g, const T* y, T* gx, int64 total) { backward<T>(g, y, gx, total); }

RELU(f16)
RELU(bf16)
RELU(f32)
RELU(f64)
