// Several neighbouring elements as one load or store, and arithmetic on them in float (double for double).
//
// Channels lie next to each other in NHWC memory, so a thread that owns LANES<T> of them moves 16 bytes at a time (32 of doubles), the
// widest access there is: a quarter of the instructions of 4-byte accesses, and enough bytes under way to keep the memory busy.
#pragma once
#include "half.cuh"

typedef float f32;
typedef double f64;

template <class T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vector {
    T at[V];
};

// Channels of a thread: 16 bytes, but never fewer than the four whose 2-bit winners fill a byte.
template <class T>
constexpr int LANES = sizeof(T) == 2 ? 8 : 4;

template <int V, class T>
__device__ __forceinline__ Vector<T, V> load(const T* from) {
    return *reinterpret_cast<const Vector<T, V>*>(from);
}

template <int V, class T>
__device__ __forceinline__ void store(T* to, const Vector<T, V>& value) {
    *reinterpret_cast<Vector<T, V>*>(to) = value;
}

template <int V, class T>
__device__ __forceinline__ Vector<T, V> filled(T value) {
    Vector<T, V> all;
#pragma unroll
    for (int v = 0; v < V; ++v) all.at[v] = value;
    return all;
}

// max(x, 0) that keeps NaN (fmaxf does not).
template <class T>
__device__ __forceinline__ T rectify(T x) {
    return x <= T(0) ? T(0) : x;
}

// a · b + c, rounded once on every device.
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }

// Does x take the maximum's place? Of equal values the first stays; NaN beats everything, and the last NaN stays.
template <class T>
__device__ __forceinline__ bool beats(T x, T best) {
    return x > best || x != x;
}

template <class T>
__device__ __forceinline__ T infinity();
template <>
__device__ __forceinline__ float infinity<float>() {
    return __int_as_float(0x7f800000);
}
template <>
__device__ __forceinline__ double infinity<double>() {
    return __longlong_as_double(0x7ff0000000000000ll);
}
