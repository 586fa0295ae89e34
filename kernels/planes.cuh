// How threads share an NHWC array when each keeps its channels: no thread divides to find its place, and what belongs to a channel
// (bias, statistics, running sums) stays in its registers.
//
//   threadIdx.x, blockIdx.x   groups of V channels: a warp reads whole lines of memory
//   threadIdx.y               the pixels of a row, blockDim.y apart
//   blockIdx.y                the rows, gridDim.y apart
//
// Where rows do not matter, (N, C, ...) is a matrix of M pixels and C channels: for_each_line walks its lines.
// Blocks have at most THREADS threads; those of kernels that add up (combine_lines) are a power of two high.
#pragma once
#include "vector.cuh"

constexpr int THREADS = 256;

template <int V>
__device__ __forceinline__ int first_channel() {
    return (blockIdx.x * blockDim.x + threadIdx.x) * V;
}

#define for_each_row(row, rows) for (int row = blockIdx.y; row < (rows); row += gridDim.y)
#define for_each_column(column, columns) for (int column = threadIdx.y; column < (columns); column += blockDim.y)
#define for_each_line(m, lines)                                                       \
    for (int64 m = (int64)blockIdx.y * blockDim.y + threadIdx.y; m < (lines);         \
         m += (int64)gridDim.y * blockDim.y)

__device__ __forceinline__ double merge(double a, double b) { return a + b; }

// What the threads of a column of the block (equal threadIdx.x) hold, put together by merge(a, b) in an order that never changes.
// Every thread of the block must come here; all of a column get the result.
template <class M>
__device__ M combine_lines(M own) {
    __shared__ M held[THREADS];
    const int me = threadIdx.y * blockDim.x + threadIdx.x;
    held[me] = own;
    __syncthreads();
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) held[me] = merge(held[me], held[me + half * blockDim.x]);
        __syncthreads();
    }
    const M all = held[threadIdx.x];
    __syncthreads();  // the next call overwrites what others may still read
    return all;
}

// Which pixel of each window won: two bits a channel, four channels a byte, the first lowest (PACKED); or a byte a channel.
template <int V, bool PACKED>
__device__ __forceinline__ void store_winners(unsigned char* winners, int64 window, int c, int C, const int (&place)[V]) {
    constexpr int BYTES = PACKED ? V / 4 : V;
    Vector<unsigned char, BYTES> bytes = {};
#pragma unroll
    for (int v = 0; v < V; ++v) bytes.at[PACKED ? v / 4 : v] |= place[v] << (PACKED ? v % 4 * 2 : 0);
    store<BYTES>(winners + (PACKED ? window * (C / 4) + c / 4 : window * C + c), bytes);
}

template <int V, bool PACKED>
__device__ __forceinline__ void load_winners(const unsigned char* winners, int64 window, int c, int C, int (&place)[V]) {
    constexpr int BYTES = PACKED ? V / 4 : V;
    const auto bytes = load<BYTES>(winners + (PACKED ? window * (C / 4) + c / 4 : window * C + c));
#pragma unroll
    for (int v = 0; v < V; ++v) place[v] = PACKED ? bytes.at[v / 4] >> (v % 4 * 2) & 3 : bytes.at[v];
}
