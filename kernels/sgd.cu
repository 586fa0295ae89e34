// Stochastic gradient descent on one flat buffer: every parameter of a model in one launch.
//
//   g ← ±g + λw        v ← μv + keep · g        d = g + μv (Nesterov), v (μ ≠ 0) or g        w ← w − γd
//
//   each        one thread an element
//   (none)      four elements a thread, 16 bytes an access: the step is bound by reading w, g, v and writing w, v
//   nonfinite   whether a gradient has an Inf or NaN: a scaled step is then left out
//
// hot: sgd_f*, sgd_bf16
//
// w, g and v are cut into segments, one a parameter group: segment s ends before ends[s] and has its own line of options. These lie on the
// device, so a CUDA graph can be replayed with another learning rate. Bounds of segments are multiples of 4.
//
// Each operation rounds for itself (no fused multiply-add): the numbers are those of scratchvgg/optim/sgd.py, bit for bit. 16-bit parameters
// have a float copy, `master`, that takes the steps; w is that copy rounded. A gradient is divided by *grad_scale; nothing happens if
// *found_inf is not 0. master, grad_scale and found_inf may be null.
#include "common.cuh"
#include "vector.cuh"

// The lines of `options`; keep is 1 − dampening, or 1 in the first step.
enum { LR, MOMENTUM, KEEP, DECAY, NESTEROV, MAXIMIZE, OPTIONS };

__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double times(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double plus(double a, double b) { return __dadd_rn(a, b); }

template <class A>
struct Rule {
    A lr, momentum, keep, decay;
    bool nesterov, maximize;

    __device__ __forceinline__ explicit Rule(const double* line)
        : lr((A)line[LR]), momentum((A)line[MOMENTUM]), keep((A)line[KEEP]), decay((A)line[DECAY]), nesterov(line[NESTEROV]), maximize(line[MAXIMIZE]) {}

    __device__ __forceinline__ void step(A& w, A g, A& v) const {
        A d = maximize ? -g : g;
        if (decay) d = plus(times(w, decay), d);
        if (momentum) {
            v = plus(times(v, momentum), keep == A(1) ? d : times(d, keep));
            d = nesterov ? plus(d, times(v, momentum)) : v;
        }
        w = plus(w, -times(d, lr));
    }
};

__device__ __forceinline__ const double* line_of(const double* options, const int64* ends, int64 i) {
    while (i >= *ends) ++ends, options += OPTIONS;
    return options;
}

// V elements from i on, all of one segment.
template <class T, int V>
__device__ __forceinline__ void step_of(T* w, const T* g, Acc<T>* v, Acc<T>* master, const int64* ends, const double* options,
                                        const float* grad_scale, int64 i) {
    typedef Acc<T> A;
    const Rule<A> rule(line_of(options, ends, i));
    Vector<T, V> weight;
    const Vector<T, V> slope = load<V>(g + i);
    Vector<A, V> exact, velocity;
    if (master) {
        exact = load<V>(master + i);
    } else {
        weight = load<V>(w + i);
#pragma unroll
        for (int k = 0; k < V; ++k) exact.at[k] = widen(weight.at[k]);
    }
    if (rule.momentum) velocity = load<V>(v + i);
#pragma unroll
    for (int k = 0; k < V; ++k) {
        const A d = grad_scale ? widen(slope.at[k]) / (A)*grad_scale : widen(slope.at[k]);
        rule.step(exact.at[k], d, velocity.at[k]);
        weight.at[k] = narrow<T>(exact.at[k]);
    }
    store<V>(w + i, weight);
    if (master) store<V>(master + i, exact);
    if (rule.momentum) store<V>(v + i, velocity);
}

// total is the number of elements, a multiple of V; v may be null where no segment has momentum.
template <class T, int V>
__device__ void sgd(T* w, const T* g, Acc<T>* v, Acc<T>* master, const int64* ends, const double* options, const float* grad_scale,
                    const float* found_inf, int64 total) {
    if (found_inf && *found_inf) return;
    for_each_element(i, total / V) step_of<T, V>(w, g, v, master, ends, options, grad_scale, i * V);
}

template <class T>
__device__ __forceinline__ bool is_finite(T x) {
    return widen(x) - widen(x) == 0;
}

// 16 bytes a thread where g is aligned; the threads after the vectors take the elements that are left over, one each.
template <class T>
__device__ void nonfinite(const T* g, float* found, int64 total) {
    constexpr int V = LANES<T>;
    const int64 vectors = (uint64)g % 16 ? 0 : total / V;
    for_each_element(i, vectors + total - V * vectors) {
        bool fine = true;
        if (i < vectors) {
            const Vector<T, V> value = load<V>(g + V * i);
#pragma unroll
            for (int v = 0; v < V; ++v) fine &= is_finite(value.at[v]);
        } else {
            fine = is_finite(g[V * vectors + (i - vectors)]);
        }
        if (!fine) atomicExch(found, 1.0f);
    }
}

typedef float f32;
typedef double f64;

#define SGD_STEP(name, V, T)                                                                                                              \
    extern "C" __global__ void name##_##T(T* w, const T* g, Acc<T>* v, Acc<T>* master, const int64* ends, const double* options,          \
                                          const float* grad_scale, const float* found_inf, int64 total) {                                 \
        sgd<T, V>(w, g, v, master, ends, options, grad_scale, found_inf, total);                                                          \
    }
#define SGD(T)                                                                                                                            \
    SGD_STEP(sgd_each, 1, T)                                                                                                              \
    SGD_STEP(sgd, 4, T)                                                                                                                   \
    extern "C" __global__ void sgd_nonfinite_##T(const T* g, float* found, int64 total) { nonfinite<T>(g, found, total); }

SGD(f16)
SGD(bf16)
SGD(f32)
SGD(f64)
