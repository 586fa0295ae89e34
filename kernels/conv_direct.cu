// Convolution as it is defined: seven loops.
//
//   v1   one thread a result, three loops in it; every factor comes from global memory. The specification of the others
//   v2   forward and gradient of the input: a block makes 8 × 16 pixels of FILTERS channels. The part of the image that they see, borders and
//        all, and the filters are staged in shared memory, DEPTH channels at a time; a thread keeps the FILTERS sums of its pixel in registers,
//        so that one word of the image serves FILTERS multiplications.
//        Gradient of the filter: a thread keeps FILTERS filters of its (tap, channel) in registers; PIXELS rows of dy at a time are in shared
//        memory, and neighbouring threads read neighbouring channels of x.
//
// Legend: N batch, C channels in, K channels out (deep and wide: of one group), H W input, R S filter, P Q output. x, y NHWC, w KRSC.
//
// hot: conv_direct_*_v2_*
#include "common.cuh"
#include "conv_operands.cuh"
#include "vector.cuh"

template <class T>
__device__ void forward_v1(const T* x, const T* w, const T* bias, T* y, const ConvShape& g) {
    const int deep = deep_of(g), wide = wide_of(g);
    for_each_element(i, (int64)g.N * g.P * g.Q * g.K) {
        const int k = i % g.K;
        const Pixel pixel = pixel_of(int(i / g.K), g.P, g.Q, false);
        T sum = 0;
        for (int r = 0; r < g.R; ++r)
            for (int s = 0; s < g.S; ++s)
                if (const T* at = Taps<false>::under(x, g, pixel, r, s))
                    for (int c = 0; c < deep; ++c)
                        sum = multiply_add(at[k / wide * deep + c], w[(((int64)k * g.R + r) * g.S + s) * deep + c], sum);
        y[i] = bias ? sum + bias[k] : sum;
    }
}

template <class T>
__device__ void grad_input_v1(const T* dy, const T* w, T* dx, const ConvShape& g) {
    const int deep = deep_of(g), wide = wide_of(g);
    for_each_element(i, (int64)g.N * g.H * g.W * g.C) {
        const int c = i % g.C;
        const Pixel pixel = pixel_of(int(i / g.C), g.H, g.W, false);
        T sum = 0;
        for (int r = 0; r < g.R; ++r)
            for (int s = 0; s < g.S; ++s)
                if (const T* at = Taps<true>::under(dy, g, pixel, r, s))
                    for (int k = c / deep * wide; k < (c / deep + 1) * wide; ++k)
                        sum = multiply_add(at[k], w[(((int64)k * g.R + r) * g.S + s) * deep + c % deep], sum);
        dx[i] = sum;
    }
}

template <class T>
__device__ void grad_weight_v1(const T* dy, const T* x, T* dw, const ConvShape& g) {
    const int deep = deep_of(g), wide = wide_of(g);
    for_each_element(i, (int64)g.K * g.R * g.S * deep) {
        const int c = i % deep, s = i / deep % g.S, r = i / deep / g.S % g.R, k = i / deep / g.S / g.R;
        T sum = 0;
        for (int n = 0; n < g.N; ++n)
            for (int p = 0; p < g.P; ++p)
                for (int q = 0; q < g.Q; ++q)
                    if (const T* at = Taps<false>::under(x, g, {n, p, q}, r, s))
                        sum = multiply_add(dy[(((int64)n * g.P + p) * g.Q + q) * g.K + k], at[k / wide * deep + c], sum);
        dw[i] = sum;
    }
}

constexpr int ROWS = 8, COLUMNS = 16, FILTERS = 16, DEPTH = 8, PIXELS = 32;

// Along one axis, the pixels that `count` neighbouring results see: the first, and how many.
template <bool BACKWARD>
struct Span {
    int first, size;

    __device__ __forceinline__ Span(int begin, int count, int taps, int stride, int pad, int dilation) {
        const int reach = (taps - 1) * dilation, low = begin + pad - reach;
        first = !BACKWARD ? begin * stride - pad : low >= 0 ? low / stride : -((-low + stride - 1) / stride);
        size = BACKWARD ? (count - 1 + reach) / stride + 2 : (count - 1) * stride + reach + 1;
    }
};

// 128 threads. Blocks: (pixel tiles of all images; channels of a group, FILTERS at a time; groups). Dynamic shared memory: the image's
// (DEPTH, span, span) and the filters' (R·S, DEPTH, FILTERS).
template <bool BACKWARD, class T>
__device__ void by_shared_image(const T* __restrict__ image, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ out,
                                const ConvShape& g) {
    typedef Taps<BACKWARD> Look;
    DYNAMIC_SHARED(T, shared);
    const int deep = deep_of(g), wide = wide_of(g), taps = g.R * g.S;
    const int height = BACKWARD ? g.H : g.P, width = BACKWARD ? g.W : g.Q, channels = BACKWARD ? deep : wide, depth = Look::deep(g);
    const int across = ceil_div(width, COLUMNS), tiles = ceil_div(height, ROWS) * across, n = blockIdx.x / tiles;
    const int top = blockIdx.x % tiles / across * ROWS, left = blockIdx.x % across * COLUMNS;
    const int k0 = blockIdx.y * FILTERS, group = blockIdx.z;
    const Span<BACKWARD> down(top, ROWS, g.R, g.stride_h, g.pad_top, g.dilation_h), right(left, COLUMNS, g.S, g.stride_w, g.pad_left, g.dilation_w);
    const int plane = down.size * right.size;
    T* filters = shared + DEPTH * plane;
    const int i = threadIdx.x / COLUMNS, j = threadIdx.x % COLUMNS;
    T sums[FILTERS] = {};
    for (int c0 = 0; c0 < depth; c0 += DEPTH) {
        for (int e = threadIdx.x; e < DEPTH * plane; e += blockDim.x) {
            const int c = e % DEPTH, place = e / DEPTH, h = down.first + place / right.size, v = right.first + place % right.size;
            const bool inside = c0 + c < depth && 0 <= h && h < Look::height(g) && 0 <= v && v < Look::width(g);
            const int64 pixel = ((int64)n * Look::height(g) + h) * Look::width(g) + v;
            shared[c * plane + place] = inside ? image[pixel * Look::channels(g) + group * depth + c0 + c] : T(0);
        }
        for (int e = threadIdx.x; e < taps * DEPTH * FILTERS; e += blockDim.x) {
            const int f = BACKWARD ? e % FILTERS : e / DEPTH % FILTERS, c = BACKWARD ? e / FILTERS % DEPTH : e % DEPTH;
            const int tap = e / (DEPTH * FILTERS), from = BACKWARD ? c0 + c : k0 + f, to = BACKWARD ? k0 + f : c0 + c;  // filter, channel
            const bool there = from < wide && to < deep;
            filters[(tap * DEPTH + c) * FILTERS + f] = there ? w[(((int64)group * wide + from) * taps + tap) * deep + to] : T(0);
        }
        __syncthreads();
        for (int r = 0; r < g.R; ++r) {
            const int h = BACKWARD ? top + i + g.pad_top - r * g.dilation_h : i * g.stride_h + r * g.dilation_h;
            if (BACKWARD && h % g.stride_h) continue;
            for (int s = 0; s < g.S; ++s) {
                const int v = BACKWARD ? left + j + g.pad_left - s * g.dilation_w : j * g.stride_w + s * g.dilation_w;
                if (BACKWARD && v % g.stride_w) continue;
                const int place = BACKWARD ? (h / g.stride_h - down.first) * right.size + v / g.stride_w - right.first : h * right.size + v;
#pragma unroll
                for (int c = 0; c < DEPTH; ++c) {
                    const T pixel = shared[c * plane + place];
#pragma unroll
                    for (int f = 0; f < FILTERS; ++f)
                        sums[f] = multiply_add(pixel, filters[((r * g.S + s) * DEPTH + c) * FILTERS + f], sums[f]);
                }
            }
        }
        __syncthreads();
    }
    if (top + i >= height || left + j >= width) return;
    out += (((int64)n * height + top + i) * width + left + j) * (BACKWARD ? g.C : g.K) + group * channels;
#pragma unroll
    for (int f = 0; f < FILTERS; ++f)
        if (k0 + f < channels) out[k0 + f] = bias ? sums[f] + bias[group * channels + k0 + f] : sums[f];
}

// 128 threads, one a (tap, channel). Blocks: (taps and channels, FILTERS filters at a time, groups).
template <class T>
__device__ void by_shared_slope(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dw, const ConvShape& g) {
    __shared__ T slope[PIXELS][FILTERS];
    const int deep = deep_of(g), wide = wide_of(g), columns = g.R * g.S * deep, pixels = g.N * g.P * g.Q;
    const int column = blockIdx.x * blockDim.x + threadIdx.x, k0 = blockIdx.y * FILTERS, group = blockIdx.z;
    const int tap = column / deep, r = tap / g.S, s = tap % g.S;
    x += group * deep + column % deep;
    T sums[FILTERS] = {};
    for (int first = 0; first < pixels; first += PIXELS) {
        for (int e = threadIdx.x; e < PIXELS * FILTERS; e += blockDim.x) {
            const int i = e / FILTERS, k = k0 + e % FILTERS;
            slope[i][e % FILTERS] = first + i < pixels && k < wide ? dy[(int64)(first + i) * g.K + group * wide + k] : T(0);
        }
        __syncthreads();
        for (int i = 0; i < PIXELS && first + i < pixels; ++i) {
            const T* at = Taps<false>::under(x, g, pixel_of(first + i, g.P, g.Q, false), r, s);
            if (!at) continue;
            const T pixel = *at;
#pragma unroll
            for (int f = 0; f < FILTERS; ++f) sums[f] = multiply_add(pixel, slope[i][f], sums[f]);
        }
        __syncthreads();
    }
    if (column >= columns) return;
#pragma unroll
    for (int f = 0; f < FILTERS; ++f)
        if (k0 + f < wide) dw[((int64)group * wide + k0 + f) * columns + column] = sums[f];
}

#define DIRECT(T)                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256)                                                                                         \
        conv_direct_forward_v1_##T(const T* x, const T* w, const T* bias, T* y, ConvShape g) { forward_v1(x, w, bias, y, g); }                \
    extern "C" __global__ void __launch_bounds__(256)                                                                                         \
        conv_direct_grad_input_v1_##T(const T* dy, const T* w, T* dx, ConvShape g) { grad_input_v1(dy, w, dx, g); }                           \
    extern "C" __global__ void __launch_bounds__(256)                                                                                         \
        conv_direct_grad_weight_v1_##T(const T* dy, const T* x, T* dw, ConvShape g) { grad_weight_v1(dy, x, dw, g); }                         \
    extern "C" __global__ void __launch_bounds__(128)                                                                                         \
        conv_direct_forward_v2_##T(const T* x, const T* w, const T* bias, T* y, ConvShape g) { by_shared_image<false>(x, w, bias, y, g); }    \
    extern "C" __global__ void __launch_bounds__(128, 4)                                                                                         \
        conv_direct_grad_input_v2_##T(const T* dy, const T* w, T* dx, ConvShape g) { by_shared_image<true, T>(dy, w, nullptr, dx, g); }       \
    extern "C" __global__ void __launch_bounds__(128)                                                                                         \
        conv_direct_grad_weight_v2_##T(const T* dy, const T* x, T* dw, ConvShape g) { by_shared_slope(dy, x, dw, g); }

typedef float f32;
typedef double f64;
DIRECT(f32)
DIRECT(f64)
