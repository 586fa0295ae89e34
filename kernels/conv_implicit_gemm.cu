// Convolution as a matrix product whose operands are never built (implicit GEMM): the column matrix of im2col exists only as addresses.
//
//   v1       one thread a result: every product reads both factors from global memory
//   v2       16 × 16 results a block, tiles of both operands in shared memory: each factor is read once for 16 results
//   large    8 × 8 results a thread in registers, 128 × 128 a block of 256 threads: 64 multiplications for 4 words of shared memory;
//            16-byte loads and stores, two slices in turn, the arithmetic of pixels and taps out of the loop (see conv_tile.cuh)
//   narrow   the same, 128 × 64 with 128 threads: no half-empty tile where there are 64 channels
//   small    the same, 64 × 64 with 64 threads: more blocks, for small layers
//   general  small with single loads: any number of channels, any alignment, groups
//
// Doubles take half as many results a thread along each side, tiles of half the side, and come in large and general. 16-bit types are widened
// on their way into shared memory and summed in float; only general: where there are fours of channels, tensor cores are for them.
//
// The tiled kernels take `splits` blocks for a tile, which share its depth: each writes its sums to `partial`, and finish adds them up, always
// in the same order. With one split the block itself does what follows the sum: scale, bias, ReLU, and the maximum of 2 × 2 pixels, which a
// thread holds side by side because pixels then come in the order of windows.
//
// Legend: see conv_operands.cuh. Rows, columns and depth are those of the pass's matrices.
//
// hot: conv_implicit_gemm_*_large_*, conv_implicit_gemm_*_narrow_*, conv_implicit_gemm_*_small_*, conv_implicit_gemm_*_general_*
#include "common.cuh"
#include "conv_tile.cuh"

template <class Pass, class T>
__device__ void one_by_one(const Pass& pass, T* out) {
    const int64 rows = pass.rows(), columns = pass.columns();
    for_each_element(i, rows * columns * pass.g.groups) {
        const int column = i % columns, row = i / columns % rows, group = i / columns / rows;
        Acc<T> sum = 0;
        for (int k = 0; k < pass.depth(); ++k) sum = multiply_add(widen(pass.left(group, row, k)), widen(pass.right(group, k, column)), sum);
        out[group * pass.group_pitch() + row * pass.pitch() + column] = narrow<T>(sum);
    }
}

// 256 threads; blocks: (rows, columns, groups): only x may pass 65535.
template <class Pass, class T>
__device__ void by_shared_tiles(const Pass& pass, T* out) {
    constexpr int SIDE = 16;
    __shared__ Acc<T> left[SIDE][SIDE + 1], right[SIDE][SIDE + 1];
    const int i = threadIdx.x / SIDE, j = threadIdx.x % SIDE, group = blockIdx.z;
    const int row = blockIdx.x * SIDE + i, column = blockIdx.y * SIDE + j, depth = pass.depth();
    Acc<T> sum = 0;
    for (int k0 = 0; k0 < depth; k0 += SIDE) {
        left[i][j] = row < pass.rows() && k0 + j < depth ? widen(pass.left(group, row, k0 + j)) : Acc<T>(0);
        right[i][j] = column < pass.columns() && k0 + i < depth ? widen(pass.right(group, k0 + i, column)) : Acc<T>(0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < SIDE; ++k) sum = multiply_add(left[i][k], right[k][j], sum);
        __syncthreads();
    }
    if (row < pass.rows() && column < pass.columns()) out[group * pass.group_pitch() + row * pass.pitch() + column] = narrow<T>(sum);
}

// What follows the sum; every pointer but out may be null.
template <class T>
struct Finish {
    const Acc<T>*scale, *bias;
    T* out;
    uint8* winners;
    int relu, pool;

    __device__ __forceinline__ Acc<T> affine(Acc<T> sum, int channel) const {
        if (scale) sum *= scale[channel];
        return bias ? sum + bias[channel] : sum;
    }
    __device__ __forceinline__ T activated(Acc<T> sum) const { return narrow<T>(relu ? rectify(sum) : sum); }
};

// The maximum of the sums of a window and its place.
template <class Sum>
__device__ __forceinline__ Sum largest(Sum a, Sum b, Sum c, Sum d, uint8& place) {
    const Sum others[3] = {b, c, d};
    place = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i)
        if (beats(others[i], a)) a = others[i], place = i + 1;
    return a;
}

// The first `count` of four neighbours, at once if it can be.
template <class T>
__device__ __forceinline__ void store_some(T* to, const Vector<T, 4>& value, int count) {
    if (count >= 4 && (uint64)to % alignof(Vector<T, 4>) == 0) return store<4>(to, value);
#pragma unroll
    for (int j = 0; j < 4; ++j)
        if (j < count) to[j] = value.at[j];
}

// What a block does: which tile of which group, and which slices of depth.
template <class Tile>
struct Share {
    int row, column, group, split, k, slices;

    template <class Pass>
    __device__ __forceinline__ Share(const Pass& pass, int splits) {
        const int across = ceil_div(pass.columns(), Tile::N), all = ceil_div(pass.depth(), Tile::K), most = ceil_div(all, splits);
        row = blockIdx.x / across * Tile::M;
        column = blockIdx.x % across * Tile::N;
        group = pass.g.groups == 1 ? 0 : blockIdx.y;
        split = blockIdx.z;
        k = split * most * Tile::K;
        slices = min_of(most, all - split * most);  // 0 or less: the loaders find nothing
    }
};

// A thread's 4 × 4 sums at (row, column) on their way out.
template <class Pass, class T>
__device__ __forceinline__ void deliver(const Pass& pass, int group, int row, int column, Acc<T> (&sums)[4][4], const Finish<T>& finish,
                                        Acc<T>* partial) {
    const int rows = pass.rows(), columns = pass.columns(), count = columns - column;
    if (row >= rows || count <= 0) return;
    const int64 pitch = pass.pitch(), to = group * pass.group_pitch() + column;
    if (partial) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (row + i < rows)
                store_some(partial + to + (row + i) * pitch, Vector<Acc<T>, 4>{{sums[i][0], sums[i][1], sums[i][2], sums[i][3]}}, count);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (j < count) sums[i][j] = finish.affine(sums[i][j], group * columns + column + j);
    if (finish.pool) {
        Vector<T, 4> value;
        Vector<uint8, 4> places;
#pragma unroll
        for (int j = 0; j < 4; ++j) value.at[j] = finish.activated(largest(sums[0][j], sums[1][j], sums[2][j], sums[3][j], places.at[j]));
        store_some(finish.out + to + row / 4 * pitch, value, count);
        if (finish.winners) store_some(finish.winners + to + row / 4 * pitch, places, count);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        Vector<T, 4> value;
#pragma unroll
        for (int j = 0; j < 4; ++j) value.at[j] = finish.activated(sums[i][j]);
        if (row + i < rows) store_some(finish.out + to + (row + i) * pitch, value, count);
    }
}

// Blocks: (tiles, columns fastest: tiles that read the same pixels run together; groups; splits).
template <class Tile, class Pass, class Left, class Right, class T>
__device__ __forceinline__ void by_register_tiles(const Pass& pass, const Share<Tile>& share, Left left, Right right, const Finish<T>& finish,
                                                  Acc<T>* partial) {
    __shared__ typename Tile::Shared shared;
    __shared__ int row, column;  // not needed until the sums are there, whose registers they would take
    if (threadIdx.x == 0) row = share.row, column = share.column;
    Acc<T> sums[Tile::SIDE][Tile::SIDE] = {};
    multiply_tile<Tile>(shared, left, right, share.slices, sums);
    if (partial) partial += share.split * ((int64)pass.rows() * pass.columns() * pass.g.groups);
#pragma unroll
    for (int b = 0; b < Tile::BLOCKS; ++b)
#pragma unroll
        for (int d = 0; d < Tile::BLOCKS; ++d) {
            Acc<T> block[4][4];
#pragma unroll
            for (int i = 0; i < 16; ++i) block[i / 4][i % 4] = sums[b * 4 + i / 4][d * 4 + i % 4];
            deliver(pass, share.group, row + Tile::row() + b * 32, column + Tile::column() + d * 16, block, finish, partial);
        }
}

// Kernels that load vectors take one group: then the compiler knows it, and divisions and registers fall away.
template <int V>
__device__ __forceinline__ ConvShape known(ConvShape g) {
    if (V == 4) g.groups = 1;
    return g;
}

template <class Tile, int V, class T>
__device__ __forceinline__ void forward(const T* x, const T* w, const ConvShape& shape, const Finish<T>& finish, Acc<T>* partial, int splits) {
    const ConvShape g = known<V>(shape);
    const Forward<T> pass{x, w, g, finish.pool != 0};
    const Share<Tile> share(pass, splits);
    by_register_tiles(pass, share, PatchLines<Tile, V, false>(x, g, share.group, share.row, pass.rows(), share.k, pass.pooling),
                      FilterLines<Tile, V>(w, g, share.group, share.column, share.k), finish, partial);
}

template <class Tile, int V, class T>
__device__ __forceinline__ void grad_input(const T* dy, const T* w, const ConvShape& shape, T* dx, Acc<T>* partial, int splits) {
    const ConvShape g = known<V>(shape);
    const GradInput<T> pass{dy, w, g};
    const Share<Tile> share(pass, splits);
    by_register_tiles(pass, share, PatchLines<Tile, V, true>(dy, g, share.group, share.row, pass.rows(), share.k, false),
                      FilterColumns<Tile, V>(w, g, share.group, share.column, share.k), Finish<T>{nullptr, nullptr, dx}, partial);
}

template <class Tile, int V, class T>
__device__ __forceinline__ void grad_weight(const T* dy, const T* x, const ConvShape& shape, T* dw, Acc<T>* partial, int splits) {
    const ConvShape g = known<V>(shape);
    const GradWeight<T> pass{dy, x, g};
    const Share<Tile> share(pass, splits);
    by_register_tiles(pass, share, SlopeColumns<Tile, V>(dy, g, share.group, share.row, share.k),
                      PatchColumns<Tile, V>(x, g, share.group, share.column, share.k), Finish<T>{nullptr, nullptr, dw}, partial);
}

// out = what follows Σ over splits of partial (splits, rows, channels); of four rows at a time when pooling.
template <class T>
__device__ void add_splits(const Acc<T>* __restrict__ partial, const Finish<T>& finish, int64 rows, int channels, int splits) {
    const int64 size = rows * channels;
    for_each_element(i, finish.pool ? size / 4 : size) {
        const int channel = i % channels;
        Acc<T> sums[4];
#pragma unroll
        for (int place = 0; place < 4; ++place) {
            if (place && !finish.pool) break;
            const Acc<T>* from = partial + (finish.pool ? (i / channels * 4 + place) * channels + channel : i);
            Acc<T> sum = from[0];
            for (int split = 1; split < splits; ++split) sum += from[split * size];
            sums[place] = finish.affine(sum, channel);
        }
        uint8 place;
        if (finish.pool) sums[0] = largest(sums[0], sums[1], sums[2], sums[3], place);
        finish.out[i] = finish.activated(sums[0]);
        if (finish.pool && finish.winners) finish.winners[i] = place;
    }
}

#define TILED(version, T, Tile, V, RESIDENT)                                                                                              \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT)                                                                 \
        conv_implicit_gemm_forward_##version##_##T(const T* __restrict__ x, const T* __restrict__ w, const Acc<T>* __restrict__ scale,    \
                                                   const Acc<T>* __restrict__ bias, T* __restrict__ y, uint8* __restrict__ winners,       \
                                                   Acc<T>* __restrict__ partial, ConvShape g, int relu, int pool, int splits) {           \
        forward<Tile, V, T>(x, w, g, Finish<T>{scale, bias, y, winners, relu, pool}, partial, splits);                                    \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT)                                                                 \
        conv_implicit_gemm_grad_input_##version##_##T(const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx,              \
                                                      Acc<T>* __restrict__ partial, ConvShape g, int splits) {                            \
        grad_input<Tile, V, T>(dy, w, g, dx, partial, splits);                                                                            \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT)                                                                 \
        conv_implicit_gemm_grad_weight_##version##_##T(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dw,             \
                                                       Acc<T>* __restrict__ partial, ConvShape g, int splits) {                           \
        grad_weight<Tile, V, T>(dy, x, g, dw, partial, splits);                                                                           \
    }

#define PLAIN(version, T, product)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) conv_implicit_gemm_forward_##version##_##T(const T* x, const T* w, T* y, ConvShape g) { \
        product(Forward<T>{x, w, g}, y);                                                                                                  \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                                                                     \
        conv_implicit_gemm_grad_input_##version##_##T(const T* dy, const T* w, T* dx, ConvShape g) {                                      \
        product(GradInput<T>{dy, w, g}, dx);                                                                                              \
    }                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                                                                     \
        conv_implicit_gemm_grad_weight_##version##_##T(const T* dy, const T* x, T* dw, ConvShape g) {                                     \
        product(GradWeight<T>{dy, x, g}, dw);                                                                                             \
    }

#define FINISH(T)                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                                                     \
        conv_implicit_gemm_finish_##T(const Acc<T>* partial, const Acc<T>* scale, const Acc<T>* bias, T* out, uint8* winners, int64 rows, \
                                      int channels, int splits, int relu, int pool) {                                                     \
        add_splits<T>(partial, Finish<T>{scale, bias, out, winners, relu, pool}, rows, channels, splits);                                 \
    }

#define GENERAL(T)                     \
    typedef Tile<T, 1, 2> Small_##T;   \
    TILED(general, T, Small_##T, 1, 4) \
    FINISH(T)
#define WIDE(T)                      \
    typedef Tile<T, 2, 4> Large_##T; \
    GENERAL(T)                       \
    TILED(large, T, Large_##T, 4, 2) \
    PLAIN(v1, T, one_by_one)         \
    PLAIN(v2, T, by_shared_tiles)

typedef float f32;
typedef double f64;
typedef Tile<f32, 2, 2> Narrow_f32;
WIDE(f32)
TILED(narrow, f32, Narrow_f32, 4, 3)
TILED(small, f32, Small_f32, 4, 6)
WIDE(f64)
GENERAL(f16)
GENERAL(bf16)
