// Exponential moving average over a flat buffer: a ← a + weight · (w − a), and w ← a if write_back (Lookahead).
//
//   each     one thread an element
//   (none)   four elements a thread, 16 bytes an access
//
// hot: ema_f*, ema_bf16
//
// weight lies on the device, so a CUDA graph can be replayed with another one. Each operation rounds for itself: the numbers are those of
// scratchvgg/optim/ema.py, bit for bit (16-bit numbers are rounded once instead of three times).
#include "common.cuh"
#include "vector.cuh"

__device__ __forceinline__ float step_to(float a, float w, float weight) { return __fadd_rn(a, __fmul_rn(__fsub_rn(w, a), weight)); }
__device__ __forceinline__ double step_to(double a, double w, double weight) { return __dadd_rn(a, __dmul_rn(__dsub_rn(w, a), weight)); }

// total is a multiple of V.
template <class T, int V>
__device__ void ema(T* average, T* w, const double* weight, int write_back, int64 total) {
    const Acc<T> share = (Acc<T>)*weight;
    for_each_element(i, total / V) {
        Vector<T, V> a = load<V>(average + i * V);
        const Vector<T, V> x = load<V>(w + i * V);
#pragma unroll
        for (int v = 0; v < V; ++v) a.at[v] = narrow<T>(step_to(widen(a.at[v]), widen(x.at[v]), share));
        store<V>(average + i * V, a);
        if (write_back) store<V>(w + i * V, a);
    }
}

typedef float f32;
typedef double f64;

#define EMA(T)                                                                                                              \
    extern "C" __global__ void ema_each_##T(T* average, T* w, const double* weight, int write_back, int64 total) {          \
        ema<T, 1>(average, w, weight, write_back, total);                                                                   \
    }                                                                                                                       \
    extern "C" __global__ void ema_##T(T* average, T* w, const double* weight, int write_back, int64 total) {               \
        ema<T, 4>(average, w, weight, write_back, total);                                                                   \
    }

EMA(f16)
EMA(bf16)
EMA(f32)
EMA(f64)
