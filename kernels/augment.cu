// Batches of augmented images from a data set of bytes that lies on the device: gather, random crop or shift, flip, cutout, normalise.
//
//   each     one thread a number of the output: each makes its image's random numbers again
//   (none)   a block works on one image: five threads make its random numbers, all share them, the tables too
//
// hot: augment_f*, augment_bf16
//
// Image i of the batch is number indices[i] of the data set. Its random numbers are words of a Philox stream: word top + i says where its
// window begins, and so on: those that scratchvgg/data/transforms.py draws, so the images are the same, bit for bit, on every device.
//
// Legend: N batch, C channels, H W stored image, P Q window, padding around the stored image (reflect: the border is not repeated; else black).
// images is (count, H, W, C) bytes, out (N, P, Q, C); table (C, 256) holds the normalised value of each byte.
#include "philox.cuh"
#include "vector.cuh"

enum { NO_FLIP, RANDOM_FLIP, ALTERNATING_FLIP };

struct Augmentation {
    uint64 seed, stream, top, left, flip, row, column;  // the first word of each draw
    uint64 flip_stream;                                 // alternating flip: block `index` of this stream belongs to image `index`
    int N, C, H, W, P, Q, padding, reflect;
    int flip_kind, odd_epoch, cut, fill;                // cut: side of the square, or 0
    float flip_below;                                   // probability
};

struct Place {
    int top, left, flip, row, column;  // of the window in the padded image; of the square in the output
};

__device__ __forceinline__ int below(const Augmentation& a, uint64 word, int span) {
    return (int)((uint64)philox_word(a.seed, a.stream, word) * span >> 32);
}

// Number `which` of the five draws of image i.
__device__ __forceinline__ int draw(const Augmentation& a, int which, int i, int64 index) {
    switch (which) {
        case 0: return below(a, a.top + i, a.H + 2 * a.padding - a.P + 1);
        case 1: return below(a, a.left + i, a.W + 2 * a.padding - a.Q + 1);
        case 2:
            if (a.flip_kind == RANDOM_FLIP) return (float)(philox_word(a.seed, a.stream, a.flip + i) >> 8) * 0x1p-24f < a.flip_below;
            if (a.flip_kind == ALTERNATING_FLIP) return (int)(philox_block(a.seed, a.flip_stream, index).word[0] & 1) != a.odd_epoch;
            return 0;
        case 3: return a.cut ? below(a, a.row + i, a.P) - a.cut / 2 : 0;
        default: return a.cut ? below(a, a.column + i, a.Q) - a.cut / 2 : 0;
    }
}

// A place outside 0 … size − 1 mirrored at the border pixel, or −1 where the padding is black.
__device__ __forceinline__ int inside(int place, int size, int reflect) {
    if (place >= 0 && place < size) return place;
    if (!reflect) return -1;
    return place < 0 ? -place : 2 * (size - 1) - place;
}

__device__ __forceinline__ int level(const uint8* image, const Augmentation& a, const Place& at, int p, int q, int c) {
    if (a.cut && p >= at.row && p < at.row + a.cut && q >= at.column && q < at.column + a.cut) return a.fill;
    const int y = inside(at.top + p - a.padding, a.H, a.reflect);
    const int x = inside(at.left + (at.flip ? a.Q - 1 - q : q) - a.padding, a.W, a.reflect);
    return y < 0 || x < 0 ? 0 : image[((int64)y * a.W + x) * a.C + c];
}

template <class T>
__device__ void augment_each(const uint8* images, const int64* indices, const float* table, T* out, const Augmentation& a) {
    const int64 size = (int64)a.P * a.Q * a.C;
    for_each_element(e, a.N * size) {
        const int i = (int)(e / size), c = (int)(e % a.C), q = (int)(e / a.C % a.Q), p = (int)(e / a.C / a.Q % a.P);
        const int64 index = indices[i];
        const Place at = {draw(a, 0, i, index), draw(a, 1, i, index), draw(a, 2, i, index), draw(a, 3, i, index), draw(a, 4, i, index)};
        out[e] = narrow<T>(table[c * 256 + level(images + index * a.H * a.W * a.C, a, at, p, q, c)]);
    }
}

// blockIdx.x: image; blockIdx.y: one of gridDim.y parts of its output.
template <class T>
__device__ void augment(const uint8* __restrict__ images, const int64* __restrict__ indices, const float* __restrict__ table, T* __restrict__ out,
                        const Augmentation& a) {
    __shared__ int drawn[5];
    DYNAMIC_SHARED(float, value);
    const int i = blockIdx.x, size = a.P * a.Q * a.C;
    const int64 index = indices[i];
    if (threadIdx.x < 5) drawn[threadIdx.x] = draw(a, threadIdx.x, i, index);
    for (int e = threadIdx.x; e < 256 * a.C; e += blockDim.x) value[e] = table[e];
    __syncthreads();
    const Place at = {drawn[0], drawn[1], drawn[2], drawn[3], drawn[4]};
    const uint8* image = images + index * a.H * a.W * a.C;
    for (int e = blockIdx.y * blockDim.x + threadIdx.x; e < size; e += gridDim.y * blockDim.x) {
        const int c = e % a.C, q = e / a.C % a.Q, p = e / a.C / a.Q;
        out[(int64)i * size + e] = narrow<T>(value[c * 256 + level(image, a, at, p, q, c)]);
    }
}

typedef float f32;

#define AUGMENT(T)                                                                                                                       \
    extern "C" __global__ void augment_each_##T(const uint8* images, const int64* indices, const float* table, T* out, Augmentation a) { \
        augment_each<T>(images, indices, table, out, a);                                                                                 \
    }                                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) augment_##T(const uint8* images, const int64* indices, const float* table, T* out, \
                                                                  Augmentation a) {                                                      \
        augment<T>(images, indices, table, out, a);                                                                                      \
    }

AUGMENT(f16)
AUGMENT(bf16)
AUGMENT(f32)
