// Batch normalisation: y = (x − μ_c) · invstd_c · w_c + b_c, then ReLU and the maximum of every 2 × 2 pixels if asked; forward and backward.
//
//   statistics_naive  one thread a channel: Welford's loop, one value after the other
//   scalar            many blocks a channel; one channel a thread; any C
//   (none)            16 bytes of channels a thread; C a multiple of LANES
//
// Training, forward: statistics → finish → apply.       Evaluation: prepare → apply.
// Backward: sums (of g and g · (x − μ)) → finish_backward → gradient.
//
// Statistics never take E[x²] − E[x]², whose difference loses all digits when |μ| is large: a thread adds up d = x − x₀ and d² for its
// own first value x₀. Of n values the variance is at least about max d² / n, so no more than log₂ n bits of a double are lost. Threads and
// blocks are merged by their means and the squares about them (Chan, Golub and LeVeque 1979). Sums that run on are double, and so is what
// a channel keeps; 16-bit values are added up in float, RUN at a time.
// A large μ is kept as centre + rest: x − centre is exact near μ, rest is what rounding centre to float left.
//
//   line, after finish      (3, C): centre, scale, shift       y = (x − centre) · scale + shift
//   kept                    (2, C) double: rest, invstd
//   line, after finish_backward  (3, C): scale, slope, offset  ∂L/∂x = scale · g + slope · (x − centre) + offset
//
// With ReLU, backward computes y again from x (the same instruction, so the same bits) to see where it was above 0: cheaper than reading it.
//
// Legend: N batch, C channels, H W input, all NHWC; M = N·H·W pixels.
//
// hot: batch_norm_*
#include "common.cuh"
#include "planes.cuh"

constexpr int RUN = 8;  // values of a channel that a thread has under way

// Sums within a run.
template <class T>
struct RunType {
    typedef double type;
};
template <>
struct RunType<f16> {
    typedef float type;
};
template <>
struct RunType<bf16> {
    typedef float type;
};

struct Moments {
    double count, sum, squares;  // squares: Σ (x − sum / count)²
};

__device__ __forceinline__ Moments merge(const Moments& a, const Moments& b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const double count = a.count + b.count, apart = b.sum / b.count - a.sum / a.count;
    return {count, a.sum + b.sum, a.squares + b.squares + apart * apart * (a.count * b.count / count)};
}

__device__ __forceinline__ void write_moments(const Moments& m, double* partial, int lines, int line, int c, int C) {
    partial[(int64)line * C + c] = m.count;
    partial[((int64)lines + line) * C + c] = m.sum;
    partial[((int64)2 * lines + line) * C + c] = m.squares;
}

// partial is (3, lines, C); one line here.
template <class T>
__device__ void statistics_naive(const T* x, double* partial, int64 M, int C) {
    for_each_element(c, C) {
        double mean = 0, squares = 0;
        for (int64 m = 0; m < M; ++m) {
            const double value = widen(x[m * C + c]), apart = value - mean;
            mean += apart / (double)(m + 1);
            squares += apart * (value - mean);
        }
        write_moments({(double)M, mean * (double)M, squares}, partial, 1, 0, (int)c, C);
    }
}

// One line of partial for each blockIdx.y.
template <class T, int V>
__device__ void statistics(const T* __restrict__ x, double* __restrict__ partial, int64 M, int C) {
    typedef typename RunType<T>::type Sum;
    const int c = first_channel<V>();
    const int64 step = (int64)gridDim.y * blockDim.y, start = (int64)blockIdx.y * blockDim.y + threadIdx.y;
    Acc<T> shift[V] = {};
    double sum[V] = {}, squares[V] = {}, count = 0;
    if (c < C && start < M) {
        count = (double)((M - 1 - start) / step + 1);
        const Vector<T, V> first = load<V>(x + start * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) shift[v] = widen(first.at[v]) - widen(first.at[v]) == 0 ? widen(first.at[v]) : 0;  // not ∞, not NaN
        for (int64 m = start; m < M; m += RUN * step) {
            Vector<T, V> run[RUN];
#pragma unroll
            for (int r = 0; r < RUN; ++r)
                if (m + r * step < M) run[r] = load<V>(x + (m + r * step) * C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                Sum first_order = 0, second_order = 0;
#pragma unroll
                for (int r = 0; r < RUN; ++r)
                    if (m + r * step < M) {
                        const Sum d = (Sum)widen(run[r].at[v]) - (Sum)shift[v];
                        first_order += d;
                        second_order += d * d;
                    }
                sum[v] += first_order;
                squares[v] += second_order;
            }
        }
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const double about_mean = count > 0 ? squares[v] - sum[v] * (sum[v] / count) : 0;
        const Moments all = combine_lines(Moments{count, sum[v] + count * (double)shift[v], about_mean});
        if (threadIdx.y == 0 && c < C) write_moments(all, partial, gridDim.y, blockIdx.y, c + v, C);
    }
}

// weight and bias may be null (1 and 0).
template <class A>
__device__ void write_line(double mean, double variance, double eps, const A* weight, const A* bias, A* line, double* kept, int c, int C) {
    const A centre = (A)mean;
    const double rest = mean - (double)centre, invstd = 1 / sqrt(variance + eps);
    const double scale = weight ? invstd * (double)weight[c] : invstd;
    line[c] = centre;
    line[C + c] = (A)scale;
    line[2 * C + c] = (A)((bias ? (double)bias[c] : 0.0) - rest * scale);
    kept[c] = rest;
    kept[C + c] = invstd;
}

// Merges the lines of partial; moves the running statistics (unless null) by momentum, the variance unbiased.
template <class A>
__device__ void finish(const double* __restrict__ partial, int lines, double eps, double momentum, const A* weight, const A* bias, A* running_mean,
                       A* running_var, A* line, double* kept, int C) {
    const int c = first_channel<1>();
    Moments own = {};
    if (c < C)
        for (int i = threadIdx.y; i < lines; i += blockDim.y)
            own = merge(own, {partial[(int64)i * C + c], partial[((int64)lines + i) * C + c], partial[((int64)2 * lines + i) * C + c]});
    const Moments all = combine_lines(own);
    if (threadIdx.y || c >= C) return;
    const double mean = all.sum / all.count;
    write_line(mean, all.squares / all.count, eps, weight, bias, line, kept, c, C);
    if (running_mean) {
        running_mean[c] = (A)((1 - momentum) * running_mean[c] + momentum * mean);
        running_var[c] = (A)((1 - momentum) * running_var[c] + momentum * (all.squares / max_of(all.count - 1, 1.0)));
    }
}

template <class A>
__device__ void prepare(const A* mean, const A* variance, double eps, const A* weight, const A* bias, A* line, double* kept, int C) {
    for_each_element(c, C) write_line(mean[c], variance[c], eps, weight, bias, line, kept, (int)c, C);
}

// y before ReLU, rounded as it would be stored, so that comparisons see what a separate ReLU or pool would see.
template <class T>
__device__ __forceinline__ Acc<T> normalised(T x, Acc<T> centre, Acc<T> scale, Acc<T> shift) {
    return widen(narrow<T>(multiply_add(widen(x) - centre, scale, shift)));
}

template <class T, int V>
struct Line {
    Vector<Acc<T>, V> a, b, c;
    __device__ __forceinline__ Line(const Acc<T>* line, int channel, int C)
        : a(load<V>(line + channel)), b(load<V>(line + C + channel)), c(load<V>(line + 2 * C + channel)) {}
    __device__ __forceinline__ Acc<T> normalise(T x, int v) const { return normalised<T>(x, a.at[v], b.at[v], c.at[v]); }
};

template <class T, int V>
__device__ void apply(const T* __restrict__ x, const Acc<T>* __restrict__ line, T* __restrict__ y, int relu, int64 M, int C) {
    const int c = first_channel<V>();
    if (c >= C) return;
    const Line<T, V> own(line, c, C);
    for_each_line(m, M) {
        Vector<T, V> value = load<V>(x + m * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const Acc<T> out = own.normalise(value.at[v], v);
            value.at[v] = narrow<T>(relu ? rectify(out) : out);
        }
        store<V>(y + m * C + c, value);
    }
}

// The four pixels of window (row i of all images' windows, column j), where the plane has them.
template <class T, int V>
__device__ __forceinline__ void winner_of(const Vector<T, V> (&corner)[4], const Line<T, V>& line, int v, Acc<T>& most, int& place) {
    most = line.normalise(corner[0].at[v], v);
    place = 0;
#pragma unroll
    for (int k = 1; k < 4; ++k) {
        const Acc<T> value = line.normalise(corner[k].at[v], v);
        if (beats(value, most)) most = value, place = k;
    }
}

// y is (N, H / 2, W / 2, C); winners may be null.
template <class T, int V>
__device__ void apply_pool(const T* __restrict__ x, const Acc<T>* __restrict__ line, T* __restrict__ y, uint8* __restrict__ winners, int N, int H,
                           int W, int C) {
    const int c = first_channel<V>(), down = H / 2, across = W / 2;
    if (c >= C) return;
    const Line<T, V> own(line, c, C);
    for_each_row(row, N * down) {
        const int64 top = ((int64)(row / down) * H + row % down * 2) * W;
        for_each_column(j, across) {
            Vector<T, V> corner[4], best;
            int place[V];
#pragma unroll
            for (int k = 0; k < 4; ++k) corner[k] = load<V>(x + (top + k / 2 * W + 2 * j + k % 2) * C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                Acc<T> most;
                winner_of<T, V>(corner, own, v, most, place[v]);
                best.at[v] = narrow<T>(rectify(most));
            }
            const int64 window = (int64)row * across + j;
            store<V>(y + window * C + c, best);
            if (winners) store_winners<V, (V > 1)>(winners, window, c, C, place);
        }
    }
}

struct Pair {
    double g, gd;  // Σ g, Σ g (x − centre)
};

__device__ __forceinline__ Pair merge(const Pair& a, const Pair& b) { return {a.g + b.g, a.gd + b.gd}; }

template <int V>
__device__ __forceinline__ void write_pairs(const Pair (&own)[V], double* partial, int c, int C) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const Pair all = combine_lines(own[v]);
        if (threadIdx.y || c >= C) continue;
        partial[(int64)blockIdx.y * C + c + v] = all.g;
        partial[((int64)gridDim.y + blockIdx.y) * C + c + v] = all.gd;
    }
}

// partial is (2, lines, C).
template <class T, int V>
__device__ void sums(const T* __restrict__ x, const T* __restrict__ g, const Acc<T>* __restrict__ line, double* __restrict__ partial, int relu,
                     int64 M, int C) {
    const int c = first_channel<V>();
    Pair own[V] = {};
    if (c < C) {
        const Line<T, V> forward(line, c, C);
        for_each_line(m, M) {
            const Vector<T, V> value = load<V>(x + m * C + c), slope = load<V>(g + m * C + c);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (relu && !(forward.normalise(value.at[v], v) > 0)) continue;
                own[v].g += widen(slope.at[v]);
                own[v].gd += (double)widen(slope.at[v]) * (double)(widen(value.at[v]) - forward.a.at[v]);
            }
        }
    }
    write_pairs<V>(own, partial, c, C);
}

// g is (N, H / 2, W / 2, C); it belongs to the winner of each window, unless that is not above 0.
template <class T, int V>
__device__ void sums_pool(const T* __restrict__ x, const T* __restrict__ g, const uint8* __restrict__ winners, const Acc<T>* __restrict__ line,
                          double* __restrict__ partial, int N, int H, int W, int C) {
    const int c = first_channel<V>(), down = H / 2, across = W / 2;
    Pair own[V] = {};
    if (c < C) {
        const Line<T, V> forward(line, c, C);
        for_each_row(row, N * down) {
            const int64 top = ((int64)(row / down) * H + row % down * 2) * W;
            for_each_column(j, across) {
                const int64 window = (int64)row * across + j;
                const Vector<T, V> slope = load<V>(g + window * C + c);
                int place[V];
                load_winners<V, (V > 1)>(winners, window, c, C, place);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const Vector<T, V> value = load<V>(x + (top + k / 2 * W + 2 * j + k % 2) * C + c);
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        if (place[v] != k || !(forward.normalise(value.at[v], v) > 0)) continue;
                        own[v].g += widen(slope.at[v]);
                        own[v].gd += (double)widen(slope.at[v]) * (double)(widen(value.at[v]) - forward.a.at[v]);
                    }
                }
            }
        }
    }
    write_pairs<V>(own, partial, c, C);
}

// The gradients of weight and bias, and the line of ∂L/∂x; in evaluation (training = 0) slope and offset are 0.
template <class A>
__device__ void finish_backward(const double* __restrict__ partial, int lines, int64 M, int training, const A* weight, const double* kept,
                                A* line, A* grad_weight, A* grad_bias, int C) {
    const int c = first_channel<1>();
    Pair own = {};
    if (c < C)
        for (int i = threadIdx.y; i < lines; i += blockDim.y)
            own = merge(own, {partial[(int64)i * C + c], partial[((int64)lines + i) * C + c]});
    const Pair all = combine_lines(own);
    if (threadIdx.y || c >= C) return;
    const double rest = kept[c], invstd = kept[C + c], about_mean = all.gd - rest * all.g;
    const double scale = weight ? invstd * (double)weight[c] : invstd, slope = -scale * invstd * invstd * about_mean / (double)M;
    line[c] = (A)scale;
    line[C + c] = training ? (A)slope : (A)0;
    line[2 * C + c] = training ? (A)(-scale * all.g / (double)M - slope * rest) : (A)0;
    grad_weight[c] = (A)(about_mean * invstd);
    grad_bias[c] = (A)all.g;
}

// ∂L/∂x of V values; where x is infinite, slope · (x − centre) would be NaN in evaluation.
template <class T, int V>
__device__ __forceinline__ T input_gradient(T x, T g, const Line<T, V>& forward, const Line<T, V>& backward, int v, bool passes, int training) {
    const Acc<T> sent = passes ? widen(g) * backward.a.at[v] : Acc<T>(0);
    return narrow<T>(training ? sent + multiply_add(widen(x) - forward.a.at[v], backward.b.at[v], backward.c.at[v]) : sent);
}

// line is of forward, slopes of finish_backward.
template <class T, int V>
__device__ void gradient(const T* __restrict__ x, const T* __restrict__ g, const Acc<T>* __restrict__ line, const Acc<T>* __restrict__ slopes,
                         T* __restrict__ gx, int relu, int training, int64 M, int C) {
    const int c = first_channel<V>();
    if (c >= C) return;
    const Line<T, V> forward(line, c, C), backward(slopes, c, C);
    for_each_line(m, M) {
        const Vector<T, V> value = load<V>(x + m * C + c), slope = load<V>(g + m * C + c);
        Vector<T, V> out;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const bool passes = !relu || forward.normalise(value.at[v], v) > 0;
            out.at[v] = input_gradient<T, V>(value.at[v], slope.at[v], forward, backward, v, passes, training);
        }
        store<V>(gx + m * C + c, out);
    }
}

template <class T, int V>
__device__ void gradient_pool(const T* __restrict__ x, const T* __restrict__ g, const uint8* __restrict__ winners, const Acc<T>* __restrict__ line,
                              const Acc<T>* __restrict__ slopes, T* __restrict__ gx, int training, int N, int H, int W, int C) {
    const int c = first_channel<V>(), rows = (H + 1) / 2, across = W / 2;
    if (c >= C) return;
    const Line<T, V> forward(line, c, C), backward(slopes, c, C);
    for_each_row(row, N * rows) {
        const int n = row / rows, i = row % rows;
        for_each_column(j, (W + 1) / 2) {
            Vector<T, V> slope = filled<V>(narrow<T>(0));
            int place[V] = {};
            const bool whole = i < H / 2 && j < across;
            if (whole) {
                const int64 window = ((int64)n * (H / 2) + i) * across + j;
                slope = load<V>(g + window * C + c);
                load_winners<V, (V > 1)>(winners, window, c, C, place);
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int h = 2 * i + k / 2, w = 2 * j + k % 2;
                if (h >= H || w >= W) continue;
                const int64 at = (((int64)n * H + h) * W + w) * C + c;
                const Vector<T, V> value = load<V>(x + at);
                Vector<T, V> out;
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const bool passes = whole && place[v] == k && forward.normalise(value.at[v], v) > 0;
                    out.at[v] = input_gradient<T, V>(value.at[v], slope.at[v], forward, backward, v, passes, training);
                }
                store<V>(gx + at, out);
            }
        }
    }
}

#define STAMP(T, V, suffix)                                                                                                          \
    extern "C" __global__ void batch_norm_statistics_##suffix(const T* x, double* partial, int64 M, int C) {                         \
        statistics<T, V>(x, partial, M, C);                                                                                          \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_apply_##suffix(const T* x, const Acc<T>* line, T* y, int relu, int64 M, int C) {           \
        apply<T, V>(x, line, y, relu, M, C);                                                                                         \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_apply_pool_##suffix(const T* x, const Acc<T>* line, T* y, uint8* winners, int N, int H, int W, \
                                                              int C) {                                                               \
        apply_pool<T, V>(x, line, y, winners, N, H, W, C);                                                                           \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_sums_##suffix(const T* x, const T* g, const Acc<T>* line, double* partial, int relu, int64 M, \
                                                        int C) {                                                                     \
        sums<T, V>(x, g, line, partial, relu, M, C);                                                                                 \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_sums_pool_##suffix(const T* x, const T* g, const uint8* winners, const Acc<T>* line,       \
                                                             double* partial, int N, int H, int W, int C) {                          \
        sums_pool<T, V>(x, g, winners, line, partial, N, H, W, C);                                                                   \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_gradient_##suffix(const T* x, const T* g, const Acc<T>* line, const Acc<T>* slopes, T* gx, \
                                                            int relu, int training, int64 M, int C) {                                \
        gradient<T, V>(x, g, line, slopes, gx, relu, training, M, C);                                                                \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_gradient_pool_##suffix(const T* x, const T* g, const uint8* winners, const Acc<T>* line,   \
                                                                 const Acc<T>* slopes, T* gx, int training, int N, int H, int W, int C) { \
        gradient_pool<T, V>(x, g, winners, line, slopes, gx, training, N, H, W, C);                                                  \
    }
#define BATCH_NORM(T)                                                                                                             \
    extern "C" __global__ void batch_norm_statistics_naive_##T(const T* x, double* partial, int64 M, int C) {                     \
        statistics_naive<T>(x, partial, M, C);                                                                                    \
    }                                                                                                                             \
    STAMP(T, 1, scalar_##T)                                                                                                       \
    STAMP(T, LANES<T>, T)

// What belongs to a channel is float or double.
#define CHANNELS(A)                                                                                                                  \
    extern "C" __global__ void batch_norm_finish_##A(const double* partial, int lines, double eps, double momentum, const A* weight, \
                                                     const A* bias, A* running_mean, A* running_var, A* line, double* kept, int C) { \
        finish<A>(partial, lines, eps, momentum, weight, bias, running_mean, running_var, line, kept, C);                            \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_prepare_##A(const A* mean, const A* variance, double eps, const A* weight, const A* bias, A* line, \
                                                      double* kept, int C) {                                                         \
        prepare<A>(mean, variance, eps, weight, bias, line, kept, C);                                                                \
    }                                                                                                                                \
    extern "C" __global__ void batch_norm_finish_backward_##A(const double* partial, int lines, int64 M, int training, const A* weight, \
                                                              const double* kept, A* line, A* grad_weight, A* grad_bias, int C) {    \
        finish_backward<A>(partial, lines, M, training, weight, kept, line, grad_weight, grad_bias, C);                              \
    }

BATCH_NORM(f16)
BATCH_NORM(bf16)
BATCH_NORM(f32)
BATCH_NORM(f64)
CHANNELS(f32)
CHANNELS(f64)
