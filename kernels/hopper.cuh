// The asynchronous units of Hopper (sm_90a) behind functions, so that one source runs under nvcc and NVRTC (PTX) and g++ (emulator).
//
//   mbarrier_init(b, n)          a barrier in shared memory whose phase ends after n arrivals and all expected bytes
//   mbarrier_fence()             … is visible to the TMA (after the last init, before a __syncthreads)
//   mbarrier_arrive(b), mbarrier_expect(b, bytes)   arrive; arrive and expect so many bytes more
//   mbarrier_wait(b, parity)     wait for the end of the phase of this parity; phases count 0, 1, 2, …
//   tma_load(to, map, b, x, y)   copy the map's box at (x, y[, z, w]), x innermost, to shared memory; its bytes arrive at b
//   wgmma_operand(p, leading, stride)   a descriptor of an operand with the 128-byte swizzle, as the TMA stores it
//   wgmma_fence, wgmma_m64n64k16, wgmma_m64n128k16, wgmma_commit, wgmma_wait<n>   D += A · B by a warpgroup, bf16 → fp32
//
// Operands: rows of 64 bf16 = 128 bytes, tiles aligned to 1024 bytes in dynamic shared memory. Not transposed (K innermost): groups of
// 8 rows are `stride` = 1024 bytes apart, and 16 more of K is 32 bytes further. Transposed (M or N innermost): groups of 8 k are
// `stride` apart, blocks of 64 of M or N `leading`.
//
// Thread t of the warpgroup holds, of a 64 × N result, d[i] = D[16 (t / 32) + t % 32 / 4 + 8 (i / 2 % 2)][8 (i / 4) + 2 (t % 4) + i % 2].
#pragma once
#include "common.cuh"

#ifdef __CUDACC__
struct alignas(128) TensorMap {  // a CUtensorMap
    unsigned char opaque[128];
};
__device__ __forceinline__ uint32 hopper_address(const void* p) { return (uint32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void mbarrier_init(uint64* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(hopper_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void mbarrier_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void mbarrier_arrive(uint64* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(hopper_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_expect(uint64* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(hopper_address(barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(uint64* barrier, int parity) {
    asm volatile(
        "{\n.reg .pred done;\nWAIT:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra END;\nbra WAIT;\nEND:\n}" ::"r"(hopper_address(barrier)), "r"(parity) : "memory");
}

__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64* barrier, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(hopper_address(to)),
                 "l"(map), "r"(hopper_address(barrier)), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap* map, uint64* barrier, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
                     hopper_address(to)), "l"(map), "r"(hopper_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int GROUPS>
__device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory"); }

#define EIGHT(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
template <bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
__device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], uint64 a, uint64 b, bool accumulate = true) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, %35, %36;\n}"
        : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24)
        : "l"(a), "l"(b), "r"((int)accumulate), "n"((int)A_TRANSPOSED), "n"((int)B_TRANSPOSED));
}
template <bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
__device__ __forceinline__ void wgmma_m64n128k16(float (&d)[64], uint64 a, uint64 b, bool accumulate = true) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, %67, %68;\n}"
        : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24), EIGHT(32), EIGHT(40), EIGHT(48), EIGHT(56)
        : "l"(a), "l"(b), "r"((int)accumulate), "n"((int)A_TRANSPOSED), "n"((int)B_TRANSPOSED));
}
#undef EIGHT

#else
#include "emulator/hopper.h"
typedef emu::TensorMap TensorMap;
inline uint32 hopper_address(const void* p) { return (uint32)(static_cast<const unsigned char*>(p) - emu::block->dynamic); }

inline void mbarrier_init(uint64* barrier, int arrivals) { emu::mbarrier_init(barrier, arrivals); }
inline void mbarrier_fence() {}
inline void mbarrier_arrive(uint64* barrier, EMU_HERE) { emu::mbarrier_arrive(barrier, EMU_SITE("mbarrier_arrive")); }
inline void mbarrier_expect(uint64* barrier, int bytes, EMU_HERE) {
    emu::mbarrier_arrive_expecting(barrier, bytes, EMU_SITE("mbarrier_expect"));
}
inline void mbarrier_wait(uint64* barrier, int parity, EMU_HERE) { emu::mbarrier_wait(barrier, parity, EMU_SITE("mbarrier_wait")); }

inline void tma_load(void* to, const TensorMap* map, uint64* barrier, int x, int y) {
    const int corner[] = {x, y};
    emu::tma_load(to, *map, barrier, corner, 2, {"tma_load", __FILE__, __LINE__});
}
inline void tma_load(void* to, const TensorMap* map, uint64* barrier, int x, int y, int z, int w) {
    const int corner[] = {x, y, z, w};
    emu::tma_load(to, *map, barrier, corner, 4, {"tma_load", __FILE__, __LINE__});
}

inline void wgmma_fence() {}
inline void wgmma_commit() { emu::wgmma_commit(); }
template <int GROUPS>
inline void wgmma_wait(EMU_HERE) { emu::wgmma_wait(GROUPS, EMU_SITE("wgmma_wait")); }
template <bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
inline void wgmma_m64n64k16(float (&d)[32], uint64 a, uint64 b, bool accumulate = true, EMU_HERE) {
    emu::wgmma(d, 64, a, b, accumulate, A_TRANSPOSED, B_TRANSPOSED, EMU_SITE("wgmma_m64n64k16"));
}
template <bool A_TRANSPOSED = false, bool B_TRANSPOSED = false>
inline void wgmma_m64n128k16(float (&d)[64], uint64 a, uint64 b, bool accumulate = true, EMU_HERE) {
    emu::wgmma(d, 128, a, b, accumulate, A_TRANSPOSED, B_TRANSPOSED, EMU_SITE("wgmma_m64n128k16"));
}
#endif

__device__ __forceinline__ uint64 wgmma_operand(const void* p, int leading, int stride) {
    const uint64 swizzle_128 = 1ull << 62;
    return (uint64)((hopper_address(p) & 0x3FFFF) >> 4) | (uint64)(leading >> 4) << 16 | (uint64)(stride >> 4) << 32 | swizzle_128;
}
