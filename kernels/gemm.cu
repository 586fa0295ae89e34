// Matrix product: C = relu(alpha · A · B + bias + C₀), each of the last three only if asked for.
//
//   naive       one thread an element of C: every number of A is read N times, of B M times
//   shared      16 × 16 tiles of A and B through shared memory: 16 times fewer reads of global memory
//   tiled_128   128 × 128 of C a block, 8 × 8 of it in a thread's registers, depth 8 at a time: 16 reads of shared memory for 64 multiply-adds.
//               The next tiles are on their way to registers while the present ones are multiplied, and go to the other half of shared memory:
//               one barrier a step. All registers are taken, so A and B must be aligned and whole vectors of four
//   tiled_64    the same with 64 × 64 and 4 × 4, for any A and B: four times the blocks where C is small (and all that fits of double)
//   thin_nt     A has at most 8 rows: a warp reads four columns of B once, at full width, and keeps 8 × 4 sums; the rest is adding up lanes
//   thin_nn     the same for B whose rows lie in memory one after the other: a thread keeps 8 × 4 sums and walks down four columns
//   add_splits  where C is small and K long, several blocks share one tile and each writes its sums; this adds them, always in the same order
//
// hot: gemm_tiled_*, gemm_thin_*, gemm_add_splits_*
//
// Legend: A is M × K, B is K × N, C is M × N. n: consecutive in memory along its rows, t: along its columns (a transposed view): nt is A n, B t.
// 16-bit numbers are added up in float. Indices of tiles are 32-bit, addresses 64-bit.
#include "common.cuh"
#include "vector.cuh"

struct GemmShape {
    int64 a_m, a_k, b_k, b_n, c_m;                                         // strides in elements; C's rows are consecutive in memory
    int M, N, K, depth;                                                    // a block (z) does `depth` of K
    int relu, accumulate, wide_a, wide_b, wide_c;                          // wide: aligned for accesses of a whole vector
    double alpha;
};

// What becomes of a finished sum.
template <class T>
__device__ __forceinline__ T finish(Acc<T> sum, const T* bias, const T* before, int n, const GemmShape& g) {
    sum *= (Acc<T>)g.alpha;
    if (bias) sum += widen(bias[n]);
    if (g.accumulate) sum += widen(*before);
    return narrow<T>(g.relu ? rectify(sum) : sum);
}

// ---- naive, shared ------------------------------------------------------------------------------------------------------------------

template <class T>
__device__ void gemm_naive(const T* A, const T* B, T* C, const T* bias, const GemmShape& g) {
    for_each_element(i, (int64)g.M * g.N) {
        const int m = (int)(i / g.N), n = (int)(i % g.N);
        Acc<T> sum = 0;
        for (int k = 0; k < g.K; ++k) sum += widen(A[m * g.a_m + k * g.a_k]) * widen(B[k * g.b_k + n * g.b_n]);
        T* c = C + m * g.c_m + n;
        *c = finish<T>(sum, bias, c, n, g);
    }
}

// Any strides. 16 × 16 threads; blockIdx.x counts tiles, those of a row of C one after the other.
template <class T>
__device__ void gemm_shared(const T* A, const T* B, T* C, const T* bias, const GemmShape& g) {
    constexpr int TILE = 16;
    __shared__ Acc<T> a[TILE][TILE + 1], b[TILE][TILE + 1];
    const int across = ceil_div(g.N, TILE), x = threadIdx.x, y = threadIdx.y;
    const int m = blockIdx.x / across * TILE + y, n = blockIdx.x % across * TILE + x;
    Acc<T> sum = 0;
    for (int k0 = 0; k0 < g.K; k0 += TILE) {
        a[y][x] = m < g.M && k0 + x < g.K ? widen(A[m * g.a_m + (k0 + x) * g.a_k]) : Acc<T>(0);
        b[y][x] = k0 + y < g.K && n < g.N ? widen(B[(k0 + y) * g.b_k + n * g.b_n]) : Acc<T>(0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < TILE; ++k) sum += a[y][k] * b[k][x];
        __syncthreads();
    }
    if (m < g.M && n < g.N) {
        T* c = C + m * g.c_m + n;
        *c = finish<T>(sum, bias, c, n, g);
    }
}

// ---- tiled --------------------------------------------------------------------------------------------------------------------------

constexpr int THREADS = 256, DEPTH = 8;

// A thread's share of a tile of WIDTH × DEPTH numbers: V neighbours in memory, along the depth (ALONG_K) or along the width. WHOLE: all vectors
// are aligned and lie inside the matrix or outside; a number by itself is never read.
template <class T, int WIDTH, bool ALONG_K, bool WHOLE>
struct Share {
    static constexpr int V = WIDTH * DEPTH / THREADS, LINE = (ALONG_K ? DEPTH : WIDTH) / V;
    Vector<T, V> held;

    const T* place;
    int64 step;
    int room;  // along the width

    __device__ __forceinline__ static int w_here() { return ALONG_K ? threadIdx.x / LINE : threadIdx.x % LINE * V; }
    __device__ __forceinline__ static int k_here() { return ALONG_K ? threadIdx.x % LINE * V : threadIdx.x / LINE; }

    __device__ __forceinline__ Share(const T* from, int64 stride, int w0, int k0, int width) {
        const int w = w0 + w_here(), k = k0 + k_here();
        place = from + (ALONG_K ? w * stride + k : k * stride + w);
        step = ALONG_K ? DEPTH : DEPTH * stride;
        room = width - w;
    }

    // The next tile, of which `depth` exist: zeros beyond.
    __device__ __forceinline__ void read(int depth, bool wide) {
        const int inside = ALONG_K ? (room > 0 ? depth - k_here() : 0) : (k_here() < depth ? room : 0);
        if ((WHOLE || wide) && inside >= V) {
            held = load<V>(place);
        } else {
#pragma unroll
            for (int v = 0; v < V; ++v) held.at[v] = !WHOLE && v < inside ? place[v] : narrow<T>(0);
        }
        place += step;
    }

    __device__ __forceinline__ void write(Acc<T> (*tile)[WIDTH + 4]) const {
#pragma unroll
        for (int v = 0; v < V; ++v) tile[k_here() + (ALONG_K ? v : 0)][w_here() + (ALONG_K ? 0 : v)] = widen(held.at[v]);
    }
};

// Blocks go through C in bands of 8 tiles, down the band first: those at work together share their rows of A and columns of B in the cache.
__device__ __forceinline__ void tile_of_block(int down, int across, int& row, int& column) {
    constexpr int BAND = 8;
    const int band = blockIdx.x / (BAND * across), height = min_of(BAND, down - band * BAND), place = blockIdx.x % (BAND * across);
    row = band * BAND + place % height;
    column = place / height;
}

// G = 1 or 2: a block does 64G × 64G. A warp does 32G × 16G, 8 × 4 lanes; a lane does G × G pieces of 4 × 4, 32 rows and 16 columns apart.
template <class T, int G, bool A_ALONG_K, bool B_ALONG_K>
__device__ void gemm_tiled(const T* __restrict__ A, const T* __restrict__ B, T* C, const T* __restrict__ bias, Acc<T>* __restrict__ partial,
                           const GemmShape& g) {
    constexpr int SIDE = 64 * G;
    __shared__ __align__(16) Acc<T> a[2][DEPTH][SIDE + 4], b[2][DEPTH][SIDE + 4];  // + 4: transposing stores meet different banks
    int row, column;
    tile_of_block(ceil_div(g.M, SIDE), ceil_div(g.N, SIDE), row, column);
    const int m0 = row * SIDE, n0 = column * SIDE, first = blockIdx.z * g.depth, last = min_of(g.K, first + g.depth);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int m_here = warp / 4 * 32 * G + lane / 4 * 4, n_here = warp % 4 * 16 * G + lane % 4 * 4;

    Share<T, SIDE, A_ALONG_K, G == 2> from_a(A, A_ALONG_K ? g.a_m : g.a_k, m0, first, g.M);
    Share<T, SIDE, B_ALONG_K, G == 2> from_b(B, B_ALONG_K ? g.b_n : g.b_k, n0, first, g.N);
    Acc<T> sum[4 * G][4 * G] = {};
    from_a.read(last - first, g.wide_a);
    from_b.read(last - first, g.wide_b);
    from_a.write(a[0]);
    from_b.write(b[0]);
    __syncthreads();
    for (int left = last - first, half = 0; left > 0; left -= DEPTH, half ^= 1) {
        const bool more = left > DEPTH;
        if (more) {
            from_a.read(left - DEPTH, g.wide_a);
            from_b.read(left - DEPTH, g.wide_b);
        }
#pragma unroll 2  // more, and ptxas reads so many fragments ahead that registers run out
        for (int k = 0; k < DEPTH; ++k) {
            Vector<Acc<T>, 4> x[G], y[G];
#pragma unroll
            for (int i = 0; i < G; ++i) x[i] = load<4>(&a[half][k][m_here + 32 * i]);
#pragma unroll
            for (int j = 0; j < G; ++j) y[j] = load<4>(&b[half][k][n_here + 16 * j]);
#pragma unroll
            for (int i = 0; i < 4 * G; ++i)
#pragma unroll
                for (int j = 0; j < 4 * G; ++j) sum[i][j] += x[i / 4].at[i % 4] * y[j / 4].at[j % 4];
        }
        if (more) {
            from_a.write(a[half ^ 1]);
            from_b.write(b[half ^ 1]);
            __syncthreads();
        }
    }

#pragma unroll
    for (int i = 0; i < 4 * G; ++i) {
        const int m = m0 + m_here + i / 4 * 32 + i % 4;
        if (m >= g.M) continue;
#pragma unroll
        for (int j = 0; j < G; ++j) {
            const int n = n0 + n_here + 16 * j;
            if (partial) {
                Acc<T>* to = partial + ((int64)blockIdx.z * g.M + m) * g.N + n;
#pragma unroll
                for (int v = 0; v < 4; ++v)
                    if (n + v < g.N) to[v] = sum[i][4 * j + v];
                continue;
            }
            T* to = C + m * g.c_m + n;
            if (g.wide_c && n + 4 <= g.N) {
                Vector<T, 4> value;
#pragma unroll
                for (int v = 0; v < 4; ++v) value.at[v] = finish<T>(sum[i][4 * j + v], bias, to + v, n + v, g);
                store<4>(to, value);
            } else {
#pragma unroll
                for (int v = 0; v < 4; ++v)
                    if (n + v < g.N) to[v] = finish<T>(sum[i][4 * j + v], bias, to + v, n + v, g);
            }
        }
    }
}

// ---- thin ---------------------------------------------------------------------------------------------------------------------------

constexpr int ROWS = 8, COLUMNS = 4;

template <class T>
constexpr int THIN_BLOCKS = sizeof(T) == 8 ? 1 : 2;  // of a multiprocessor: doubles take twice the registers

template <class T>
__device__ __forceinline__ void deliver(Acc<T> sum, T* C, const T* bias, Acc<T>* partial, int m, int n, const GemmShape& g) {
    if (m >= g.M || n >= g.N) return;
    if (partial) {
        partial[((int64)blockIdx.z * g.M + m) * g.N + n] = sum;
    } else {
        T* to = C + m * g.c_m + n;
        *to = finish<T>(sum, bias, to, n, g);
    }
}

// A (M ≤ 8, K) n, B t: columns of B are rows of memory. The rows of A are the same for all warps and come from the cache.
template <class T>
__device__ void gemm_thin_nt(const T* __restrict__ A, const T* __restrict__ B, T* C, const T* __restrict__ bias, Acc<T>* __restrict__ partial,
                             const GemmShape& g) {
    constexpr int V = LANES<T>;
    const int lane = threadIdx.x % 32, n0 = (blockIdx.x * (THREADS / 32) + threadIdx.x / 32) * COLUMNS;
    const int first = blockIdx.z * g.depth, last = min_of(g.K, first + g.depth);
    Acc<T> sum[ROWS][COLUMNS] = {};
    for (int k = first + lane * V; k < last; k += 32 * V) {
        const int inside = last - k;
        Vector<T, V> y[COLUMNS];
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            const T* from = B + min_of(n0 + j, g.N - 1) * g.b_n + k;
            if (g.wide_b && inside >= V) {
                y[j] = load<V>(from);
            } else {
#pragma unroll
                for (int v = 0; v < V; ++v) y[j].at[v] = v < inside ? from[v] : narrow<T>(0);
            }
        }
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            if (i >= g.M) break;
            const T* from = A + i * g.a_m + k;
            Vector<T, V> x;
            if (g.wide_a && inside >= V) {
                x = load<V>(from);
            } else {
#pragma unroll
                for (int v = 0; v < V; ++v) x.at[v] = v < inside ? from[v] : narrow<T>(0);
            }
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j)
#pragma unroll
                for (int v = 0; v < V; ++v) sum[i][j] += widen(x.at[v]) * widen(y[j].at[v]);
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            Acc<T> all = sum[i][j];
#pragma unroll
            for (int far = 16; far; far /= 2) all += __shfl_xor_sync(0xffffffffu, all, far);
            if (lane == 0) deliver<T>(all, C, bias, partial, i, n0 + j, g);
        }
}

// A (M ≤ 8, K) with any strides, B n. A piece of A is brought to shared memory, where all threads read the same number at once.
template <class T>
__device__ void gemm_thin_nn(const T* __restrict__ A, const T* __restrict__ B, T* C, const T* __restrict__ bias, Acc<T>* __restrict__ partial,
                             const GemmShape& g) {
    constexpr int PIECE = 64;
    __shared__ Acc<T> x[PIECE][ROWS];
    const int n0 = (blockIdx.x * THREADS + threadIdx.x) * COLUMNS, inside = g.N - n0;
    const int first = blockIdx.z * g.depth, last = min_of(g.K, first + g.depth);
    Acc<T> sum[ROWS][COLUMNS] = {};
    for (int k0 = first; k0 < last; k0 += PIECE) {
        const int count = min_of(PIECE, last - k0);
        __syncthreads();
        for (int e = threadIdx.x; e < count * ROWS; e += THREADS) {
            const int i = e % ROWS, k = e / ROWS;
            x[k][i] = i < g.M ? widen(A[i * g.a_m + (k0 + k) * g.a_k]) : Acc<T>(0);
        }
        __syncthreads();
        if (inside <= 0) continue;
#pragma unroll 4
        for (int k = 0; k < count; ++k) {
            const T* from = B + (k0 + k) * g.b_k + n0;
            Vector<T, COLUMNS> y;
            if (g.wide_b && inside >= COLUMNS) {
                y = load<COLUMNS>(from);
            } else {
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j) y.at[j] = j < inside ? from[j] : narrow<T>(0);
            }
#pragma unroll
            for (int i = 0; i < ROWS; ++i)
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j) sum[i][j] += x[k][i] * widen(y.at[j]);
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) deliver<T>(sum[i][j], C, bias, partial, i, n0 + j, g);
}

// C from `splits` matrices of sums.
template <class T>
__device__ void add_splits(const Acc<T>* __restrict__ partial, T* C, const T* __restrict__ bias, int splits, const GemmShape& g) {
    const int64 total = (int64)g.M * g.N;
    for_each_element(i, total) {
        Acc<T> sum = 0;
        for (int s = 0; s < splits; ++s) sum += partial[s * total + i];
        const int m = (int)(i / g.N), n = (int)(i % g.N);
        T* to = C + m * g.c_m + n;
        *to = finish<T>(sum, bias, to, n, g);
    }
}

// ---- entries ------------------------------------------------------------------------------------------------------------------------

typedef float f32;
typedef double f64;

#define GEMM_SIMPLE(version, T)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) gemm_##version##_##T(const T* A, const T* B, T* C, const T* bias, GemmShape g) { \
        gemm_##version<T>(A, B, C, bias, g);                                                                                      \
    }
#define GEMM_SPLIT(name, BLOCKS, T, ...)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) gemm_##name##_##T(const T* A, const T* B, T* C, const T* bias, \
                                                                                Acc<T>* partial, GemmShape g) {             \
        __VA_ARGS__(A, B, C, bias, partial, g);                                                                             \
    }
#define GEMM_TILED(SIDE, G, BLOCKS, T)                                                  \
    GEMM_SPLIT(tiled_##SIDE##_nn, BLOCKS, T, gemm_tiled<T, G, true, false>)             \
    GEMM_SPLIT(tiled_##SIDE##_nt, BLOCKS, T, gemm_tiled<T, G, true, true>)              \
    GEMM_SPLIT(tiled_##SIDE##_tn, BLOCKS, T, gemm_tiled<T, G, false, false>)            \
    GEMM_SPLIT(tiled_##SIDE##_tt, BLOCKS, T, gemm_tiled<T, G, false, true>)
#define GEMM(T)                                                                                                                          \
    GEMM_SIMPLE(naive, T)                                                                                                                \
    GEMM_SIMPLE(shared, T)                                                                                                               \
    GEMM_TILED(64, 1, 2, T)                                                                                                              \
    GEMM_SPLIT(thin_nt, THIN_BLOCKS<T>, T, gemm_thin_nt<T>)                                                                              \
    GEMM_SPLIT(thin_nn, 2, T, gemm_thin_nn<T>)                                                                                           \
    extern "C" __global__ void gemm_add_splits_##T(const Acc<T>* partial, T* C, const T* bias, int splits, GemmShape g) {                \
        add_splits<T>(partial, C, bias, splits, g);                                                                                      \
    }

GEMM(f32)
GEMM(f64)
GEMM(f16)
GEMM(bf16)
GEMM_TILED(128, 2, 2, f32)
GEMM_TILED(128, 2, 2, f16)
GEMM_TILED(128, 2, 2, bf16)
