// Convolution on tensor cores (mma.sync): y and the gradient of x as matrix products whose operands are never built.
//
//   v1        one warp for 16 pixels × 8 filters, fragments element by element from global memory: all three passes, any problem
//   v2        128 × 128 results a block of four warps of 64 × 64, slices in swizzled shared memory, read by ldmatrix; one slice at a time
//   128x128   v2 with four slices in a ring of cp.async and two sets of fragments: copies, ldmatrix and mma overlap. Two blocks a multiprocessor
//   256x64    the same for 64 filters: no half-empty tile. Three slices: four would be 80 KiB, and a block on Turing has 64
//   128x64    warps of 64 × 32, for tf32, whose rounding takes registers of its own
//   64x64     four warps of 32 × 32: more blocks, for small layers
//
// f16 and bf16 with fp32 sums; tf32 takes float and rounds both factors to 10 bits of mantissa. Channels that the sum runs over (C of the forward
// pass, K of the gradient) must be whole 16-byte words; conv_tensor_core_any.cu takes the rest (a net's first layer).
//
// Depth is (channels in slices of 64 bytes) × (taps), taps fastest: the nine taps read nearly the same pixels, which are then in the first-level
// cache (cp.async.ca). A slice's tap and first channel are the same for all threads (see conv_tensor_core.cuh). The gradient of x at any stride
// is the same sum over dy: output (h + pad − r·dilation) / stride, if that is whole; no filter is turned, taps count backward.
//
// `splits` blocks share the depth of a tile, write fp32 sums to `partial`, and conv_implicit_gemm_finish adds them up, always in the same order.
// Without `partial` the block does what follows itself: scale, bias, ReLU, the maximum of 2 × 2 pixels, which are neighbouring rows of the tile.
//
// Legend: N batch, C channels in, K channels out, H W input, R S filter, P Q output. x, y NHWC; w KRSC; groups = 1.
//
// hot: conv_tensor_core_forward_*, conv_tensor_core_grad_input_*
// entries: conv_tensor_core_v1_*, conv_tensor_core_v2_*, conv_tensor_core_forward_*, conv_tensor_core_grad_input_*
#include "common.cuh"
#include "conv_tensor_core.cuh"

// ---- v1 ----------------------------------------------------------------------------------------------------------------------------

template <class T, class Element>
__device__ __forceinline__ uint32 pack(const Element& element) {  // of a register: two elements of 16 bits, or one
    T both[4 / sizeof(T)];
    for (int i = 0; i < (int)(4 / sizeof(T)); ++i) both[i] = element(i);
    uint32 word;
    memcpy(&word, both, 4);
    return Mma<T>::ready(word);
}

// One warp a block; blocks: (rows / 16, columns / 8): only x may pass 65535.
template <class T, class Pass>
__device__ void by_one_warp(const Pass& pass, T* out) {
    constexpr int IN_WORD = 4 / sizeof(T), STEP = 8 * IN_WORD;
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const int row = blockIdx.x * 16 + g, column = blockIdx.y * 8 + g, depth = pass.depth();
    float sums[4] = {};
    for (int k = 0; k < depth; k += STEP) {
        uint32 a[4], b[2];
        for (int m = 0; m < 4; ++m)
            a[m] = pack<T>([&](int i) {
                const int at = row + m % 2 * 8, deep = k + (t + m / 2 * 4) * IN_WORD + i;
                return at < pass.rows() && deep < depth ? pass.left(0, at, deep) : T(0.0f);
            });
        for (int m = 0; m < 2; ++m)
            b[m] = pack<T>([&](int i) {
                const int deep = k + (t + m * 4) * IN_WORD + i;
                return column < pass.columns() && deep < depth ? pass.right(0, deep, column) : T(0.0f);
            });
        Mma<T>::add(sums, a, b);
    }
    for (int i = 0; i < 4; ++i) {
        const int64 at = row + i / 2 * 8;
        const int to = blockIdx.y * 8 + t * 2 + i % 2;
        if (at < pass.rows() && to < pass.columns()) out[at * pass.pitch() + to] = narrow<T>(sums[i]);
    }
}

#define FIRST_RUNG(T, suffix)                                                                                                          \
    extern "C" __global__ void conv_tensor_core_v1_forward_##suffix(const T* x, const T* w, T* y, ConvShape g) {                       \
        by_one_warp<T>(Forward<T>{x, w, g}, y);                                                                                        \
    }                                                                                                                                  \
    extern "C" __global__ void conv_tensor_core_v1_grad_input_##suffix(const T* dy, const T* w, T* dx, ConvShape g) {                  \
        by_one_warp<T>(GradInput<T>{dy, w, g}, dx);                                                                                    \
    }                                                                                                                                  \
    extern "C" __global__ void conv_tensor_core_v1_grad_weight_##suffix(const T* dy, const T* x, T* dw, ConvShape g) {                 \
        by_one_warp<T>(GradWeight<T>{dy, x, g}, dw);                                                                                   \
    }
FIRST_RUNG(f16, f16)
FIRST_RUNG(bf16, bf16)
FIRST_RUNG(float, tf32)

// ---- v2 and the ring ---------------------------------------------------------------------------------------------------------------

template <class T, int M, int N, int WARP_M, int WARP_N, int STAGES>
using ForwardTile = TensorTile<T, M, N, WARP_M, WARP_N, STAGES, Along, Along>;
template <class T, int M, int N, int WARP_M, int WARP_N, int STAGES>
using BackwardTile = TensorTile<T, M, N, WARP_M, WARP_N, STAGES, Along, Across>;
template <class Tile>
using Forwards = TapLoader<Tile, false>;
template <class Tile>
using Backwards = TapLoader<Tile, true>;

#define VERSION(T, suffix, M, N, WARP_M, WARP_N, BLOCKS)                                                                         \
    typedef ForwardTile<T, M, N, WARP_M, WARP_N, (M + N > 256 ? 3 : 4)> Forward##M##x##N##_##suffix;                             \
    typedef BackwardTile<T, M, N, WARP_M, WARP_N, (M + N > 256 ? 3 : 4)> Backward##M##x##N##_##suffix;                           \
    TENSOR_FORWARD(conv_tensor_core_forward_##M##x##N##_##suffix, T, BLOCKS, Forward##M##x##N##_##suffix,                        \
                   Forwards<Forward##M##x##N##_##suffix>)                                                                        \
    TENSOR_GRAD_INPUT(conv_tensor_core_grad_input_##M##x##N##_##suffix, T, BLOCKS, Backward##M##x##N##_##suffix,                 \
                      Backwards<Backward##M##x##N##_##suffix>)

typedef ForwardTile<bf16, 128, 128, 64, 64, 1> SecondRung;
TENSOR_FORWARD(conv_tensor_core_v2_bf16, bf16, 2, SecondRung, Forwards<SecondRung>)

VERSION(f16, f16, 128, 128, 64, 64, 2)
VERSION(f16, f16, 256, 64, 64, 64, 2)
VERSION(f16, f16, 64, 64, 32, 32, 3)
VERSION(bf16, bf16, 128, 128, 64, 64, 2)
VERSION(bf16, bf16, 256, 64, 64, 64, 2)
VERSION(bf16, bf16, 64, 64, 32, 32, 3)
VERSION(float, tf32, 128, 64, 64, 32, 2)
VERSION(float, tf32, 64, 64, 32, 32, 3)
