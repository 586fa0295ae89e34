// C (M × N, fp32) = A (M × K) · Bᵀ (B is N × K), bf16, K innermost in both: one 64 × 64 tile a block, by TMA and wgmma.
// Thread 0 of warpgroup 1 fills a ring of STAGES slots; warpgroup 0 multiplies.
// arch: sm_90a
#include "hopper.cuh"

constexpr int TILE = 64, DEPTH = 64, STAGES = 3, SLOT = TILE * DEPTH * 2;  // SLOT: bytes of one operand's tile

template <bool B_TRANSPOSED>
__device__ void multiply(const TensorMap& a, const TensorMap& b, float* c, int m, int n, int k) {
    DYNAMIC_SHARED(unsigned char, ring);  // STAGES × (A tile, B tile), then the barriers
    uint64* full = reinterpret_cast<uint64*>(ring + STAGES * 2 * SLOT);
    uint64* empty = full + STAGES;
    const int row = blockIdx.y * TILE, column = blockIdx.x * TILE, steps = ceil_div(k, DEPTH), t = threadIdx.x % 128;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; ++s) mbarrier_init(full + s, 1), mbarrier_init(empty + s, 128);
        mbarrier_fence();
    }
    __syncthreads();
    if (threadIdx.x >= 128) {
        if (t) return;
        for (int i = 0; i < steps; ++i) {
            const int s = i % STAGES;
#ifndef NO_WAIT_FOR_EMPTY
            if (i >= STAGES) mbarrier_wait(empty + s, (i / STAGES - 1) % 2);
#endif
            mbarrier_expect(full + s, 2 * SLOT);
            tma_load(ring + s * 2 * SLOT, &a, full + s, i * DEPTH, row);
            if (B_TRANSPOSED) tma_load(ring + s * 2 * SLOT + SLOT, &b, full + s, column, i * DEPTH);
            else tma_load(ring + s * 2 * SLOT + SLOT, &b, full + s, i * DEPTH, column);
        }
        return;
    }
    float d[32] = {};
    for (int i = 0; i < steps; ++i) {
        const int s = i % STAGES;
#ifndef NO_WAIT_FOR_FULL
        mbarrier_wait(full + s, i / STAGES % 2);
#endif
        unsigned char *left = ring + s * 2 * SLOT, *right = left + SLOT;
        wgmma_fence();
#pragma unroll
        for (int j = 0; j < DEPTH / 16; ++j)
            wgmma_m64n64k16<false, B_TRANSPOSED>(d, wgmma_operand(left + 32 * j, 0, 1024),
                                                 wgmma_operand(right + (B_TRANSPOSED ? 2048 : 32) * j, B_TRANSPOSED ? SLOT : 0, 1024));
        wgmma_commit();
        wgmma_wait<0>();
        mbarrier_arrive(empty + s);
    }
    for (int i = 0; i < 32; ++i) {
        const int y = row + 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), x = column + 8 * (i / 4) + 2 * (t % 4) + i % 2;
        if (y < m && x < n) c[(int64)y * n + x] = d[i];
    }
}

extern "C" __global__ void __launch_bounds__(256)
gemm_nt(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, float* c, int m, int n, int k) {
    multiply<false>(a, b, c, m, n, k);
}
// B is K × N here, N innermost.
extern "C" __global__ void __launch_bounds__(256)
gemm_nn(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, float* c, int m, int n, int k) {
    multiply<true>(a, b, c, m, n, k);
}
