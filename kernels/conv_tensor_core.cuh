// The operands of conv_tensor_core*.cu: pixels under the taps of a filter, and filters, copied slice by slice into the shared memory of
// tensor_core_tile.cuh.
//
// A loader knows of each pixel it copies one offset and one word of bits, which rows (0–15) and columns (16–31) of the filter lie inside the
// image. BACKWARD: the pixels are dy's under the taps of x, and filters are read across (neighbouring columns are neighbouring channels of x).
//
// Legend: see conv_operands.cuh; groups = 1, filters of at most 16 × 16, and all images that a tile can touch have fewer than 2^31 elements.
#pragma once
#include "conv_operands.cuh"
#include "tensor_core_tile.cuh"

// n / d for 0 ≤ n < 2^31 by one multiplication (Granlund & Montgomery, PLDI 1994).
struct Divider {
    uint32 by, factor, shift;
    __device__ __forceinline__ explicit Divider(int d) : by(d), shift(d > 1 ? 32 - __clz(d - 1) : 0) {
        factor = (uint32)(((((uint64)1 << shift) - by) << 32) / by + 1);
    }
    __device__ __forceinline__ int quotient(int n) const { return (__umulhi(n, factor) + n) >> shift; }
};

template <class Tile, bool BACKWARD>
struct TapPixels {
    typedef typename Tile::T T;
    typedef Taps<BACKWARD> Look;
    typedef Share<Tile, typename Tile::Left> Pixels;
    const T* image;                // the one of the tile's first pixel
    int place[Pixels::ITEMS];      // of the pixel under tap (0, 0), from `image`; may lie outside
    uint32 inside[Pixels::ITEMS];  // bit r: row r of the filter lies inside the image; bit 16 + s: column s

    __device__ __forceinline__ TapPixels(const T* images, const ConvShape& g, int first_row, bool pooling) {
        const int height = BACKWARD ? g.H : g.P, width = BACKWARD ? g.W : g.Q, rows = rows_of(g, pooling);
        const int size = Look::height(g) * Look::width(g) * Look::channels(g), first_image = pixel_of(first_row, height, width, pooling).n;
        image = images + (int64)first_image * size;
#pragma unroll
        for (int i = 0; i < Pixels::ITEMS; ++i) {
            const int row = first_row + Pixels::line(i);
            const Pixel pixel = pixel_of(row, height, width, pooling);
            const int top = Look::origin(pixel.h, g.stride_h, g.pad_top), left = Look::origin(pixel.w, g.stride_w, g.pad_left);
            uint32 bits = 0;
            for (int r = 0; r < g.R; ++r) bits |= (uint32)(Look::place(top, r, g.stride_h, g.dilation_h, Look::height(g)) >= 0) << r;
            for (int s = 0; s < g.S; ++s) bits |= (uint32)(Look::place(left, s, g.stride_w, g.dilation_w, Look::width(g)) >= 0) << (16 + s);
            inside[i] = row < rows ? bits : 0;
            const int h = BACKWARD ? top / g.stride_h : top, v = BACKWARD ? left / g.stride_w : left;
            place[i] = (pixel.n - first_image) * size + (h * Look::width(g) + v) * Look::channels(g);
        }
    }
    __device__ __forceinline__ bool sees(int i, int r, int s) const { return inside[i] >> r & inside[i] >> (16 + s) & 1; }

    static __device__ __forceinline__ int rows_of(const ConvShape& g, bool pooling) {
        return BACKWARD ? g.N * g.H * g.W : pooling ? g.N * (g.P / 2) * (g.Q / 2) * 4 : g.N * g.P * g.Q;
    }
    // From tap (0, 0) to tap (r, s). The output that sees h by tap r is ⌊(h + pad) / stride⌋ − ⌊r·dilation / stride⌋, if one does.
    static __device__ __forceinline__ int step(const ConvShape& g, int r, int s) {
        const int down = BACKWARD ? -(r * g.dilation_h / g.stride_h) : r * g.dilation_h;
        const int aside = BACKWARD ? -(s * g.dilation_w / g.stride_w) : s * g.dilation_w;
        return (down * Look::width(g) + aside) * Look::channels(g);
    }
};

// Whole words of channels. WIDE: filters, too, are copied by words; else one number at a time (BACKWARD only, for any C).
template <class Tile, bool BACKWARD, bool WIDE = true>
struct TapLoader : TapPixels<Tile, BACKWARD> {
    typedef TapPixels<Tile, BACKWARD> Base;
    typedef typename Tile::T T;
    typedef typename Base::Pixels Pixels;
    typedef Share<Tile, typename Tile::Right> Filters;
    const ConvShape& g;
    const T* w;
    int first_column, r, s, c;  // of the next slice: tap, first channel

    __device__ __forceinline__ TapLoader(const T* images, const T* w, const ConvShape& g, int first_row, int first_column, int slice, bool pooling)
        : Base(images, g, first_row, pooling), g(g), w(w), first_column(first_column) {
        const int taps = g.R * g.S, tap = slice % taps;
        c = slice / taps * Tile::DEPTH;
        r = tap / g.S;
        s = tap % g.S;
    }
    static __device__ __forceinline__ int slices_of(const ConvShape& g) { return g.R * g.S * ceil_div(Base::Look::channels(g), Tile::DEPTH); }

    __device__ __forceinline__ void load(unsigned char* left, unsigned char* right) {
        const int channel = c + Pixels::word() * WORD<T>, moved = Base::step(g, r, s) + channel;
        const bool whole = channel < Base::Look::channels(g);
#pragma unroll
        for (int i = 0; i < Pixels::ITEMS; ++i) {
            unsigned char* to = left + Tile::Left::offset(Pixels::line(i), Pixels::word());
            cp_async16_cached(to, Base::image + (Base::place[i] + moved), whole && Base::sees(i, r, s));
        }
        const int taps = g.R * g.S, tap = r * g.S + s, word = Filters::word() * WORD<T>;
#pragma unroll
        for (int i = 0; i < Filters::ITEMS; ++i) {
            const int filter = Filters::line(i) + (BACKWARD ? c : first_column), deep = word + (BACKWARD ? first_column : c);
            const T* from = w + ((int64)filter * taps + tap) * g.C + deep;
            unsigned char* to = right + Tile::Right::offset(Filters::line(i), Filters::word());
            if (WIDE) {
                cp_async16(to, from, filter < g.K && deep < g.C);
            } else {
                T* one = reinterpret_cast<T*>(to);
                for (int e = 0; e < WORD<T>; ++e) one[e] = filter < g.K && deep + e < g.C ? from[e] : T(0.0f);
            }
        }
        if (++s < g.S) return;
        s = 0;
        if (++r < g.R) return;
        r = 0;
        c += Tile::DEPTH;
    }
};

struct After {
    const float *scale, *bias;
    uint8* winners;
    int relu, pool;
};

// Blocks: (tiles, columns of the result fastest; splits).
template <class Tile, class Loader>
__device__ __forceinline__ void by_tiles(const typename Tile::T* image, const typename Tile::T* w, typename Tile::T* out, float* partial,
                                         const ConvShape& g, int columns, int splits, const After& after) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int rows = Loader::rows_of(g, after.pool), across = ceil_div(columns, Tile::N);
    const int first_row = blockIdx.x / across * Tile::M, first_column = blockIdx.x % across * Tile::N;
    const int slices = Loader::slices_of(g), from = (int64)slices * blockIdx.y / splits, to = (int64)slices * (blockIdx.y + 1) / splits;
    Loader loader(image, w, g, first_row, first_column, from, after.pool);
    Sums<Tile> sums = {};
    multiply_tile<Tile>(sums, shared, loader, to - from);
    const Finish finish = {after.scale, after.bias, after.relu != 0};
    if (partial) store_partial<Tile>(sums, partial + (int64)blockIdx.y * rows * columns, first_row, first_column, rows, columns);
    else if (after.pool) store_windows<Tile>(sums, shared, out, after.winners, first_row, first_column, rows, columns, finish);
    else store_rows<Tile>(sums, shared, out, first_row, first_column, rows, columns, finish);
}

// The gradient of the filters, whose loader copies slices of pixels of dy and of x. Blocks: (tiles, columns fastest; splits).
template <class Tile, class Loader>
__device__ __forceinline__ void weight_by_tiles(const typename Tile::T* dy, const typename Tile::T* x, typename Tile::T* dw, float* partial,
                                                const ConvShape& g, int splits) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int columns = g.R * g.S * g.C, across = ceil_div(columns, Tile::N), slices = ceil_div(g.N * g.P * g.Q, Tile::DEPTH);
    const int first_row = blockIdx.x / across * Tile::M, first_column = blockIdx.x % across * Tile::N;
    const int from = (int64)slices * blockIdx.y / splits, to = (int64)slices * (blockIdx.y + 1) / splits;
    Loader loader(dy, x, g, first_row, first_column, from);
    Sums<Tile> sums = {};
    multiply_tile<Tile>(sums, shared, loader, to - from);
    if (partial) store_partial<Tile>(sums, partial + (int64)blockIdx.y * g.K * columns, first_row, first_column, g.K, columns);
    else store_rows<Tile>(sums, shared, dw, first_row, first_column, g.K, columns, Finish());
}

// Entries. BLOCKS of a multiprocessor decide how many registers a thread may have. partial: null unless sums are wanted as they are.
#define TENSOR_FORWARD(name, T, BLOCKS, Tile, Loader)                                                                                     \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, BLOCKS)                                                                   \
        name(const T* x, const T* w, const float* scale, const float* bias, T* y, uint8* winners, float* partial, ConvShape g, int relu,  \
             int pool, int splits) {                                                                                                      \
        by_tiles<Tile, Loader>(x, w, y, partial, g, g.K, splits, {scale, bias, winners, relu, pool});                                     \
    }
#define TENSOR_GRAD_INPUT(name, T, BLOCKS, Tile, Loader)                                     \
    extern "C" __global__ void __launch_bounds__(Tile::THREADS, BLOCKS)                      \
        name(const T* dy, const T* w, T* dx, float* partial, ConvShape g, int splits) {      \
        by_tiles<Tile, Loader>(dy, w, dx, partial, g, g.C, splits, {});                      \
    }
