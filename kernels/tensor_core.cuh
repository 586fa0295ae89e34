// The instructions of Ampere's tensor cores behind functions, so that one source runs under nvcc and NVRTC (PTX) and g++ (emulator).
//
//   mma_m16n8k16<T>    D (16×8, fp32) += A (16×16) · B (16×8), T = f16 or bf16
//   mma_m16n8k8        the same with A (16×8) and B (8×8) in TF32: float bits that round_tf32 has rounded
//   ldmatrix_x4        four matrices of 8 rows × 16 bytes from shared memory into the registers where mma wants them
//   ldmatrix_x4_trans  the same, each 8×8 matrix of 16-bit elements transposed
//   cp_async16         16 bytes from global to shared memory without waiting; zeros unless valid
//   cp_async_commit    closes a group of copies; cp_async_wait<n> waits until at most the n newest groups are under way
//
// Who holds what in a warp (PTX ISA, "Matrix fragments for mma.m16n8k16" and "… mma.m16n8k8"), with g = lane / 4, t = lane % 4:
//
//   16-bit   A: a[0] (g, 2t..2t+1)  a[1] (g+8, 2t..)  a[2] (g, 2t+8..)  a[3] (g+8, 2t+8..)    B: b[0] (2t..2t+1, g)  b[1] (2t+8.., g)
//   TF32     A: a[0] (g, t)         a[1] (g+8, t)     a[2] (g, t+4)     a[3] (g+8, t+4)       B: b[0] (t, g)         b[1] (t+4, g)
//   always   D: d[0], d[1] (g, 2t..2t+1)              d[2], d[3] (g+8, 2t..2t+1)
//
// So ldmatrix of 8×16-byte matrices gives the fragments of both kinds: a 16-byte row is 8 elements of 16 bits or 4 of 32.
//
// sm_75 has ldmatrix and, for f16, m16n8k8: two of them make a product. It multiplies bf16 and TF32 by shuffles and ordinary
// arithmetic (right, and slow), and its cp_async16 is a load and a store. The emulator adds a product's terms in double precision and
// rounds once; tensor cores truncate aligned terms, so that the last bits differ from GPU to GPU as well (see conv/device/tensor_core.py).
#pragma once
#include "common.cuh"
#include "half.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define TENSOR_CORES_OF_TURING
#endif

// ---- what a 32-bit register of a fragment holds ------------------------------------------------------------------------------------

template <class T>
struct Pair {  // two 16-bit elements
    static constexpr int COUNT = 2;
};
struct Tf32 {
    static constexpr int COUNT = 1;
};

__device__ __forceinline__ float element(Pair<bf16>, uint32 word, int i) { return __uint_as_float(i ? word & 0xffff0000u : word << 16); }
__device__ __forceinline__ float element(Pair<f16>, uint32 word, int i) { return __half2float(__ushort_as_half((uint16)(word >> 16 * i))); }
__device__ __forceinline__ float element(Tf32, uint32 word, int) { return __uint_as_float(word); }

// The nearest number with 10 bits of mantissa, ties away from zero, as cvt.rna.tf32.f32.
__device__ __forceinline__ uint32 round_tf32(uint32 bits) {
#if defined(__CUDA_ARCH__) && !defined(TENSOR_CORES_OF_TURING)
    uint32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
    return rounded;
#else
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    return finite ? (bits + 0x1000u) & 0xffffe000u : bits;
#endif
}

// ---- mma ---------------------------------------------------------------------------------------------------------------------------

#ifndef __CUDACC__
// Sums over COUNT · 8 of depth, from the fragments of the lanes that hold row g or g + 8 of A and column 2t or 2t + 1 of B.
template <class Word>
inline void multiply_fragments(Word word, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2], const char* what, const char* file, int line) {
    struct Fragments {
        uint32 a[4], b[2];
    };
    const auto all = emu::gather(~0u, Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, what, file, line);
    const int g = emu::lane() / 4, t = emu::lane() % 4;
    double sums[4] = {d[0], d[1], d[2], d[3]};
    for (int lane = 0; lane < 4; ++lane) {
        const Fragments left = all.get(g * 4 + lane), right[2] = {all.get(t * 8 + lane), all.get(t * 8 + 4 + lane)};
        for (int half = 0; half < 2; ++half)
            for (int i = 0; i < Word::COUNT; ++i)
                for (int k = 0; k < 4; ++k)
                    sums[k] += (double)element(word, left.a[2 * half + k / 2], i) * element(word, right[k % 2].b[half], i);
    }
    for (int k = 0; k < 4; ++k) d[k] = (float)sums[k];
}
#define MMA_HERE , EMU_HERE
#else
// The same by shuffles, for what an architecture has no instruction for. A function of its own, by value, or the code would be endless.
template <class Word>
__device__ __noinline__ float4 multiply_by_shuffles(float4 d, uint4 a, uint2 b) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int lane = 0; lane < 4; ++lane)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32 upper = __shfl_sync(~0u, half ? a.z : a.x, g * 4 + lane), lower = __shfl_sync(~0u, half ? a.w : a.y, g * 4 + lane);
            const uint32 even = __shfl_sync(~0u, half ? b.y : b.x, t * 8 + lane), odd = __shfl_sync(~0u, half ? b.y : b.x, t * 8 + 4 + lane);
#pragma unroll
            for (int i = 0; i < Word::COUNT; ++i) {
                d.x = fmaf(element(Word(), upper, i), element(Word(), even, i), d.x);
                d.y = fmaf(element(Word(), upper, i), element(Word(), odd, i), d.y);
                d.z = fmaf(element(Word(), lower, i), element(Word(), even, i), d.z);
                d.w = fmaf(element(Word(), lower, i), element(Word(), odd, i), d.w);
            }
        }
    return d;
}
template <class Word>
__device__ __forceinline__ void multiply_fragments(Word, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    const float4 sums = multiply_by_shuffles<Word>(make_float4(d[0], d[1], d[2], d[3]), make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b[0], b[1]));
    d[0] = sums.x, d[1] = sums.y, d[2] = sums.z, d[3] = sums.w;
}
#define MMA_HERE
#endif

#define MMA_PTX(shape)                                                                                                     \
    asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                        \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2] MMA_HERE) {
#if !defined(__CUDACC__)
    multiply_fragments(Pair<T>(), d, a, b, "mma_m16n8k16", file, line);
#elif defined(TENSOR_CORES_OF_TURING)
    multiply_fragments(Pair<T>(), d, a, b);
#else
    static_assert(sizeof(T) == 0, "mma_m16n8k16 is for f16 and bf16");
#endif
}
#if defined(__CUDACC__)
template <>
__device__ __forceinline__ void mma_m16n8k16<f16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
#if defined(TENSOR_CORES_OF_TURING)
    for (int half = 0; half < 2; ++half)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#else
    MMA_PTX("m16n8k16.row.col.f32.f16.f16.f32");
#endif
}
#if !defined(TENSOR_CORES_OF_TURING)
template <>
__device__ __forceinline__ void mma_m16n8k16<bf16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    MMA_PTX("m16n8k16.row.col.f32.bf16.bf16.f32");
}
#endif
#endif

__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2] MMA_HERE) {
#if !defined(__CUDACC__)
    multiply_fragments(Tf32(), d, a, b, "mma_m16n8k8", file, line);
#elif defined(TENSOR_CORES_OF_TURING)
    multiply_fragments(Tf32(), d, a, b);
#else
    MMA_PTX("m16n8k8.row.col.f32.tf32.tf32.f32");
#endif
}
#undef MMA_PTX

// ---- ldmatrix ----------------------------------------------------------------------------------------------------------------------

#if defined(__CUDACC__)
__device__ __forceinline__ uint32 shared_address(const void* p) { return (uint32)__cvta_generic_to_shared(p); }

#define LDMATRIX_PTX(kind)                                                                        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind ".shared.b16 {%0,%1,%2,%3}, [%4];"          \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                 \
                 : "r"(shared_address(row))                                                       \
                 : "memory")
#else
struct MatrixRow {
    uint16 at[8];
};
inline emu::Gathered<MatrixRow> gather_rows(const void* row, const char* what, const char* file, int line) {
    if (reinterpret_cast<uintptr_t>(row) % 16) emu::fail("%s (%s:%d): the row at %p is not aligned to 16 bytes", what, file, line, row);
    emu::check_read(row, 16);
    MatrixRow own;
    memcpy(&own, row, sizeof own);
    return emu::gather(~0u, own, what, file, line);
}
#endif

// Lane l gives the address of row l % 8 of matrix l / 8, aligned to 16 bytes, and gets in r[m] elements 2t, 2t + 1 of row g of matrix m.
__device__ __forceinline__ void ldmatrix_x4(uint32 (&r)[4], const void* row MMA_HERE) {
#if defined(__CUDACC__)
    LDMATRIX_PTX("");
#else
    const auto rows = gather_rows(row, "ldmatrix_x4", file, line);
    const int g = emu::lane() / 4, t = emu::lane() % 4;
    for (int m = 0; m < 4; ++m) {
        const MatrixRow from = rows.get(m * 8 + g);
        r[m] = from.at[2 * t] | (uint32)from.at[2 * t + 1] << 16;
    }
#endif
}

// … and gets elements (2t, g) and (2t + 1, g): those of rows 2t and 2t + 1.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32 (&r)[4], const void* row MMA_HERE) {
#if defined(__CUDACC__)
    LDMATRIX_PTX(".trans");
#else
    const auto rows = gather_rows(row, "ldmatrix_x4_trans", file, line);
    const int g = emu::lane() / 4, t = emu::lane() % 4;
    for (int m = 0; m < 4; ++m) r[m] = rows.get(m * 8 + 2 * t).at[g] | (uint32)rows.get(m * 8 + 2 * t + 1).at[g] << 16;
#endif
}
#undef LDMATRIX_PTX
#undef MMA_HERE

// ---- cp.async ----------------------------------------------------------------------------------------------------------------------

#if !defined(__CUDACC__)
inline void copy16(void* to, const void* from, bool valid, const char* file, int line) {
    if ((reinterpret_cast<uintptr_t>(to) | (valid ? reinterpret_cast<uintptr_t>(from) : 0)) % 16)
        emu::fail("cp_async16 (%s:%d): %p to %p, both must be aligned to 16 bytes", file, line, from, to);
    emu::async_copy(to, from, valid ? 16 : 0, 16);
}
#define COPY16(cache) copy16(to, from, valid, file, line)
#define COPY_HERE , EMU_HERE
#elif defined(TENSOR_CORES_OF_TURING)
#define COPY16(cache) *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0)
#define COPY_HERE
#else
#define COPY16(cache) \
    asm volatile("cp.async." cache ".shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory")
#define COPY_HERE
#endif

// Both addresses aligned to 16 bytes; `from` is not read, and may point anywhere, unless valid.
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid = true COPY_HERE) { COPY16("cg"); }

// … and kept in the first-level cache: for what the block, or its neighbour on the same multiprocessor, copies again soon.
__device__ __forceinline__ void cp_async16_cached(void* to, const void* from, bool valid = true COPY_HERE) { COPY16("ca"); }
#undef COPY16
#undef COPY_HERE

__device__ __forceinline__ void cp_async_commit() {
#if !defined(__CUDACC__)
    emu::async_commit();
#elif !defined(TENSOR_CORES_OF_TURING)
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for the calling thread's own copies: a __syncthreads after it makes everybody's visible.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
#if !defined(__CUDACC__)
    emu::async_wait(N);
#elif !defined(TENSOR_CORES_OF_TURING)
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
