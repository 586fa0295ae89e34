// Convolution on tensor cores where C is no whole number of 16-byte words: a net's first layer, C = 3.
//
//   forward       128 pixels × 64 filters a block; depth is the flat index (r, s, c), R·S·C = 27 padded to 32 with zeros, so VGG's first layer is
//                 one slice. Each number is read by itself, packed in registers and stored to shared memory by 16-byte words
//   grad_weight   64 filters × 32 columns (r, s, c); dy comes by cp.async, three slices in a ring, x number by number
//   grad_input    128 pixels × 32 channels: the ring of conv_tensor_core.cu with filters read number by number
//
// The first layer is bound by its output (forward) and by dy (grad_weight), not by the products: what counts is that those move by 16 bytes.
// f16, bf16, and tf32 (float). K must be a whole number of words; C is free.
//
// Legend: N batch, C channels in, K channels out, H W input, R S filter, P Q output. x, y NHWC; w KRSC; groups = 1.
//
// hot: conv_tensor_core_any_*
// entries: conv_tensor_core_any_*
#include "common.cuh"
#include "conv_tensor_core.cuh"

// A column of the unfolded image, (r, s, c) flat.
struct Column {
    int r, s, c;
    __device__ __forceinline__ Column(int k, const ConvShape& g, const Divider& by_c, const Divider& by_s) {
        const int tap = by_c.quotient(k);
        c = k - tap * g.C;
        r = by_s.quotient(tap);
        s = tap - r * g.S;
    }
};

template <class T>
struct Word {
    alignas(16) T at[WORD<T>];
    __device__ __forceinline__ void store(unsigned char* to) const { *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(at); }
};

template <class Tile>
struct FlatLoader : TapPixels<Tile, false> {
    typedef TapPixels<Tile, false> Base;
    typedef typename Tile::T T;
    typedef typename Base::Pixels Pixels;
    typedef Share<Tile, typename Tile::Right> Filters;
    const ConvShape& g;
    const T* w;
    Divider by_c, by_s;
    int first_column, k, depth;  // of the next slice, the word's first

    __device__ __forceinline__ FlatLoader(const T* images, const T* w, const ConvShape& g, int first_row, int first_column, int slice, bool pooling)
        : Base(images, g, first_row, pooling), g(g), w(w), by_c(g.C), by_s(g.S), first_column(first_column),
          k(slice * Tile::DEPTH + Pixels::word() * WORD<T>), depth(g.R * g.S * g.C) {}
    static __device__ __forceinline__ int slices_of(const ConvShape& g) { return ceil_div(g.R * g.S * g.C, Tile::DEPTH); }

    __device__ __forceinline__ void load(unsigned char* left, unsigned char* right) {
        static_assert(Pixels::STRIDE == Filters::STRIDE, "a thread has the same word of both operands");
        Word<T> pixels[Pixels::ITEMS], filters[Filters::ITEMS];
#pragma unroll
        for (int e = 0; e < WORD<T>; ++e) {
            const Column column(k + e, g, by_c, by_s);
            const int moved = Base::step(g, column.r, column.s) + column.c;
            const bool within = k + e < depth;
#pragma unroll
            for (int i = 0; i < Pixels::ITEMS; ++i)
                pixels[i].at[e] = within && Base::sees(i, column.r, column.s) ? Base::image[Base::place[i] + moved] : T(0.0f);
#pragma unroll
            for (int i = 0; i < Filters::ITEMS; ++i) {
                const int filter = first_column + Filters::line(i);
                filters[i].at[e] = within && filter < g.K ? w[(int64)filter * depth + k + e] : T(0.0f);
            }
        }
#pragma unroll
        for (int i = 0; i < Pixels::ITEMS; ++i) pixels[i].store(left + Tile::Left::offset(Pixels::line(i), Pixels::word()));
#pragma unroll
        for (int i = 0; i < Filters::ITEMS; ++i) filters[i].store(right + Tile::Right::offset(Filters::line(i), Filters::word()));
        k += Tile::DEPTH;
    }
};

template <class Tile>
struct FlatPixelLoader {
    typedef typename Tile::T T;
    typedef Share<Tile, typename Tile::Left> Slopes;
    typedef Share<Tile, typename Tile::Right> Patches;
    const ConvShape& g;
    const T *dy, *x;  // the word's first filter of pixel 0, null if there is none; image 0
    Divider by_q, by_p;
    int top[WORD<T>], left[WORD<T>], place[WORD<T>];  // of each element's tap, relative to the window's origin
    int pixel, pixels;                                // of the next slice, the first

    __device__ __forceinline__ FlatPixelLoader(const T* slopes, const T* images, const ConvShape& g, int first_row, int first_column, int slice)
        : g(g), x(images), by_q(g.Q), by_p(g.P), pixel(slice * Tile::DEPTH), pixels(g.N * g.P * g.Q) {
        const int filter = first_row + Slopes::word() * WORD<T>, k = first_column + Patches::word() * WORD<T>;
        const Divider by_c(g.C), by_s(g.S);
        dy = filter < g.K ? slopes + filter : nullptr;
#pragma unroll
        for (int e = 0; e < WORD<T>; ++e) {
            const Column column(k + e, g, by_c, by_s);
            top[e] = column.r < g.R ? column.r * g.dilation_h : -(1 << 30);  // outside every image
            left[e] = column.s * g.dilation_w;
            place[e] = (column.r * g.dilation_h * g.W + left[e]) * g.C + column.c;
        }
    }
    __device__ __forceinline__ void load(unsigned char* slopes, unsigned char* patches) {
#pragma unroll
        for (int i = 0; i < Slopes::ITEMS; ++i) {
            const int at = pixel + Slopes::line(i);
            cp_async16(slopes + Tile::Left::offset(Slopes::line(i), Slopes::word()), dy + (int64)at * g.K, dy && at < pixels);
        }
#pragma unroll
        for (int i = 0; i < Patches::ITEMS; ++i) {
            const int at = pixel + Patches::line(i), row = by_q.quotient(at), n = by_p.quotient(row);
            const int h = (row - n * g.P) * g.stride_h - g.pad_top, v = (at - row * g.Q) * g.stride_w - g.pad_left;
            const T* origin = x + ((int64)(n * g.H + h) * g.W + v) * g.C;
            Word<T> word;
#pragma unroll
            for (int e = 0; e < WORD<T>; ++e) {
                const bool valid = at < pixels && (unsigned)(h + top[e]) < (unsigned)g.H && (unsigned)(v + left[e]) < (unsigned)g.W;
                word.at[e] = valid ? origin[place[e]] : T(0.0f);
            }
            word.store(patches + Tile::Right::offset(Patches::line(i), Patches::word()));
        }
        pixel += Tile::DEPTH;
    }
};

#define VERSION(T, suffix)                                                                                                                \
    typedef TensorTile<T, 128, 64, 64, 32, 1, Along, Along> Forward_##suffix;                                                             \
    typedef TensorTile<T, 128, 32, 32, 32, 3, Along, Across> Backward_##suffix;                                                           \
    typedef TensorTile<T, 64, 32, 32, 16, 3, Across, Across> Weight_##suffix;                                                             \
    TENSOR_FORWARD(conv_tensor_core_any_forward_##suffix, T, 3, Forward_##suffix, FlatLoader<Forward_##suffix>)                           \
    typedef TapLoader<Backward_##suffix, true, false> Loader_##suffix;                                                                    \
    TENSOR_GRAD_INPUT(conv_tensor_core_any_grad_input_##suffix, T, 3, Backward_##suffix, Loader_##suffix)                                 \
    extern "C" __global__ void __launch_bounds__(128, 4)                                                                                  \
        conv_tensor_core_any_grad_weight_##suffix(const T* dy, const T* x, T* dw, float* partial, ConvShape g, int splits) {              \
        weight_by_tiles<Weight_##suffix, FlatPixelLoader<Weight_##suffix>>(dy, x, dw, partial, g, splits);                                \
    }

VERSION(f16, f16)
VERSION(bf16, bf16)
VERSION(float, tf32)
