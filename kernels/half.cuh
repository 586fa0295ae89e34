// 16-bit floating types and the type sums are kept in. NVIDIA's own headers do the rounding, on the GPU and under g++ alike.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef __half f16;
typedef __nv_bfloat16 bf16;

template <class T>
struct Accumulator {
    typedef float type;
};
template <>
struct Accumulator<double> {
    typedef double type;
};

// The type that arithmetic on T is done in: float, or double for double.
template <class T>
using Acc = typename Accumulator<T>::type;

__device__ __forceinline__ float widen(f16 x) { return __half2float(x); }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }

// Round to nearest, ties to even.
template <class T>
__device__ __forceinline__ T narrow(Acc<T> x) {
    return x;
}
template <>
__device__ __forceinline__ f16 narrow<f16>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
    return __float2bfloat16_rn(x);
}
