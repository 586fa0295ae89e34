"""Matrix products of 16-bit numbers on tensor cores: ``kernels/gemm_tensor_core.cu``. (M, K) times (K, N); transposed views are welcome."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, THREADS, blocks_for
from ..registry import Example, example
from .gemm import aligned, checked, kernel_shape, letter

SIDES = 64, 128
LAYOUTS = "nn", "nt", "tn"
_THREADS, _SHARED = 128, 4 * 2 * 64  # of a block; bytes of shared memory for each line of a tile's side: four stages of two operands
_SLICE, _FEW = 32, 8  # of depth; rows that gemm's thin version takes, which reads the weight once
_ENOUGH = 264  # blocks that keep a large GPU busy


def takes(backend, a, b, out=None) -> bool:
    """Whether :func:`gemm_tensor_core` can do this product, and has enough rows to be worth while."""
    return a.ndim == 2 and a.shape[0] > _FEW and a.dtype.name in ("float16", "bfloat16") and _lie_well(backend, a, b, out)


def gemm_tensor_core(backend, a, b, *, bias=None, relu: bool = False, out=None, side: int | None = None):
    """relu(a b + bias), the last two only if asked for.

    Args:
        a: (M, K), float16 or bfloat16; its lines in memory begin at multiples of 16 bytes and are a multiple of 8 numbers long.
        b: (K, N), likewise; not both transposed views.
        bias: (N,) of the same type, contiguous.
        out: (M, N), contiguous; a new array if None.
        side: of the square of results that a block makes, 64 or 128; by default by the shape.

    Returns:
        ``out``. Sums are kept in float32 and rounded once; their order depends on the shapes only.

    Raises:
        ValueError: for arrays that do not lie so, or shapes that do not fit. TypeError: for other element types.
    """
    out = checked(backend, a, b, bias, out, False)
    if a.dtype.name not in ("float16", "bfloat16"):
        raise TypeError(f"gemm_tensor_core: expected float16 or bfloat16, got {a.dtype}")
    if not _lie_well(backend, a, b, out):
        raise ValueError(f"gemm_tensor_core: {a.shape} with strides {a.strides} times {b.shape} with {b.strides} into {out.strides}: lines must be "
                         "multiples of 8 numbers at multiples of 16 bytes, one of the two in rows")
    if side not in (None, *SIDES):
        raise ValueError(f"gemm_tensor_core: side must be 64 or 128, got {side!r}")
    (m, k), n, kind = a.shape, b.shape[1], SUFFIX[a.dtype.name]
    side = side or choose_side(m, n)
    blocks, slices = -(-m // side) * -(-n // side), -(-k // _SLICE)
    splits = max(1, min(_ENOUGH // blocks, slices // 16))
    lines = [np.int64(x.strides[0 if letter(x) == "n" else 1] // x.itemsize) for x in (a, b)]
    options = *lines, *map(np.int32, (m, n, k, relu and splits == 1, splits))
    entry = f"gemm_tensor_core_{side}_{letter(a)}{letter(b)}_{kind}"
    grid, shared = (blocks, splits), _SHARED * side
    if splits == 1:
        wide = NULL if bias is None else bias.astype(np.float32)
        backend.launch(entry, grid, (_THREADS,), (a, b, out, wide, NULL, *options), shared)
        return out
    partial = backend.workspace("gemm.partial", (splits, m, n), "float32")
    backend.launch(entry, grid, (_THREADS,), (a, b, out, NULL, partial, *options), shared)
    shape = kernel_shape(backend, a, b, out, relu=relu)
    arguments = partial, out, NULL if bias is None else bias, np.int32(splits), shape
    backend.launch(f"gemm_add_splits_{kind}", (blocks_for(m * n),), (THREADS,), arguments)
    return out


def choose_side(m: int, n: int) -> int:
    """128 where that leaves no tile half empty and makes enough of them, else 64."""
    return 128 if min(m, n) > 64 and -(-m // 128) * -(-n // 128) >= _ENOUGH // 2 else 64


def _lie_well(backend, a, b, out):
    """Lines of both operands are whole words at whole words, and the result is dense."""
    if a.ndim != 2 or b.ndim != 2 or f"{letter(a)}{letter(b)}" not in LAYOUTS or 0 in (*a.shape, *b.shape):
        return False
    for x in (a, b):
        inner = 1 if letter(x) == "n" else 0
        if x.shape[inner] % 8 or x.strides[inner] != x.itemsize or not aligned(backend, x, 1 - inner):
            return False
    return out is None or (out.flags.c_contiguous and backend.address(out) % 16 == 0)


@example("gemm_tensor_core")
def examples(backend, rng, size):
    """Every tile, memory order and type on edges, with split depth; VGG-16's classifier, forward, both gradients, and a square product."""
    if size == "small":
        for letters in LAYOUTS:
            for side in SIDES:
                for dtype in ("float16", "bfloat16"):
                    yield _example(backend, rng, (72, 40, 88), letters, dtype, side)
        yield _example(backend, rng, (16, 8, 1064), "nt", "bfloat16", 64)
        return
    for dtype in ("float16", "bfloat16"):
        for n in (64, 256):
            yield _example(backend, rng, (n, 4096, 25088), "nt", dtype, None)
            yield _example(backend, rng, (n, 25088, 4096), "nn", dtype, None)
            yield _example(backend, rng, (4096, 25088, n), "tn", dtype, None)
        yield _example(backend, rng, (8192, 8192, 8192), "nt", dtype, None)


def _example(backend, rng, sizes, letters, dtype, side):
    """relu(a b + bias)."""
    m, n, k = sizes
    a = random_array(backend, rng, (m, k) if letters[0] == "n" else (k, m), dtype)
    b = random_array(backend, rng, (k, n) if letters[1] == "n" else (n, k), dtype)
    a, b = a if letters[0] == "n" else a.T, b if letters[1] == "n" else b.T
    bias, side = random_array(backend, rng, (n,), dtype), side or choose_side(m, n)

    def run():
        return {"c": gemm_tensor_core(backend, a, b, bias=bias, relu=True, side=side)}

    def expected():
        return {"c": np.maximum(exact(backend, a) @ exact(backend, b) + exact(backend, bias), 0)}

    title, wanted = f"{m}x{k} times {k}x{n}, {letters}, {side}, {SUFFIX[dtype]}", expected if m * n * k < 1 << 24 else None
    entry = f"gemm_tensor_core_{side}_{letters}_{SUFFIX[dtype]}"
    moved = 2 * (m * k + k * n + m * n)
    return Example(title, run, wanted, TOLERANCE[dtype], bytes=moved, operations=2 * m * n * k, entry=entry)
