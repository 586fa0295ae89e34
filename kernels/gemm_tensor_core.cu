// Matrix product on tensor cores (mma.sync): C = relu(A · B + bias) for f16 and bf16, sums in fp32. The tile is tensor_core_tile.cuh's.
//
//   128   128 × 128 of C a block of four warps of 64 × 64, four slices of 32 of depth in a ring of cp.async
//   64    64 × 64, four warps of 32 × 32: more blocks, for batches of up to 64 rows
//
// Operands are copied by 16-byte words: each matrix must have lines that begin at multiples of 16 bytes and are a multiple of 8 numbers long.
// C is dense. `splits` blocks (y) share the depth of a tile: each writes its sums to `partial`, gemm_add_splits adds them in order.
//
// hot: gemm_tensor_core_*
//
// Legend: A is M × K, B is K × N. n: consecutive in memory along its rows, t: along its columns; the first letter is A's, the second B's.
#include "common.cuh"
#include "tensor_core_tile.cuh"

// One operand: lines of `Lies`, numbered across the product (Along the depth) or along the depth (Across).
template <class Tile, class Lies, bool ALONG_DEPTH>
struct Matrix {
    typedef typename Tile::T T;
    typedef Share<Tile, Lies> Mine;
    const T* place;  // of the next slice's word of line(0)
    int64 stride;    // from line to line
    int first, size; // of this thread's words across the product; of the matrix

    __device__ __forceinline__ Matrix(const T* from, int64 stride, int tile, int size, int depth) : stride(stride), size(size) {
        const int word = Mine::word() * WORD<T>;
        first = tile + (ALONG_DEPTH ? Mine::line(0) : word);
        place = from + (ALONG_DEPTH ? first * stride + depth + word : (depth + Mine::line(0)) * stride + first);
    }
    // `left` of the depth exist.
    __device__ __forceinline__ void load(unsigned char* to, int left) {
#pragma unroll
        for (int i = 0; i < Mine::ITEMS; ++i) {
            const int far = i * Mine::STRIDE;
            const bool valid = ALONG_DEPTH ? first + far < size && Mine::word() * WORD<T> < left : first < size && Mine::line(i) < left;
            cp_async16(to + Lies::offset(Mine::line(i), Mine::word()), place + far * stride, valid);
        }
        place += ALONG_DEPTH ? Tile::DEPTH : Tile::DEPTH * stride;
    }
};

template <class Tile, bool A_ALONG, bool B_ALONG>
struct MatrixLoader {
    Matrix<Tile, typename Tile::Left, A_ALONG> a;
    Matrix<Tile, typename Tile::Right, B_ALONG> b;
    int left;

    __device__ __forceinline__ void load(unsigned char* to_a, unsigned char* to_b) {
        a.load(to_a, left);
        b.load(to_b, left);
        left -= Tile::DEPTH;
    }
};

// Blocks: (tiles, columns of C fastest; splits). a_line and b_line: strides from line to line, in elements.
template <class Tile, bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void gemm_by_tiles(const typename Tile::T* A, const typename Tile::T* B, typename Tile::T* C, const float* bias, float* partial,
                                              int64 a_line, int64 b_line, int M, int N, int K, int relu, int splits) {
    DYNAMIC_SHARED(unsigned char, shared);
    const int across = ceil_div(N, Tile::N), row = blockIdx.x / across * Tile::M, column = blockIdx.x % across * Tile::N;
    const int slices = ceil_div(K, Tile::DEPTH), from = (int64)slices * blockIdx.y / splits, to = (int64)slices * (blockIdx.y + 1) / splits;
    const int depth = from * Tile::DEPTH;
    MatrixLoader<Tile, A_ALONG, B_ALONG> loader = {{A, a_line, row, M, depth}, {B, b_line, column, N, depth}, K - depth};
    Sums<Tile> sums = {};
    multiply_tile<Tile>(sums, shared, loader, to - from);
    if (partial) store_partial<Tile>(sums, partial + (int64)blockIdx.y * M * N, row, column, M, N);
    else store_rows<Tile>(sums, shared, C, row, column, M, N, {nullptr, bias, relu != 0});
}

#define GEMM_TENSOR_CORE(SIDE, WARP, BLOCKS, letters, A_LIES, B_LIES, A_ALONG, B_ALONG, T)                                                    \
    typedef TensorTile<T, SIDE, SIDE, WARP, WARP, 4, A_LIES, B_LIES> Tile_##SIDE##_##letters##_##T;                                           \
    extern "C" __global__ void __launch_bounds__(Tile_##SIDE##_##letters##_##T::THREADS, BLOCKS)                                              \
        gemm_tensor_core_##SIDE##_##letters##_##T(const T* A, const T* B, T* C, const float* bias, float* partial, int64 a_line, int64 b_line, \
                                                  int M, int N, int K, int relu, int splits) {                                                \
        gemm_by_tiles<Tile_##SIDE##_##letters##_##T, A_ALONG, B_ALONG>(A, B, C, bias, partial, a_line, b_line, M, N, K, relu, splits);        \
    }
#define GEMM_LETTERS(SIDE, WARP, BLOCKS, T)                                               \
    GEMM_TENSOR_CORE(SIDE, WARP, BLOCKS, nn, Along, Across, true, false, T)               \
    GEMM_TENSOR_CORE(SIDE, WARP, BLOCKS, nt, Along, Along, true, true, T)                 \
    GEMM_TENSOR_CORE(SIDE, WARP, BLOCKS, tn, Across, Across, false, false, T)

GEMM_LETTERS(128, 64, 2, f16)
GEMM_LETTERS(64, 32, 3, f16)
GEMM_LETTERS(128, 64, 2, bf16)
GEMM_LETTERS(64, 32, 3, bf16)
