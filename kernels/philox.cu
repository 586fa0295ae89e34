// Fill memory with the random numbers of a Philox stream.
//
//   philox_words_each_u32    one thread a word: four threads in a row make the same block, and each keeps a quarter of it
//   philox_words_u32         one thread a block: four words for one price, the first and the last block cut where the request begins and ends
//   philox_uniform_f32, f64  the same, each word (f64: pair of words, the first is the high half) made a number in [0, 1) of 24 (53) bits
//   philox_keep_u8           the same, 1 where the word is at least `threshold`: dropout's mask with p = threshold / 2^32
//
// Legend: seed, stream, offset (the first word) as in scratchvgg/array/philox.py; count numbers are written.
#include "philox.cuh"

extern "C" __global__ void philox_words_each_u32(uint32* out, uint64 seed, uint64 stream, uint64 offset, int64 count) {
    for_each_element(i, count) out[i] = philox_word(seed, stream, offset + i);
}

// Calls put(i, word) for i = 0 … count − 1 with word `offset + i` of the stream.
template <class Put>
__device__ __forceinline__ void for_each_word(uint64 seed, uint64 stream, uint64 offset, int64 count, Put put) {
    const uint64 first = offset >> 2;
    const int64 lead = offset & 3, blocks = ceil_div<int64>(lead + count, 4);
    for_each_element(b, blocks) {
        const PhiloxBlock made = philox_block(seed, stream, first + b);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const int64 i = 4 * b + lane - lead;
            if (i >= 0 && i < count) put(i, made.word[lane]);
        }
    }
}

extern "C" __global__ void philox_words_u32(uint32* out, uint64 seed, uint64 stream, uint64 offset, int64 count) {
    for_each_word(seed, stream, offset, count, [=](int64 i, uint32 word) { out[i] = word; });
}

extern "C" __global__ void philox_uniform_f32(float* out, uint64 seed, uint64 stream, uint64 offset, int64 count) {
    for_each_word(seed, stream, offset, count, [=](int64 i, uint32 word) { out[i] = (float)(word >> 8) * 0x1p-24f; });  // exact
}

extern "C" __global__ void philox_uniform_f64(double* out, uint64 seed, uint64 stream, uint64 offset, int64 count) {
    for_each_element(i, count) {
        const uint64 place = offset + 2 * i;
        const PhiloxBlock made = philox_block(seed, stream, place >> 2);
        uint32 high = place & 2 ? made.word[2] : made.word[0], low = place & 2 ? made.word[3] : made.word[1];
        if (place & 1) {  // the pair begins at an odd word and may end in the next block
            high = low;
            low = place & 2 ? philox_block(seed, stream, (place >> 2) + 1).word[0] : made.word[2];
        }
        out[i] = (double)((((uint64)high << 32) | low) >> 11) * 0x1p-53;  // exact
    }
}

extern "C" __global__ void philox_keep_u8(uint8* out, uint64 seed, uint64 stream, uint64 offset, int64 count, uint32 threshold) {
    for_each_word(seed, stream, offset, count, [=](int64 i, uint32 word) { out[i] = word >= threshold; });
}
