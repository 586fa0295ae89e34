// CUDA C++ for g++: included by common.cuh where no CUDA compiler is at work. One fiber runs each CUDA thread.
//
//   types.h     int2, float4, dim3 …                core.h    the runtime's interface, for emulations of hardware
//   warp.h      shuffles, votes, __syncthreads      entry.h   how Python calls a kernel (included by the builder)
//   atomics.h   atomicAdd …                         launch.h  a launch as Python and the runtime see it
//   intrinsics.h  __expf, __popc, __umulhi …        hopper.h  mbarrier, TMA, wgmma (hopper.cpp)
// Built once for all kernels: runtime.cpp (the scheduler; runtime.h, switch.h), meet.cpp (barriers, exchanges), faults.cpp (signals), and
// for --sanitize shadow.cpp (memory) and clocks.cpp (order).
//
// Not modelled: time, bank conflicts, the weakness of the memory model, clusters, cooperative groups, inline PTX.
#pragma once

#include "types.h"

#ifdef EMULATOR_SCAN
// The builder looks for entries in the preprocessed text: __global__ stays visible, and the rest is not needed.
#define __device__
#define __host__
#define __forceinline__ inline
#define DYNAMIC_SHARED(T, name) T* name
#else

#include <limits.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(n)
#define __grid_constant__
#define __constant__ static
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __align__(n)
#define CUDARTAPI

#ifdef EMULATOR_SANITIZE
#define __shared__ static  // one block at a time in the whole process: the checks know each array by its symbol
#else
#define __shared__ static thread_local  // a block's fibers all live on one OS thread
#endif
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emu::block->dynamic)

#include "core.h"

#define threadIdx (emu::block->current->index)
#define blockIdx (emu::block->index)
#define blockDim (emu::block->size)
#define gridDim (emu::block->grid)
constexpr int warpSize = 32;

#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : emu::fail("assertion %s failed at %s:%d", #condition, __FILE__, __LINE__))
#define __trap() emu::fail("__trap() at %s:%d", __FILE__, __LINE__)

#include "warp.h"
#include "atomics.h"
#include "intrinsics.h"
#endif
