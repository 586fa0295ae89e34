// Philox4x32-10: four random 32-bit words as a function of (seed, stream, block). J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC'11. Key: the seed (low half, high half). Counter: block low, block high, stream low, stream high.
// Word i of a stream is word i % 4 of block i / 4. scratchvgg/array/philox.py is the same function in NumPy, bit for bit.
#pragma once
#include "common.cuh"

struct PhiloxBlock {
    uint32 word[4];
};

__device__ __forceinline__ PhiloxBlock philox_block(uint64 seed, uint64 stream, uint64 block) {
    uint32 c0 = (uint32)block, c1 = (uint32)(block >> 32), c2 = (uint32)stream, c3 = (uint32)(stream >> 32);
    uint32 k0 = (uint32)seed, k1 = (uint32)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 p0 = (uint64)0xD2511F53u * c0, p1 = (uint64)0xCD9E8D57u * c2;
        c0 = (uint32)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32)p1;
        c3 = (uint32)p0;
        k0 += 0x9E3779B9u;  // Weyl sequences: the golden ratio and the square root of 3, less 1
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// One word of the stream. Neighbouring words of one thread are cheaper by the block.
__device__ __forceinline__ uint32 philox_word(uint64 seed, uint64 stream, uint64 index) {
    const PhiloxBlock made = philox_block(seed, stream, index >> 2);
    const uint32 low = index & 1 ? made.word[1] : made.word[0], high = index & 1 ? made.word[3] : made.word[2];
    return index & 2 ? high : low;  // selects, so that the block stays in registers
}
