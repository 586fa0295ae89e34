// A block's tile of a matrix product on tensor cores: out[row, column] = Σ over depth of left[row, k] · right[k, column].
//
// Shared memory holds STAGES slices of both operands, each 64 bytes of depth: 32 elements of 16 bits or 16 of TF32, two steps of mma. While
// a slice is multiplied, the copies of the STAGES − 1 next ones are under way (cp.async), and while a step is multiplied the fragments of
// the next one are read (ldmatrix). One barrier a slice: the stage that is filled was read before the last one.
//
// Two ways to lie in a slice, in 16-byte words. No eight addresses of one ldmatrix, and no quarter warp of copies, meet a bank twice:
//
//   Along    memory runs along depth: SIZE lines of 64 bytes; word w of line l lies at w ^ (l / 2) % 4; read by ldmatrix
//   Across   memory runs across: one line of SIZE elements for each step of depth; word w of line l at w ^ l % 8; read by ldmatrix.trans.
//            That turns 16-bit elements only: fragments of TF32 are read one by one, from words at w ^ 2·(l % 4)
//
// Why warps of 64 × 64: a warp reads (64 + 64) · 32 bytes of shared memory for a step of 64 · 64 · 16 products, 32 cycles of 128 bytes; with
// 64 × 32 it is 24 cycles for half the products, and shared memory, not mma, sets the pace. It costs 128 registers for the sums: up to
// 255 a thread, 8 warps a multiprocessor, as two blocks of four warps, so that one multiplies while the other meets at its barrier.
#pragma once
#include "tensor_core.cuh"

constexpr int LINE = 64;  // bytes of depth in a slice

template <class T>
constexpr int WORD = 16 / (int)sizeof(T);  // elements

template <class T>
struct Mma {
    static __device__ __forceinline__ uint32 ready(uint32 word) { return word; }
    static __device__ __forceinline__ void add(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) { mma_m16n8k16<T>(d, a, b); }
};
template <>
struct Mma<float> {
    static __device__ __forceinline__ uint32 ready(uint32 word) { return round_tf32(word); }
    static __device__ __forceinline__ void add(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) { mma_m16n8k8(d, a, b); }
};

// ---- operands in shared memory -----------------------------------------------------------------------------------------------------
// offset(line, word): bytes from the start of the slice. Reader(first): reads the fragments of 16 rows (LEFT) or columns of block i at a step,
// `first` being the warp's first row or column.

template <class T, int SIZE>
struct Along {
    static constexpr int LINES = SIZE, WORDS = LINE / 16;
    static __device__ __forceinline__ int offset(int line, int word) { return line * LINE + ((word ^ (line >> 1 & 3)) << 4); }

    template <bool LEFT>
    struct Reader {
        int own;
        __device__ __forceinline__ explicit Reader(int first) {
            const int lane = threadIdx.x % 32;
            own = LEFT ? offset(first + lane % 16, lane / 16) : offset(first + lane / 16 * 8 + lane % 8, lane / 8 % 2);
        }
        __device__ __forceinline__ void read(uint32 (&r)[4], const unsigned char* slice, int i, int step) const {
            ldmatrix_x4(r, slice + i * 16 * LINE + (own ^ step << 5));
#pragma unroll
            for (int m = 0; m < 4; ++m) r[m] = Mma<T>::ready(r[m]);
        }
    };
};

template <class T, int SIZE>
struct Across {
    static constexpr int LINES = LINE / (int)sizeof(T), WORDS = SIZE / WORD<T>;
    static __device__ __forceinline__ int turn(int line) { return sizeof(T) == 4 ? line % 4 * 2 : WORDS < 8 ? line / 2 % 4 : line % 8; }
    static __device__ __forceinline__ int offset(int line, int word) { return line * WORDS * 16 + ((word ^ turn(line)) << 4); }

    template <bool LEFT>
    struct Reader {
        int own;
        __device__ __forceinline__ explicit Reader(int first) {
            const int lane = threadIdx.x % 32, high = lane / 16, low = lane / 8 % 2, g = lane / 4, t = lane % 4;
            if (sizeof(T) == 4) own = offset(t, first / 4 + g / 4) + g % 4 * 4;
            else own = offset(lane % 8 + 8 * (LEFT ? high : low), first / 8 + (LEFT ? low : high));
        }
        __device__ __forceinline__ void read(uint32 (&r)[4], const unsigned char* slice, int i, int step) const {
            const unsigned char* lines = slice + step * (LINES / 2) * WORDS * 16;
            if constexpr (sizeof(T) == 2) {
                ldmatrix_x4_trans(r, lines + (own ^ i << 5));
            } else {
#pragma unroll
                for (int m = 0; m < 4; ++m) {  // depth t or t + 4, row or column g or g + 8
                    const int deep = LEFT ? m / 2 : m % 2, far = LEFT ? m % 2 : m / 2;
                    r[m] = Mma<T>::ready(*reinterpret_cast<const uint32*>(lines + deep * 4 * WORDS * 16 + (own ^ i << 6 ^ far << 5)));
                }
            }
        }
    };
};

// ---- the tile ----------------------------------------------------------------------------------------------------------------------

template <class Element, int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int DEEP, template <class, int> class LeftLies,
          template <class, int> class RightLies>
struct TensorTile {
    typedef Element T;
    typedef LeftLies<T, ROWS> Left;
    typedef RightLies<T, COLUMNS> Right;
    static constexpr int M = ROWS, N = COLUMNS, STAGES = DEEP, DEPTH = LINE / (int)sizeof(T), STEPS = 2;
    static constexpr int WARP_M = WARP_ROWS, WARP_N = WARP_COLUMNS, WARPS_N = N / WARP_N, THREADS = 32 * (M / WARP_M) * WARPS_N;
    static constexpr int BLOCKS_M = WARP_M / 16, BLOCKS_N = WARP_N / 16;  // of fragments that one ldmatrix reads
    static constexpr int LEFT_BYTES = M * LINE, STAGE_BYTES = (M + N) * LINE;

    static __device__ __forceinline__ int row() { return threadIdx.x / 32 / WARPS_N * WARP_M; }
    static __device__ __forceinline__ int column() { return threadIdx.x / 32 % WARPS_N * WARP_N; }
};

// Thread's share of the copies of an operand: word() of line(0), line(1), … line(ITEMS − 1) of every slice.
template <class Tile, class Lies>
struct Share {
    static constexpr int STRIDE = Tile::THREADS / Lies::WORDS, ITEMS = Lies::LINES / STRIDE;
    static_assert(STRIDE * ITEMS == Lies::LINES && ITEMS > 0, "the threads share the words of a slice evenly");
    static __device__ __forceinline__ int word() { return threadIdx.x % Lies::WORDS; }
    static __device__ __forceinline__ int line(int item) { return threadIdx.x / Lies::WORDS + item * STRIDE; }
};

template <class Tile>
using Sums = float[Tile::BLOCKS_M][2 * Tile::BLOCKS_N][4];

// The fragments of one step.
template <class Tile>
struct Fragments {
    uint32 left[Tile::BLOCKS_M][4], right[Tile::BLOCKS_N][4];

    template <class LeftReader, class RightReader>
    __device__ __forceinline__ void read(const LeftReader& rows, const RightReader& columns, const unsigned char* stage, int step) {
#pragma unroll
        for (int i = 0; i < Tile::BLOCKS_M; ++i) rows.read(left[i], stage, i, step);
#pragma unroll
        for (int j = 0; j < Tile::BLOCKS_N; ++j) columns.read(right[j], stage + Tile::LEFT_BYTES, j, step);
    }
    __device__ __forceinline__ void multiply(Sums<Tile>& sums) const {
#pragma unroll
        for (int i = 0; i < Tile::BLOCKS_M; ++i)
#pragma unroll
            for (int j = 0; j < 2 * Tile::BLOCKS_N; ++j) {
                const uint32 b[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
                Mma<typename Tile::T>::add(sums[i][j], left[i], b);
            }
    }
};

// sums += left · right over `slices` slices. loader.load(left, right) begins the copies of the next slice into two places of a stage.
// Afterwards shared memory is free.
template <class Tile, class Loader>
__device__ __forceinline__ void multiply_tile(Sums<Tile>& sums, unsigned char* shared, Loader& loader, int slices) {
    if (slices <= 0) return;  // the whole block: its split of the depth is empty
    const typename Tile::Left::template Reader<true> rows(Tile::row());
    const typename Tile::Right::template Reader<false> columns(Tile::column());
    auto fill = [&](int stage, bool any) {
        unsigned char* at = shared + stage * Tile::STAGE_BYTES;
        if (any) loader.load(at, at + Tile::LEFT_BYTES);
        cp_async_commit();  // an empty group, too, so that the wait can count
    };
    if constexpr (Tile::STAGES == 1) {  // nothing overlaps
        Fragments<Tile> now;
        for (int slice = 0; slice < slices; ++slice) {
            fill(0, true);
            cp_async_wait<0>();
            __syncthreads();
#pragma unroll
            for (int step = 0; step < Tile::STEPS; ++step) {
                now.read(rows, columns, shared, step);
                now.multiply(sums);
            }
            __syncthreads();
        }
    } else {
        Fragments<Tile> held[2];
#pragma unroll
        for (int stage = 0; stage < Tile::STAGES - 1; ++stage) fill(stage, stage < slices);
        cp_async_wait<Tile::STAGES - 2>();
        __syncthreads();
        held[0].read(rows, columns, shared, 0);
        int reading = 0, filling = Tile::STAGES - 1;
        for (int slice = 0; slice < slices; ++slice) {
            fill(filling, slice + Tile::STAGES - 1 < slices);  // before the second set of fragments takes its registers
            held[1].read(rows, columns, shared + reading * Tile::STAGE_BYTES, 1);
            filling = reading;
            reading = reading + 1 == Tile::STAGES ? 0 : reading + 1;
            held[0].multiply(sums);
            cp_async_wait<Tile::STAGES - 2>();
            __syncthreads();
            if (slice + 1 < slices) held[0].read(rows, columns, shared + reading * Tile::STAGE_BYTES, 0);
            held[1].multiply(sums);
        }
        cp_async_wait<0>();
        __syncthreads();
    }
}

// ---- what becomes of the sums ------------------------------------------------------------------------------------------------------

// Σ as it is, fp32: partial[row · columns + column].
template <class Tile>
__device__ __forceinline__ void store_partial(const Sums<Tile>& sums, float* partial, int64 first_row, int first_column, int64 rows, int columns) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Tile::BLOCKS_M; ++i)
#pragma unroll
        for (int j = 0; j < 2 * Tile::BLOCKS_N; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64 row = first_row + Tile::row() + i * 16 + half * 8 + lane / 4;
                const int column = first_column + Tile::column() + j * 8 + lane % 4 * 2;
                float* to = partial + row * columns + column;
                const float2 two = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                if (row >= rows || column >= columns) continue;
                if (columns % 2 == 0) {
                    *reinterpret_cast<float2*>(to) = two;
                } else {
                    to[0] = two.x;
                    if (column + 1 < columns) to[1] = two.y;
                }
            }
}

// max(scale · Σ + bias, 0), each if it is asked for, rounded once.
struct Finish {
    const float *scale, *bias;  // of each column, or null
    bool relu;

    __device__ __forceinline__ float operator()(float sum, int column, int columns) const {
        if (scale && column < columns) sum *= __ldg(scale + column);
        if (bias && column < columns) sum += __ldg(bias + column);
        return relu && sum <= 0.0f ? 0.0f : sum;  // NaN stays
    }
};

// 16-byte words of the result, 16 rows of the warp's columns at a time by way of shared memory, where words change places as in `Along`.
template <class Tile>
struct Stager {
    typedef typename Tile::T T;
    static constexpr int WORDS = Tile::WARP_N / WORD<T>, TURN = WORDS < 8 ? WORDS - 1 : 7;
    unsigned char* own;

    __device__ __forceinline__ explicit Stager(unsigned char* shared) : own(shared + threadIdx.x / 32 * 16 * WORDS * 16) {}
    __device__ __forceinline__ unsigned char* at(int row, int word) const { return own + (row * WORDS + (word ^ (row & TURN))) * 16; }

    // Rows 16·i … of the warp. Everybody's are there after it.
    __device__ __forceinline__ void put(const Sums<Tile>& sums, int i, int first_column, int columns, const Finish& finish) const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int j = 0; j < 2 * Tile::BLOCKS_N; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int inner = j * 8 + lane % 4 * 2, column = first_column + Tile::column() + inner;
                T* to = reinterpret_cast<T*>(at(half * 8 + lane / 4, inner / WORD<T>)) + inner % WORD<T>;
                to[0] = narrow<T>(finish(sums[i][j][2 * half], column, columns));
                to[1] = narrow<T>(finish(sums[i][j][2 * half + 1], column + 1, columns));
            }
        __syncwarp();
    }
};

// out[row · columns + column] = finish(Σ). A row is a pixel.
template <class Tile>
__device__ __forceinline__ void store_rows(const Sums<Tile>& sums, unsigned char* shared, typename Tile::T* out, int64 first_row, int first_column,
                                           int64 rows, int columns, const Finish& finish) {
    typedef typename Tile::T T;
    const Stager<Tile> stager(shared);
#pragma unroll
    for (int i = 0; i < Tile::BLOCKS_M; ++i) {
        stager.put(sums, i, first_column, columns, finish);
#pragma unroll
        for (int k = threadIdx.x % 32; k < 16 * stager.WORDS; k += 32) {
            const int line = k / stager.WORDS, word = k % stager.WORDS, column = first_column + Tile::column() + word * WORD<T>;
            const int64 row = first_row + Tile::row() + i * 16 + line;
            if (row >= rows || column >= columns) continue;
            const T* from = reinterpret_cast<const T*>(stager.at(line, word));
            T* to = out + row * columns + column;
            if (columns % WORD<T> == 0) *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
            else
                for (int e = 0; e < WORD<T> && column + e < columns; ++e) to[e] = from[e];
        }
        __syncwarp();
    }
}

// The maximum of rows 4·w … 4·w + 3, which are the pixels of window w, and in winners (unless null) which of them it was before ReLU: the first of
// equals, the last NaN.
template <class Tile>
__device__ __forceinline__ void store_windows(const Sums<Tile>& sums, unsigned char* shared, typename Tile::T* out, uint8* winners, int64 first_row,
                                              int first_column, int64 rows, int columns, const Finish& finish) {
    typedef typename Tile::T T;
    const Stager<Tile> stager(shared);
    const Finish linear = {finish.scale, finish.bias, false};
#pragma unroll
    for (int i = 0; i < Tile::BLOCKS_M; ++i) {
        stager.put(sums, i, first_column, columns, linear);
        for (int k = threadIdx.x % 32; k < 4 * Tile::WARP_N; k += 32) {
            const int window = k / Tile::WARP_N, inner = k % Tile::WARP_N, column = first_column + Tile::column() + inner;
            const int64 row = first_row + Tile::row() + i * 16 + window * 4;
            if (row >= rows || column >= columns) continue;
            T best = reinterpret_cast<const T*>(stager.at(window * 4, inner / WORD<T>))[inner % WORD<T>];
            uint8 winner = 0;
#pragma unroll
            for (int place = 1; place < 4; ++place) {
                const T x = reinterpret_cast<const T*>(stager.at(window * 4 + place, inner / WORD<T>))[inner % WORD<T>];
                if (widen(x) > widen(best) || widen(x) != widen(x)) best = x, winner = place;
            }
            out[row / 4 * columns + column] = finish.relu && widen(best) <= 0.0f ? T(0.0f) : best;
            if (winners) winners[row / 4 * columns + column] = winner;
        }
        __syncwarp();
    }
}
