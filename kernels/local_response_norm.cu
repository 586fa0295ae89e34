// Local response normalisation (Krizhevsky et al. 2012): y_c = x_c · d_c^−β with d_c = k + (α/n) Σ x²_j over n channels around c.
// Backward: ∂L/∂x_c = g_c d_c^−β − (2αβ/n) x_c Σ t_j over the mirrored window, with t_j = g_j x_j d_j^(−β−1).
//
//   naive   one thread an element; backward makes d anew for every neighbour: n² reads
//   (none)  16 bytes of channels a thread; squares and t go to the neighbours through shared memory. Backward reads x and g, and keeps no d:
//           making it again costs less than writing and reading it
//
// The window reaches n / 2 channels down and (n − 1) / 2 up; channels outside count as 0.
//
// Legend: C channels, M pixels (N·H·W), NHWC. A block holds blockDim.y pixels, blockDim.x · LANES = C channels of each.
//
// hot: local_response_norm_*
#include "common.cuh"
#include "planes.cuh"

struct Norm {
    int n;
    double alpha, beta, k;
};

// d^−β; the usual β = 3/4 without a logarithm.
template <class A>
__device__ __forceinline__ A inverse_power(A d, double beta) {
    if (beta == 0.75) return A(1) / (sqrt(d) * sqrt(sqrt(d)));
    return pow(d, A(-beta));
}

// d of a channel whose squares are read by square(j).
template <class A, class Squares>
__device__ __forceinline__ A denominator(const Norm& norm, int c, int C, Squares square) {
    A sum = 0;
    for (int j = max_of(c - norm.n / 2, 0); j <= min_of(c + (norm.n - 1) / 2, C - 1); ++j) sum += square(j);
    return multiply_add(A(norm.alpha / norm.n), sum, A(norm.k));
}

template <class T>
__device__ void forward_naive(const T* x, T* y, const Norm& norm, int64 M, int C) {
    typedef Acc<T> A;
    for_each_element(i, M * C) {
        const int c = (int)(i % C);
        const T* pixel = x + (i - c);
        const A d = denominator<A>(norm, c, C, [&](int j) { return widen(pixel[j]) * widen(pixel[j]); });
        y[i] = narrow<T>(widen(x[i]) * inverse_power(d, norm.beta));
    }
}

template <class T>
__device__ void backward_naive(const T* x, const T* g, T* gx, const Norm& norm, int64 M, int C) {
    typedef Acc<T> A;
    for_each_element(i, M * C) {
        const int c = (int)(i % C);
        const T *pixel = x + (i - c), *slope = g + (i - c);
        const auto square = [&](int j) { return widen(pixel[j]) * widen(pixel[j]); };
        A sum = 0;
        for (int j = max_of(c - (norm.n - 1) / 2, 0); j <= min_of(c + norm.n / 2, C - 1); ++j) {
            const A d = denominator<A>(norm, j, C, square);
            sum += widen(slope[j]) * inverse_power(d, norm.beta) * widen(pixel[j]) / d;
        }
        const A straight = widen(slope[c]) * inverse_power(denominator<A>(norm, c, C, square), norm.beta);
        gx[i] = narrow<T>(straight - A(2 * norm.alpha * norm.beta / norm.n) * widen(pixel[c]) * sum);
    }
}

// Σ of line[c + v − below ... c + v + above] for V neighbouring channels: each number is read once and added where it belongs.
template <int V, class A>
__device__ __forceinline__ void window_sums(const A* line, int c, int C, int below, int above, A (&sum)[V]) {
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] = 0;
    for (int j = max_of(-below, -c); j < min_of(V + above, C - c); ++j) {
        const A value = line[c + j];
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (v - below <= j && j <= v + above) sum[v] += value;
    }
}

template <int V, class A>
__device__ __forceinline__ void denominators(const Norm& norm, const A* squares, int c, int C, A (&d)[V]) {
    window_sums<V>(squares, c, C, norm.n / 2, (norm.n - 1) / 2, d);
#pragma unroll
    for (int v = 0; v < V; ++v) d[v] = multiply_add(A(norm.alpha / norm.n), d[v], A(norm.k));
}

template <class T>
__device__ void forward(const T* __restrict__ x, T* __restrict__ y, const Norm& norm, int64 M, int C) {
    constexpr int V = LANES<T>;
    typedef Acc<T> A;
    __shared__ A squares[THREADS * V];
    const int c = threadIdx.x * V;
    A* line = squares + threadIdx.y * C;
    for (int64 first = (int64)blockIdx.x * blockDim.y; first < M; first += (int64)gridDim.x * blockDim.y) {
        const int64 m = first + threadIdx.y;
        Vector<T, V> value = filled<V>(narrow<T>(0));
        if (m < M) value = load<V>(x + m * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) line[c + v] = widen(value.at[v]) * widen(value.at[v]);
        __syncthreads();
        A d[V];
        denominators<V>(norm, line, c, C, d);
#pragma unroll
        for (int v = 0; v < V; ++v) value.at[v] = narrow<T>(widen(value.at[v]) * inverse_power(d[v], norm.beta));
        if (m < M) store<V>(y + m * C + c, value);
        __syncthreads();  // the next pixels overwrite the squares
    }
}

template <class T>
__device__ void backward(const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ gx, const Norm& norm, int64 M, int C) {
    constexpr int V = LANES<T>;
    typedef Acc<T> A;
    __shared__ A squares[THREADS * V], terms[THREADS * V];
    const int c = threadIdx.x * V;
    A *line = squares + threadIdx.y * C, *term = terms + threadIdx.y * C;
    const A factor = A(2 * norm.alpha * norm.beta / norm.n);
    for (int64 first = (int64)blockIdx.x * blockDim.y; first < M; first += (int64)gridDim.x * blockDim.y) {
        const int64 m = first + threadIdx.y;
        Vector<T, V> value = filled<V>(narrow<T>(0)), slope = value;
        if (m < M) value = load<V>(x + m * C + c), slope = load<V>(g + m * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) line[c + v] = widen(value.at[v]) * widen(value.at[v]);
        __syncthreads();
        A d[V], straight[V], sum[V];
        denominators<V>(norm, line, c, C, d);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            straight[v] = widen(slope.at[v]) * inverse_power(d[v], norm.beta);
            term[c + v] = straight[v] * widen(value.at[v]) / d[v];
        }
        __syncthreads();
        window_sums<V>(term, c, C, (norm.n - 1) / 2, norm.n / 2, sum);
#pragma unroll
        for (int v = 0; v < V; ++v) value.at[v] = narrow<T>(straight[v] - factor * widen(value.at[v]) * sum[v]);
        if (m < M) store<V>(gx + m * C + c, value);  // the next pixels' squares were last read before the barrier above
    }
}

#define FORWARD(version, T)                                                                                                             \
    extern "C" __global__ void local_response_norm_##version##_##T(const T* x, T* y, int n, double alpha, double beta, double k, int64 M, \
                                                                   int C) {                                                             \
        version<T>(x, y, Norm{n, alpha, beta, k}, M, C);                                                                                \
    }
#define BACKWARD(version, T)                                                                                                            \
    extern "C" __global__ void local_response_norm_##version##_##T(const T* x, const T* g, T* gx, int n, double alpha, double beta,      \
                                                                   double k, int64 M, int C) {                                          \
        version<T>(x, g, gx, Norm{n, alpha, beta, k}, M, C);                                                                            \
    }
#define LOCAL_RESPONSE_NORM(T)  \
    FORWARD(forward_naive, T)   \
    FORWARD(forward, T)         \
    BACKWARD(backward_naive, T) \
    BACKWARD(backward, T)

LOCAL_RESPONSE_NORM(f16)
LOCAL_RESPONSE_NORM(bf16)
LOCAL_RESPONSE_NORM(f32)
LOCAL_RESPONSE_NORM(f64)
