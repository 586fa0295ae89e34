// The gradient of the filters on tensor cores: dw (K, R·S·C) = Σ over pixels (n, p, q) of dy (·, K)ᵀ · x under the taps (·, R·S·C).
//
//   128x128   four warps of 64 × 64, a ring of four slices of 32 pixels; two blocks a multiprocessor
//   64x128    four warps of 32 × 64: no half-empty tile where there are 64 filters
//   64x64     four warps of 32 × 32, for small layers
//
// Both operands run across the depth in memory: slices lie as they come, one line a pixel, and ldmatrix.trans turns them. A thread copies
// the same 16-byte word of a line for several pixels, so that its tap and channel never change; the pixel's place is worked out anew by two
// multiplications. f16, bf16, and tf32 (float). C and K must be whole words.
//
// There are few tiles and many pixels: `splits` blocks share the pixels of a tile. Each writes fp32 sums to `partial`, and
// conv_implicit_gemm_finish adds them up, always in the same order; it also gives fp32 gradients of 16-bit arrays.
//
// Legend: N batch, C channels in, K channels out, H W input, R S filter, P Q output. x, dy NHWC; dw KRSC; groups = 1.
//
// hot: conv_tensor_core_grad_weight_*
// entries: conv_tensor_core_grad_weight_*
#include "common.cuh"
#include "conv_tensor_core.cuh"

template <class Tile>
struct PixelLoader {
    typedef typename Tile::T T;
    typedef Share<Tile, typename Tile::Left> Slopes;
    typedef Share<Tile, typename Tile::Right> Patches;
    const ConvShape& g;
    const T *dy, *x;  // the word's first filter of pixel 0, null if there is none; the word's first channel in image 0
    Divider by_q, by_p;
    int top, left, pixel, pixels;  // of the word's tap, relative to the window's origin; of the next slice, the first

    __device__ __forceinline__ PixelLoader(const T* slopes, const T* images, const ConvShape& g, int first_row, int first_column, int slice)
        : g(g), by_q(g.Q), by_p(g.P), pixel(slice * Tile::DEPTH), pixels(g.N * g.P * g.Q) {
        const int filter = first_row + Slopes::word() * WORD<T>, column = first_column + Patches::word() * WORD<T>, tap = column / g.C;
        dy = filter < g.K ? slopes + filter : nullptr;
        x = tap < g.R * g.S ? images + column % g.C : nullptr;
        top = tap / g.S * g.dilation_h - g.pad_top;
        left = tap % g.S * g.dilation_w - g.pad_left;
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
            const int h = (row - n * g.P) * g.stride_h + top, v = (at - row * g.Q) * g.stride_w + left;
            const bool valid = x && at < pixels && (unsigned)h < (unsigned)g.H && (unsigned)v < (unsigned)g.W;
            cp_async16_cached(patches + Tile::Right::offset(Patches::line(i), Patches::word()), x + ((int64)(n * g.H + h) * g.W + v) * g.C, valid);
        }
        pixel += Tile::DEPTH;
    }
};

#define VERSION(T, suffix, M, N, WARP_M, WARP_N, BLOCKS) \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) \
        conv_tensor_core_grad_weight_##M##x##N##_##suffix(const T* dy, const T* x, T* dw, float* partial, ConvShape g, int splits) { \
        typedef TensorTile<T, M, N, WARP_M, WARP_N, 4, Across, Across> Tile; \
        weight_by_tiles<Tile, PixelLoader<Tile>>(dy, x, dw, partial, g, splits);                                             \
    }

VERSION(f16, f16, 128, 128, 64, 64, 2)
VERSION(f16, f16, 64, 128, 32, 64, 3)
VERSION(f16, f16, 64, 64, 32, 32, 3)
VERSION(bf16, bf16, 128, 128, 64, 64, 2)
VERSION(bf16, bf16, 64, 128, 32, 64, 3)
VERSION(bf16, bf16, 64, 64, 32, 32, 3)
VERSION(float, tf32, 128, 128, 64, 64, 2)
VERSION(float, tf32, 64, 128, 32, 64, 3)
VERSION(float, tf32, 64, 64, 32, 32, 3)
