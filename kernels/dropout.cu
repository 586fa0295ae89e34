// Dropout: y = x · m · scale, where m is 1 for the elements kept and 0 for the others, alone or after a ReLU; scale = 1 / (1 − p).
//
//   each            one thread an element: four threads make the same four random words, and each keeps one. Any place of the channels
//   (none)          one thread a block of four words and the four elements they decide: a quarter of the Philox rounds, 16 bytes an access
//   relu_*          y = dropout(relu(x)) in one pass; backward needs neither x nor mask: y > 0 says both
//
// entries: dropout_*, relu_dropout_*
// hot: dropout_f*, dropout_bf16, relu_dropout_*
//
// Element i (in C order of the shape, whatever the memory order) is kept if word `offset + i` of the Philox stream is at least `threshold` =
// p · 2³²: the mask of scratchvgg/ops/dropout.py. It is made anew in backward, so nothing is stored. y may be x, gx may be g.
#include "philox.cuh"
#include "vector.cuh"

struct Mask {
    uint64 seed, stream, offset, threshold;
    const uint64* moved;  // null, or words to add to the offset: what other replays of a CUDA graph have used up since it was recorded
};

__device__ __forceinline__ Mask in_place(Mask mask) {
    if (mask.moved) mask.offset += *mask.moved;
    return mask;
}

// As NumPy does it: 0 or 1 times x, then the scale, each rounded to T (Inf · 0 is NaN).
template <class T, bool RELU>
__device__ __forceinline__ T drop(T x, bool keep, Acc<T> scale) {
    const Acc<T> value = RELU ? rectify(widen(x)) : widen(x);
    return narrow<T>(value * Acc<T>(keep) * scale);
}

// x is (N, C, L), or in memory (N, L, C) if channels_last; per_channel draws one word for all L.
template <class T>
__device__ void dropout_each(const T* x, T* y, int64 total, int64 C, int64 L, int channels_last, int per_channel, Acc<T> scale, const Mask& mask) {
    for_each_element(i, total) {
        const int64 n = i / (C * L), c = channels_last ? i % C : i / L % C, l = channels_last ? i / C % L : i % L;
        const int64 place = per_channel ? n * C + c : (n * C + c) * L + l;
        y[i] = drop<T, false>(x[i], philox_word(mask.seed, mask.stream, mask.offset + place) >= mask.threshold, scale);
    }
}

template <class T, bool RELU>
__device__ void dropout(const T* x, T* y, int64 total, Acc<T> scale, const Mask& mask) {
    const int64 lead = mask.offset & 3, blocks = ceil_div<int64>(lead + total, 4);
    const bool wide = lead == 0 && ((uint64)x | (uint64)y) % (4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) == 0;
    for_each_element(b, blocks) {
        const PhiloxBlock made = philox_block(mask.seed, mask.stream, (mask.offset >> 2) + b);
        const int64 first = 4 * b - lead;
        if (wide && first + 4 <= total) {
            Vector<T, 4> value = load<4>(x + first);
#pragma unroll
            for (int v = 0; v < 4; ++v) value.at[v] = drop<T, RELU>(value.at[v], made.word[v] >= mask.threshold, scale);
            store<4>(y + first, value);
        } else {
#pragma unroll
            for (int v = 0; v < 4; ++v) {
                const int64 i = first + v;
                if (i >= 0 && i < total) y[i] = drop<T, RELU>(x[i], made.word[v] >= mask.threshold, scale);
            }
        }
    }
}

template <class T>
__device__ void relu_dropout_backward(const T* g, const T* y, T* gx, int64 total, Acc<T> scale) {
    const int64 vectors = ((uint64)g | (uint64)y | (uint64)gx) % (4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) ? 0 : total / 4;
    for_each_element(i, vectors + total - 4 * vectors) {
        if (i < vectors) {
            Vector<T, 4> slope = load<4>(g + 4 * i);
            const Vector<T, 4> value = load<4>(y + 4 * i);
#pragma unroll
            for (int v = 0; v < 4; ++v) slope.at[v] = widen(value.at[v]) > 0 ? narrow<T>(widen(slope.at[v]) * scale) : narrow<T>(0);
            store<4>(gx + 4 * i, slope);
        } else {
            const int64 e = 4 * vectors + (i - vectors);
            gx[e] = widen(y[e]) > 0 ? narrow<T>(widen(g[e]) * scale) : narrow<T>(0);
        }
    }
}

typedef float f32;
typedef double f64;

#define DROPOUT(T)                                                                                                                          \
    extern "C" __global__ void dropout_each_##T(const T* x, T* y, int64 total, int64 C, int64 L, int channels_last, int per_channel,       \
                                                Acc<T> scale, Mask mask) {                                                                 \
        dropout_each<T>(x, y, total, C, L, channels_last, per_channel, scale, in_place(mask));                                                       \
    }                                                                                                                                      \
    extern "C" __global__ void dropout_##T(const T* x, T* y, int64 total, Acc<T> scale, Mask mask) {                                        \
        dropout<T, false>(x, y, total, scale, in_place(mask));                                                                             \
    }                                                                                                                                      \
    extern "C" __global__ void relu_dropout_forward_##T(const T* x, T* y, int64 total, Acc<T> scale, Mask mask) {                           \
        dropout<T, true>(x, y, total, scale, in_place(mask));                                                                             \
    }                                                                                                                                      \
    extern "C" __global__ void relu_dropout_backward_##T(const T* g, const T* y, T* gx, int64 total, Acc<T> scale) {                       \
        relu_dropout_backward<T>(g, y, gx, total, scale);                                                                                  \
    }

DROPOUT(f16)
DROPOUT(bf16)
DROPOUT(f32)
DROPOUT(f64)
