// Hopper's asynchronous units, emulated (hopper.cpp): barriers in shared memory that count arrivals and bytes, the tensor memory
// accelerator (TMA) in tile mode, and wgmma. kernels/hopper.cuh is what kernels call.
#pragma once
#include "core.h"

namespace emu {

// What a CUtensorMap says of an array, innermost dimension first. scratchvgg/cuda/emulator/tensor_map.py has the same fields.
struct TensorMap {
    char* base;
    int64_t stride[5];  // bytes from one element to the next in each dimension
    uint32_t size[5], box[5];
    uint32_t rank, element_bytes, swizzle;  // swizzle: 0, or 128 bytes
};

void mbarrier_init(void* barrier, int arrivals);
void mbarrier_arrive(void* barrier, Site site);
void mbarrier_arrive_expecting(void* barrier, int bytes, Site site);
void mbarrier_wait(void* barrier, int parity, Site site);

// Copies the box whose first element is at `corner` (zeros outside of the array); then barrier has `bytes` less to expect.
void tma_load(void* to, const TensorMap& map, void* barrier, const int* corner, int rank, Site site);

// D (64 × columns, fp32, in the registers of a warpgroup) = A · B + (accumulate ? D : 0), bf16 operands in dynamic shared memory, depth 16.
void wgmma(float* d, int columns, uint64_t a, uint64_t b, bool accumulate, bool a_transposed, bool b_transposed, Site site);
void wgmma_commit();
void wgmma_wait(int groups, Site site);

}  // namespace emu
