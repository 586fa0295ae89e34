// Cross-entropy of logits z (N, C) against class numbers, and its gradient, in one kernel.
//
//   L = −(1 − ε) w_t ℓ_t − (ε / C) Σ_c w_c ℓ_c,  ℓ = log softmax(z)          ∂L/∂z_c = softmax(z)_c ((1 − ε) w_t + (ε / C) Σ w) − T_c
//   with T_c = (ε / C) w_c, and (1 − ε) w_t more at c = t
//
//   thread   one thread a row: neighbouring threads read addresses C apart
//   warp     one warp a row, for up to 1024 classes: neighbouring reads, maxima and sums by shuffles
//   block    one block a row, for more: warps, then shared memory
//   reduce   one block adds the losses and the weights of all rows, always in the same order, in double; the mean divides by Σ w_t
//   scale    the gradient of a row times what comes from above: ∂L/∂z in the logits' type
//
// entries: cross_entropy_*
// hot: cross_entropy_warp_*, cross_entropy_block_*
//
// Legend: N rows, C classes, t target, w class weights (null: ones), ε smoothing, ignored: the class number that counts nothing.
// The gradient is kept in float (double) until it is scaled: 16-bit numbers are rounded once. A target outside the classes gives NaN.
#include "common.cuh"
#include "vector.cuh"

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }

struct Sum {
    template <class A>
    __device__ __forceinline__ static A join(A a, A b) { return a + b; }
};
struct Maximum {
    template <class A>
    __device__ __forceinline__ static A join(A a, A b) { return beats(b, a) ? b : a; }
};

// The value of all GROUP threads (1, 32, or the whole block of 256) joined; every thread gets it.
template <int GROUP, class How, class A>
__device__ __forceinline__ A joined(A value) {
    if constexpr (GROUP > 1) {
#pragma unroll
        for (int far = 16; far; far /= 2) value = How::join(value, __shfl_xor_sync(0xffffffffu, value, far));
    }
    if constexpr (GROUP > 32) {
        __shared__ A of_warp[8];
        __syncthreads();  // the last call's readers are done
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
        __syncthreads();
        value = of_warp[0];
#pragma unroll
        for (int warp = 1; warp < 8; ++warp) value = How::join(value, of_warp[warp]);
    }
    return value;
}

// losses and counted (the weight of the target, 0 where ignored) have N numbers, slope has N × C and may be null.
template <class T, int GROUP>
__device__ void rows(const T* __restrict__ z, const int64* __restrict__ target, const T* __restrict__ weight, Acc<T>* __restrict__ losses,
                     Acc<T>* __restrict__ counted, Acc<T>* __restrict__ slope, int N, int C, int64 ignored, double smoothing) {
    typedef Acc<T> A;
    const int lane = threadIdx.x % GROUP;
    const int64 row = (int64)blockIdx.x * (blockDim.x / GROUP) + threadIdx.x / GROUP;
    if (row >= N) return;  // a whole warp or block at once
    const T* const here = z + row * C;
    const int64 t = target[row];
    const bool valid = t != ignored, known = t >= 0 && t < C;

    A most = -infinity<A>();
    for (int c = lane; c < C; c += GROUP) most = Maximum::join(most, widen(here[c]));
    most = joined<GROUP, Maximum>(most);

    A total = 0, weights = 0, weighted = 0;  // Σ e^(z − max), Σ w, Σ w (z − max)
    for (int c = lane; c < C; c += GROUP) {
        const A shifted = widen(here[c]) - most, w = weight ? widen(weight[c]) : A(1);
        total += exponential(shifted);
        weights += w;
        weighted += w * shifted;
    }
    total = joined<GROUP, Sum>(total);
    const A log_total = logarithm(total), even = A(smoothing / C);
    if (smoothing) {
        weights = joined<GROUP, Sum>(weights);
        weighted = joined<GROUP, Sum>(weighted);
    }
    const A w_t = !valid ? A(0) : !known ? infinity<A>() - infinity<A>() : weight ? widen(weight[t]) : A(1);
    const A picked = A(1 - smoothing) * w_t;
    if (lane == 0) {
        A loss = valid && known ? -picked * (widen(here[t]) - most - log_total) : w_t;
        if (smoothing && valid) loss -= even * (weighted - weights * log_total);
        losses[row] = loss;
        counted[row] = w_t;
    }
    if (!slope) return;
    const A factor = smoothing ? picked + even * weights : picked;
    for (int c = lane; c < C; c += GROUP) {
        A d = exponential(widen(here[c]) - most - log_total) * factor;
        if (smoothing) d -= even * (weight ? widen(weight[c]) : A(1));
        if (c == t) d -= picked;
        slope[row * C + c] = valid ? d : A(0);
    }
}

// out = Σ losses, over Σ counted for the mean; divisor = Σ counted.
template <class T>
__device__ void reduce(const Acc<T>* __restrict__ losses, const Acc<T>* __restrict__ counted, T* out, Acc<T>* divisor, int N, int mean) {
    double loss = 0, count = 0;
    for (int i = threadIdx.x; i < N; i += blockDim.x) {
        loss += losses[i];
        count += counted[i];
    }
    loss = joined<256, Sum>(loss);
    count = joined<256, Sum>(count);
    if (threadIdx.x) return;
    *out = narrow<T>((Acc<T>)(mean ? loss / count : loss));
    *divisor = (Acc<T>)count;
}

// g has one number for all rows (step 0) or one a row (step 1); divisor may be null (1).
template <class T>
__device__ void scale(const Acc<T>* __restrict__ slope, const T* __restrict__ g, const Acc<T>* __restrict__ divisor, const int64* __restrict__ target,
                      T* __restrict__ gz, int64 total, int C, int step, int64 ignored) {
    for_each_element(i, total) {
        const int64 row = i / C;
        const Acc<T> share = divisor ? widen(g[row * step]) / *divisor : widen(g[row * step]);
        gz[i] = narrow<T>(target[row] == ignored ? Acc<T>(0) : slope[i] * share);
    }
}

typedef float f32;
typedef double f64;

#define CROSS_ENTROPY_ROWS(version, GROUP, T)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) cross_entropy_##version##_##T(const T* z, const int64* target, const T* weight,        \
                                                                                    Acc<T>* losses, Acc<T>* counted, Acc<T>* slope, int N,   \
                                                                                    int C, int64 ignored, double smoothing) {                \
        rows<T, GROUP>(z, target, weight, losses, counted, slope, N, C, ignored, smoothing);                                                  \
    }
#define CROSS_ENTROPY(T)                                                                                                                      \
    CROSS_ENTROPY_ROWS(thread, 1, T)                                                                                                          \
    CROSS_ENTROPY_ROWS(warp, 32, T)                                                                                                           \
    CROSS_ENTROPY_ROWS(block, 256, T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) cross_entropy_reduce_##T(const Acc<T>* losses, const Acc<T>* counted, T* out,           \
                                                                               Acc<T>* divisor, int N, int mean) {                            \
        reduce<T>(losses, counted, out, divisor, N, mean);                                                                                    \
    }                                                                                                                                         \
    extern "C" __global__ void cross_entropy_scale_##T(const Acc<T>* slope, const T* g, const Acc<T>* divisor, const int64* target, T* gz,    \
                                                       int64 total, int C, int step, int64 ignored) {                                         \
        scale<T>(slope, g, divisor, target, gz, total, C, step, ignored);                                                                     \
    }

CROSS_ENTROPY(f16)
CROSS_ENTROPY(bf16)
CROSS_ENTROPY(f32)
CROSS_ENTROPY(f64)
