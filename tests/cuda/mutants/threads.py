"""Mistakes between threads: barriers that are missing or not met by all, and sums in the order in which threads happen to run."""

from .mutant import Mutant

THREADS = (
    Mutant(
        "augment", "no barrier between one thread's draw and the others' use of it",
        "    __syncthreads();\n", "",
        by="initcheck", on="*block, f32*", says="read of (drawn|value)",
    ),
    Mutant(
        "batch_norm", "the next sum overwrites what others still read",
        "    __syncthreads();  // the next call overwrites what others may still read\n", "",
        by="racecheck", on="batch_norm_statistics_f32*", header="planes.cuh", says="of held",
    ),
    Mutant(
        "bias_relu_pool", "no barrier before the threads of a column are added up",
        "held[me] = own;\n    __syncthreads();", "held[me] = own;",
        by="nan", on="*f32*sums only", header="planes.cuh", says="of db",
    ),
    Mutant(
        "conv_direct", "the next channels overwrite the image that others still read",
        "        __syncthreads();\n    }\n    if (top + i >= height", "    }\n    if (top + i >= height",
        by="racecheck", on="forward 1x5x6x12*v2, float32",
    ),
    Mutant(
        "conv_implicit_gemm", "no barrier between the next slice and its use",
        "        __syncthreads();\n    }\n    multiply_slice", "    }\n    multiply_slice",
        by="order", on="forward 2x6x5x8*narrow, 1 splits, float32", header="conv_tile.cuh", keep=r"^TILED\(narrow",
    ),
    Mutant(
        "gemm", "no second barrier: a fast warp stores the next tile under a slow one",
        "sum += a[y][k] * b[k][x];\n        __syncthreads();", "sum += a[y][k] * b[k][x];",
        by="racecheck", on="*nn, shared, f32", keep=r"^GEMM\(f32", says="(a|b) at byte",
    ),
    Mutant(
        "gemm", "the next slice goes to the half that is being multiplied",
        "from_a.write(a[half ^ 1]);", "from_a.write(a[half]);",
        by="order", on="*nt, tiled_64, f32", keep=r"^GEMM\(f32",
    ),
    Mutant(
        "gemm_tensor_core", "the ring turns without a barrier",
        "cp_async_wait<Tile::STAGES - 2>();\n            __syncthreads();", "cp_async_wait<Tile::STAGES - 2>();",
        by="initcheck", on="*nt, 64, f16", header="tensor_core_tile.cuh", keep=r"^GEMM_LETTERS\(64, 32, 3, f16",
    ),
    Mutant(
        "bias_relu_pool", "the barrier is inside the if",
        "held[me + half * blockDim.x]);\n        __syncthreads();", "held[me + half * blockDim.x]), __syncthreads();",
        by="synccheck", on="*f32*sums only", header="planes.cuh", says="divergent barrier",
    ),
    Mutant(
        "local_response_norm", "neighbours' terms are read before they are there",
        "__syncthreads();\n        window_sums", "window_sums",
        by="initcheck", on="local_response_norm_backward_f32 of 9x8*", says="read of terms",
    ),
    Mutant(
        "softmax_cross_entropy", "the second sum of a block overwrites the first",
        "        __syncthreads();  // the last call's readers are done\n", "",
        by="racecheck", on="6x37, block, f32", says="of_warp",
    ),
    Mutant(
        "softmax_cross_entropy", "only lanes with a second class come to the shuffle",
        "    total = joined<GROUP, Sum>(total);", "    if (lane < C - GROUP) total = joined<GROUP, Sum>(total);",
        by="synccheck", on="6x37, warp, f32", says="reads lane",
    ),
    Mutant(
        "softmax_cross_entropy", "half a warp waits for the other half, which is at the barrier",
        "value = How::join(value, __shfl_xor", "if (threadIdx.x % 32 < 16) value = How::join(value, __shfl_xor",
        by="fault", on="6x37, block, f32", says="deadlock",
    ),
    Mutant(
        "softmax_cross_entropy", "losses are added by atomics: right, and with other bits every time",
        "    loss = joined<256, Sum>(loss);\n",
        "    __shared__ double all;\n    if (threadIdx.x == 0) all = 0;\n    __syncthreads();\n"
        "    atomicAdd(&all, loss);\n    __syncthreads();\n    loss = all;\n",
        by="ordercheck", on="6x37, *, f64", keep=r"\bf64\b", says="of out",
    ),
)  # fmt: skip
