// The three passes of a convolution as matrix products, one per group: out[row, column] = Σ over depth of left[row, k] · right[k, column].
//
//               rows      columns   depth     left              right             out
//   forward     N·P·Q     K         R·S·C     x under a tap     w                 y
//   grad_input  N·H·W     C         R·S·K     dy over a tap     w                 dx
//   grad_weight K         R·S·C     N·P·Q     dy                x under a tap     dw
//
// No operand is ever built: left() and right() compute the address of the number they stand for, 0 outside the image.
//
// Legend: N batch, C channels in, K channels out (both of one group here: deep and wide), H W input, R S filter, P Q output.
// x, y NHWC, w KRSC. One image has fewer than 2^31 elements, and so has a matrix rows and depth; products of them are 64-bit.
#pragma once
#include "conv_shape.cuh"

__device__ __forceinline__ int deep_of(const ConvShape& g) { return g.C / g.groups; }
__device__ __forceinline__ int wide_of(const ConvShape& g) { return g.K / g.groups; }

// A pixel of a (n, height, width) grid by its number. In pooling order the four pixels of a 2×2 window follow each other
// (row by row) and an odd last row or column is left out.
struct Pixel {
    int n, h, w;
};

__device__ __forceinline__ Pixel pixel_of(int number, int height, int width, bool pooling) {
    if (!pooling) return {number / (height * width), number / width % height, number % width};
    const int window = number / 4, place = number % 4, rows = height / 2, columns = width / 2;
    return {window / (rows * columns), window / columns % rows * 2 + place / 2, window % columns * 2 + place % 2};
}

// The image that a tap looks into: x for the outputs of the forward pass, dy for the pixels of the gradient (BACKWARD).
// Along one axis, output p sees p·stride − pad + tap·dilation; so pixel h is seen by (h + pad − tap·dilation) / stride, if that is whole.
template <bool BACKWARD>
struct Taps {
    static __device__ __forceinline__ int height(const ConvShape& g) { return BACKWARD ? g.P : g.H; }
    static __device__ __forceinline__ int width(const ConvShape& g) { return BACKWARD ? g.Q : g.W; }
    static __device__ __forceinline__ int channels(const ConvShape& g) { return BACKWARD ? g.K : g.C; }
    static __device__ __forceinline__ int deep(const ConvShape& g) { return channels(g) / g.groups; }

    static __device__ __forceinline__ int origin(int pixel, int stride, int pad) { return BACKWARD ? pixel + pad : pixel * stride - pad; }
    static __device__ __forceinline__ int place(int origin, int tap, int stride, int dilation, int size) {
        int at = BACKWARD ? origin - tap * dilation : origin + tap * dilation;
        if (BACKWARD && stride > 1) {
            if (at % stride) return -1;
            at /= stride;
        }
        return 0 <= at && at < size ? at : -1;
    }

    // Where the channels of the pixel under tap (r, s) begin, null outside; `image` is the whole (N, height, width, channels) array.
    template <class T>
    static __device__ __forceinline__ const T* under(const T* image, const ConvShape& g, const Pixel& at, int r, int s) {
        const int h = place(origin(at.h, g.stride_h, g.pad_top), r, g.stride_h, g.dilation_h, height(g));
        const int w = place(origin(at.w, g.stride_w, g.pad_left), s, g.stride_w, g.dilation_w, width(g));
        if (r >= g.R || h < 0 || w < 0) return nullptr;
        return image + (((int64)at.n * height(g) + h) * width(g) + w) * channels(g);
    }
};

template <class T>
struct Forward {
    const T *x, *w;
    const ConvShape& g;
    bool pooling = false;

    __device__ int rows() const { return pooling ? g.N * (g.P / 2) * (g.Q / 2) * 4 : g.N * g.P * g.Q; }
    __device__ int columns() const { return wide_of(g); }
    __device__ int depth() const { return g.R * g.S * deep_of(g); }
    __device__ int64 pitch() const { return g.K; }  // out[group · group_pitch + row · pitch + column]
    __device__ int64 group_pitch() const { return wide_of(g); }

    __device__ T left(int group, int row, int k) const {
        const int deep = deep_of(g), tap = k / deep;
        const T* at = Taps<false>::under(x, g, pixel_of(row, g.P, g.Q, pooling), tap / g.S, tap % g.S);
        return at ? at[group * deep + k % deep] : T(0.0f);
    }
    __device__ T right(int group, int k, int column) const { return w[((int64)group * wide_of(g) + column) * depth() + k]; }
};

template <class T>
struct GradInput {
    const T *dy, *w;
    const ConvShape& g;

    __device__ int rows() const { return g.N * g.H * g.W; }
    __device__ int columns() const { return deep_of(g); }
    __device__ int depth() const { return g.R * g.S * wide_of(g); }
    __device__ int64 pitch() const { return g.C; }
    __device__ int64 group_pitch() const { return deep_of(g); }

    __device__ T left(int group, int row, int k) const {
        const int wide = wide_of(g), tap = k / wide;
        const T* at = Taps<true>::under(dy, g, pixel_of(row, g.H, g.W, false), tap / g.S, tap % g.S);
        return at ? at[group * wide + k % wide] : T(0.0f);
    }
    __device__ T right(int group, int k, int column) const {
        const int wide = wide_of(g);
        return w[(((int64)group * wide + k % wide) * g.R * g.S + k / wide) * deep_of(g) + column];
    }
};

template <class T>
struct GradWeight {
    const T *dy, *x;
    const ConvShape& g;

    __device__ int rows() const { return wide_of(g); }
    __device__ int columns() const { return g.R * g.S * deep_of(g); }
    __device__ int depth() const { return g.N * g.P * g.Q; }
    __device__ int64 pitch() const { return columns(); }
    __device__ int64 group_pitch() const { return (int64)rows() * columns(); }

    __device__ T left(int group, int row, int k) const { return dy[(int64)k * g.K + group * wide_of(g) + row]; }
    __device__ T right(int group, int k, int column) const {
        const int deep = deep_of(g), tap = column / deep;
        const T* at = Taps<false>::under(x, g, pixel_of(k, g.P, g.Q, false), tap / g.S, tap % g.S);
        return at ? at[group * deep + column % deep] : T(0.0f);
    }
};
