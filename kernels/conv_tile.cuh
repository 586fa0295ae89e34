// A block's tile of a matrix product whose operands are those of conv_operands.cuh: registers, shared memory, and who loads what.
//
// A warp is 8 × 4 lanes. A lane owns SIDE × SIDE sums as blocks of 4 × 4, 32 rows and 16 columns apart, so that at each step of depth the
// warp reads whole, neighbouring 16-byte words of shared memory. Shared memory holds two slices of K steps of depth, [k][row] and
// [k][column]: while one is multiplied, the next one comes from global memory into registers and is then put into the other.
// Rows of shared memory are 4 numbers longer than the tile: then the transposing stores of AlongDepth loaders meet no bank twice.
//
// What is known of a thread's pixels is worked out once. From slice to slice only the channel moves on; a new tap means one new pointer.
#pragma once
#include "conv_operands.cuh"
#include "vector.cuh"

template <class Element, int WARPS_M, int WARPS_N>
struct Tile {
    typedef Element T;
    typedef Acc<T> Sum;
    static constexpr int BLOCKS = sizeof(T) == 8 ? 1 : 2, SIDE = 4 * BLOCKS;  // doubles take twice the registers
    static constexpr int M = WARPS_M * 8 * SIDE, N = WARPS_N * 4 * SIDE, K = sizeof(T) == 8 ? 16 : 8;
    static constexpr int THREADS = 32 * WARPS_M * WARPS_N;

    struct Shared {
        alignas(16) Sum left[2][K][M + 4];
        alignas(16) Sum right[2][K][N + 4];
    };

    static __device__ __forceinline__ int row() { return threadIdx.x / 32 / WARPS_N * 8 * SIDE + threadIdx.x % 32 / 4 * 4; }
    static __device__ __forceinline__ int column() { return threadIdx.x / 32 % WARPS_N * 4 * SIDE + threadIdx.x % 4 * 4; }
};

// ---- loaders -----------------------------------------------------------------------------------------------------------------------
// fetch() takes the thread's share of the next K steps of depth into registers, put() stores it into a slice. V is how many neighbours one
// load takes: 4 needs channel counts that are multiples of 4 and aligned arrays, 1 takes everything. SIZE is the side of the tile.

// An operand whose memory runs along depth: threads side by side take neighbouring runs of a line (V = 4) or the same run of neighbouring
// lines, whose pixels are neighbours (V = 1).
template <class Tile, int SIZE, int V>
struct AlongDepth {
    typedef typename Tile::T T;
    static constexpr int RUN = V == 4 ? 4 : SIZE * Tile::K / Tile::THREADS, PARTS = Tile::K / RUN;
    static constexpr int LINES = Tile::THREADS / PARTS, ITEMS = SIZE / LINES;
    T held[ITEMS][RUN];

    static __device__ __forceinline__ int line() { return V == 4 ? threadIdx.x / PARTS : threadIdx.x % LINES; }
    static __device__ __forceinline__ int start() { return (V == 4 ? threadIdx.x % PARTS : threadIdx.x / LINES) * RUN; }

    __device__ __forceinline__ void take(int item, int step, const T* from) {
        const Vector<T, V> value = from ? load<V>(from) : filled<V>(T(0.0f));
#pragma unroll
        for (int v = 0; v < V; ++v) held[item][step + v] = value.at[v];
    }
    __device__ __forceinline__ void put(Acc<T> (*slice)[SIZE + 4]) const {
#pragma unroll
        for (int i = 0; i < ITEMS; ++i)
#pragma unroll
            for (int j = 0; j < RUN; ++j) slice[start() + j][line() + i * LINES] = widen(held[i][j]);
    }
};

// An operand whose memory runs across: neighbouring threads take neighbouring columns of one step of depth.
template <class Tile, int SIZE, int V>
struct Across {
    typedef typename Tile::T T;
    static constexpr int LINES = Tile::THREADS / (SIZE / V), ITEMS = Tile::K / LINES;
    Vector<T, V> held[ITEMS];

    static __device__ __forceinline__ int line() { return threadIdx.x / (SIZE / V); }
    static __device__ __forceinline__ int start() { return threadIdx.x % (SIZE / V) * V; }

    __device__ __forceinline__ void take(int item, const T* from) { held[item] = from ? load<V>(from) : filled<V>(T(0.0f)); }
    __device__ __forceinline__ void put(Acc<T> (*slice)[SIZE + 4]) const {
#pragma unroll
        for (int i = 0; i < ITEMS; ++i) {
            Vector<Acc<T>, V> value;
#pragma unroll
            for (int v = 0; v < V; ++v) value.at[v] = widen(held[i].at[v]);
            store<V>(&slice[line() + i * LINES][start()], value);
        }
    }
};

// left of the forward pass and of the gradient of the input: line = pixel, depth = (tap, channel). Pixels are known by their number among
// all of the image that is looked at (one register, where an address takes two).
template <class Tile, int V, bool BACKWARD>
struct PatchLines : AlongDepth<Tile, Tile::M, V> {
    typedef AlongDepth<Tile, Tile::M, V> Base;
    typedef typename Tile::T T;
    typedef Taps<BACKWARD> Look;
    static constexpr int NOWHERE = -(1 << 30);
    const T* images;  // the group's first channel
    const ConvShape& g;
    int first[Base::ITEMS], top[Base::ITEMS], left[Base::ITEMS];  // pixel of the image, origin of the window
    int at[Base::ITEMS], tap, c;                                  // the pixel under the tap, −1 outside

    __device__ __forceinline__ PatchLines(const T* all, const ConvShape& g, int group, int line, int rows, int k, bool pooling)
        : images(all + group * Look::deep(g)), g(g) {
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i) {
            const int row = line + Base::line() + i * Base::LINES;
            const Pixel pixel = pixel_of(row, BACKWARD ? g.H : g.P, BACKWARD ? g.W : g.Q, pooling);
            first[i] = pixel.n * Look::height(g) * Look::width(g);
            top[i] = row < rows ? Look::origin(pixel.h, g.stride_h, g.pad_top) : NOWHERE;
            left[i] = Look::origin(pixel.w, g.stride_w, g.pad_left);
        }
        tap = (k + Base::start()) / Look::deep(g);
        c = (k + Base::start()) % Look::deep(g);
        aim();
    }
    __device__ __forceinline__ void aim() {
        const int r = tap / g.S, s = tap - r * g.S;
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i) {
            const int h = Look::place(top[i], r, g.stride_h, g.dilation_h, Look::height(g));
            const int w = Look::place(left[i], s, g.stride_w, g.dilation_w, Look::width(g));
            at[i] = r < g.R && h >= 0 && w >= 0 ? first[i] + h * Look::width(g) + w : -1;
        }
    }
    __device__ __forceinline__ void advance(int steps) {
        c += steps;
        if (c < Look::deep(g)) return;
        for (; c >= Look::deep(g); c -= Look::deep(g)) ++tap;
        aim();
    }
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int j = 0; j < Base::RUN; j += V) {
#pragma unroll
            for (int i = 0; i < Base::ITEMS; ++i) Base::take(i, j, at[i] < 0 ? nullptr : images + (int64)at[i] * Look::channels(g) + c);
            advance(V);
        }
        if (Base::RUN < Tile::K) advance(Tile::K - Base::RUN);
    }
};

// right of the forward pass: line = filter, depth = (tap, channel), one run of memory.
template <class Tile, int V>
struct FilterLines : AlongDepth<Tile, Tile::N, V> {
    typedef AlongDepth<Tile, Tile::N, V> Base;
    typedef typename Tile::T T;
    const T* filters;  // of the group
    const ConvShape& g;
    int first, k;

    __device__ __forceinline__ FilterLines(const T* w, const ConvShape& g, int group, int line, int k0)
        : filters(w + (int64)group * wide_of(g) * g.R * g.S * deep_of(g)), g(g), first(line + Base::line()), k(k0 + Base::start()) {}
    __device__ __forceinline__ void fetch() {
        const int depth = g.R * g.S * deep_of(g), wide = wide_of(g);
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i) {
            const int filter = first + i * Base::LINES;
            const T* from = filters + (int64)filter * depth + k;
#pragma unroll
            for (int j = 0; j < Base::RUN; j += V) Base::take(i, j, filter < wide && k + j < depth ? from + j : nullptr);
        }
        k += Tile::K;
    }
};

// right of the gradient of the input: depth = (tap, filter), column = channel.
template <class Tile, int V>
struct FilterColumns : Across<Tile, Tile::N, V> {
    typedef Across<Tile, Tile::N, V> Base;
    typedef typename Tile::T T;
    const T* filters;  // of the group
    const ConvShape& g;
    int column, tap, filter;

    __device__ __forceinline__ FilterColumns(const T* w, const ConvShape& g, int group, int first, int k0)
        : filters(w + (int64)group * wide_of(g) * g.R * g.S * deep_of(g)), g(g), column(first + Base::start()) {
        const int k = k0 + Base::line();
        tap = column < deep_of(g) ? k / wide_of(g) : g.R * g.S;
        filter = k % wide_of(g);
    }
    __device__ __forceinline__ void fetch() {
        const int wide = wide_of(g), taps = g.R * g.S;
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i) {
            Base::take(i, tap < taps ? filters + ((int64)filter * taps + tap) * deep_of(g) + column : nullptr);
            for (filter += Base::LINES; filter >= wide; filter -= wide) ++tap;
        }
    }
};

// left of the gradient of the filter: depth = output pixel, row = filter.
template <class Tile, int V>
struct SlopeColumns : Across<Tile, Tile::M, V> {
    typedef Across<Tile, Tile::M, V> Base;
    typedef typename Tile::T T;
    const T* dy;  // the group's first channel
    const ConvShape& g;
    int row, pixel;

    __device__ __forceinline__ SlopeColumns(const T* all, const ConvShape& g, int group, int first, int k0)
        : dy(all + group * wide_of(g)), g(g), row(first + Base::start()), pixel(k0 + Base::line()) {}
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i, pixel += Base::LINES)
            Base::take(i, row < wide_of(g) && pixel < g.N * g.P * g.Q ? dy + (int64)pixel * g.K + row : nullptr);
    }
};

// right of the gradient of the filter: depth = output pixel, column = (tap, channel). The tap stays, the pixel moves.
template <class Tile, int V>
struct PatchColumns : Across<Tile, Tile::N, V> {
    typedef Across<Tile, Tile::N, V> Base;
    typedef typename Tile::T T;
    const T* x;  // the group's first channel
    const ConvShape& g;
    int c, top, left;  // (top, left): where the tap is when the window is at the origin
    int line, q;       // of the output pixel: n · P + p, and its column

    __device__ __forceinline__ PatchColumns(const T* images, const ConvShape& g, int group, int first, int k0)
        : x(images + group * deep_of(g)), g(g) {
        const int column = first + Base::start(), tap = column / deep_of(g), k = k0 + Base::line();
        c = column % deep_of(g);
        top = tap / g.S * g.dilation_h - g.pad_top;
        left = tap % g.S * g.dilation_w - g.pad_left;
        line = tap < g.R * g.S ? k / g.Q : g.N * g.P;
        q = k % g.Q;
    }
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int i = 0; i < Base::ITEMS; ++i) {
            const int n = line / g.P, h = (line - n * g.P) * g.stride_h + top, w = q * g.stride_w + left;
            const bool inside = n < g.N && 0 <= h && h < g.H && 0 <= w && w < g.W;
            Base::take(i, inside ? x + (int64)((n * g.H + h) * g.W + w) * g.C + c : nullptr);
            for (q += Base::LINES; q >= g.Q; q -= g.Q) ++line;
        }
    }
};

// ---- the product -------------------------------------------------------------------------------------------------------------------

template <class Tile>
__device__ __forceinline__ void multiply_slice(const typename Tile::Shared& shared, int slice, typename Tile::Sum (&sums)[Tile::SIDE][Tile::SIDE]) {
    typedef typename Tile::Sum Sum;
#pragma unroll
    for (int k = 0; k < Tile::K; ++k) {
        Vector<Sum, 4> a[Tile::BLOCKS], b[Tile::BLOCKS];
#pragma unroll
        for (int i = 0; i < Tile::BLOCKS; ++i) {
            a[i] = load<4>(&shared.left[slice][k][Tile::row() + i * 32]);
            b[i] = load<4>(&shared.right[slice][k][Tile::column() + i * 16]);
        }
#pragma unroll
        for (int i = 0; i < Tile::SIDE; ++i)
#pragma unroll
            for (int j = 0; j < Tile::SIDE; ++j) sums[i][j] = multiply_add(a[i / 4].at[i % 4], b[j / 4].at[j % 4], sums[i][j]);
    }
}

// sums += left · right over `slices` slices of depth, from where the loaders stand. One barrier a slice: the slice that is written was
// read before the last one.
template <class Tile, class Left, class Right>
__device__ __forceinline__ void multiply_tile(typename Tile::Shared& shared, Left& left, Right& right, int slices,
                                              typename Tile::Sum (&sums)[Tile::SIDE][Tile::SIDE]) {
    left.fetch();
    right.fetch();
    left.put(shared.left[0]);
    right.put(shared.right[0]);
    __syncthreads();
    int slice = 0;
    for (int done = 1; done < slices; ++done) {
        left.fetch();
        right.fetch();
        multiply_slice<Tile>(shared, slice, sums);
        slice ^= 1;
        left.put(shared.left[slice]);
        right.put(shared.right[slice]);
        __syncthreads();
    }
    multiply_slice<Tile>(shared, slice, sums);
}
