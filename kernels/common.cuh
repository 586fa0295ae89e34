// What every kernel file includes first. NVRTC has no host headers, so the fixed-width names are made here; g++ (the emulator)
// gets CUDA's language from emulator/cuda.h. Both then offer the same few words:
//
//   int64, uint64, uint32, uint16, uint8   fixed-width integers
//   DYNAMIC_SHARED(T, name)                T* name: the dynamic shared memory of the launch, aligned to 1024 bytes
//   ceil_div(a, b), min_of(a, b), max_of(a, b)
//   for_each_element(i, total)             a grid-stride loop over i = 0 … total − 1, with 64 bits
#pragma once

#ifdef __CUDACC__
#define DYNAMIC_SHARED(T, name)                                    \
    extern __shared__ __align__(1024) unsigned char name##_bytes[]; \
    T* name = reinterpret_cast<T*>(name##_bytes)
#else
#include "emulator/cuda.h"
#endif

typedef long long int64;
typedef unsigned long long uint64;
typedef unsigned int uint32;
typedef unsigned short uint16;
typedef unsigned char uint8;

template <class T>
__host__ __device__ constexpr T ceil_div(T a, T b) {
    return (a + b - 1) / b;
}

template <class T>
__host__ __device__ constexpr T min_of(T a, T b) {
    return b < a ? b : a;
}

template <class T>
__host__ __device__ constexpr T max_of(T a, T b) {
    return a < b ? b : a;
}

#define for_each_element(i, total)                                            \
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < (total); \
         i += (int64)gridDim.x * blockDim.x)
