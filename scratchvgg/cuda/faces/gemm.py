"""Matrix products on a device: ``kernels/gemm.cu``. (M, K) times (K, N), both 2-D; transposed views are welcome."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, THREADS, accumulator, blocks_for
from ..registry import Example, example

SHAPE = np.dtype(
    [(name, np.int64) for name in ("a_m", "a_k", "b_k", "b_n", "c_m")]
    + [(name, np.int32) for name in ("M", "N", "K", "depth", "relu", "accumulate", "wide_a", "wide_b", "wide_c")]
    + [("alpha", np.float64)],
    align=True,
)
VERSIONS = ("naive", "shared", "tiled_64", "tiled_128", "thin")
_ROWS = 8  # of A that the thin versions take
_ENOUGH = 264  # blocks that fill a large GPU twice over
_DEEP = 256  # the depth of a split is a multiple of this


def gemm(backend, a, b, *, bias=None, relu: bool = False, alpha: float = 1.0, out=None, accumulate: bool = False, version: str | None = None):
    """relu(alpha · a b + bias + out), each of the last three only if asked for.

    Args:
        a: (M, K), any strides; float16, bfloat16, float32 or float64.
        b: (K, N) of the same type, any strides. Fast where each matrix has one dimension consecutive in memory, as ``w.T`` has.
        bias: (N,), contiguous, added to every row.
        out: (M, N), rows consecutive in memory; a new array if None.
        accumulate: add what ``out`` holds.
        version: one of :data:`VERSIONS`; by default the one that suits the shape.

    Returns:
        ``out``. Sums are kept in float32 (float64 for float64) and rounded once; their order depends on shapes and strides only.

    Raises:
        ValueError: for shapes that do not fit, ``accumulate`` without ``out``, or a version that cannot do this problem.
        TypeError: for mixed or other element types.
    """
    out = checked(backend, a, b, bias, out, accumulate)
    (m, k), n = a.shape, b.shape[1]
    if out.size == 0:
        return out
    letters, whole = (letter(a), letter(b)), _whole(backend, a) and _whole(backend, b)
    version = version or choose(m, n, letters, out.dtype.name, whole)
    _check_version(version, m, letters, out.dtype.name, whole)
    suffix = SUFFIX[out.dtype.name]
    blocks, shape = _blocks(version, letters[1], m, n), kernel_shape(backend, a, b, out, alpha, relu, accumulate)
    bias = NULL if bias is None else bias
    if version in ("naive", "shared"):
        block = (16, 16) if version == "shared" else (THREADS,)
        backend.launch(f"gemm_{version}_{suffix}", (blocks,), block, (a, b, out, bias, shape))
        return out
    splits, shape["depth"] = split(blocks, k)
    partial = backend.workspace("gemm.partial", (splits, m, n), accumulator(out.dtype)) if splits > 1 else NULL
    layout = f"n{letters[1]}" if version == "thin" else "".join(letters)
    backend.launch(f"gemm_{version}_{layout}_{suffix}", (blocks, 1, splits), (THREADS,), (a, b, out, bias, partial, shape))
    if splits > 1:
        backend.launch(f"gemm_add_splits_{suffix}", (blocks_for(m * n),), (THREADS,), (partial, out, bias, np.int32(splits), shape))
    return out


def choose(m: int, n: int, letters: tuple, dtype: str, whole: bool = True) -> str:
    """The version for an (M, K) times (K, N) product.

    Args:
        letters: how A and B lie in memory (n, t or None).
        whole: whether their lines are aligned and multiples of four numbers.
    """
    if letters[1] is None or (letters[0] is None and m > _ROWS):
        return "shared"
    if m <= _ROWS and (letters[1] == "n" or letters[0] == "n"):
        return "thin"
    if letters[0] is None:
        return "shared"
    large = -(-m // 128) * -(-n // 128) >= _ENOUGH // 2 and min(m, n) > 64
    return "tiled_128" if large and whole and dtype != "float64" else "tiled_64"


def split(blocks: int, k: int) -> tuple[int, int]:
    """(how many blocks share a tile, how much of K each does) for a product of few ``blocks``."""
    wanted = max(1, min(_ENOUGH // blocks, k // (2 * _DEEP)))
    if wanted == 1:
        return 1, max(k, 1)
    depth = -(-k // (wanted * _DEEP)) * _DEEP
    return -(-k // depth), depth


def _blocks(version, b_letter, m, n):
    if version == "naive":
        return blocks_for(m * n)
    if version == "thin":
        return -(-n // (32 if b_letter == "t" else 4 * THREADS))
    side = {"shared": 16, "tiled_64": 64, "tiled_128": 128}[version]
    return -(-m // side) * -(-n // side)


def kernel_shape(backend, a, b, out, alpha: float = 1.0, relu: bool = False, accumulate: bool = False) -> np.ndarray:
    """``struct GemmShape`` for these arrays, one element of :data:`SHAPE`; depth is left at 0."""
    shape, letters = np.zeros(1, SHAPE), (letter(a), letter(b))
    shape["alpha"], shape["relu"], shape["accumulate"] = alpha, relu, accumulate
    strides = *a.strides, *b.strides, out.strides[0]
    for name, stride in zip(("a_m", "a_k", "b_k", "b_n", "c_m"), strides, strict=True):
        shape[name] = stride // out.itemsize
    shape["M"], shape["N"], shape["K"] = *out.shape, a.shape[1]
    shape["wide_a"] = aligned(backend, a, 0 if letters[0] == "n" else 1)
    shape["wide_b"] = aligned(backend, b, 0 if letters[1] == "n" else 1)
    shape["wide_c"] = aligned(backend, out, 0)
    return shape


def letter(x) -> str | None:
    """"n" if rows are consecutive in memory, "t" if columns are, else None."""
    axes = (1, "n"), (0, "t")
    unit = [letter for axis, letter in axes if x.strides[axis] == x.itemsize]
    return next(iter(unit or [letter for axis, letter in axes if x.shape[axis] == 1]), None)


def aligned(backend, x, along: int) -> bool:
    """Whether every line along the other dimension begins at a multiple of 16 bytes."""
    return backend.address(x) % 16 == 0 and (x.shape[along] == 1 or x.strides[along] % 16 == 0)


def checked(backend, a, b, bias, out, accumulate):
    """``out``, or an array to be it.

    Raises:
        ValueError, TypeError: as :func:`gemm`.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"gemm: expected (M, K) and (K, N), got {a.shape} and {b.shape}")
    if a.dtype.name not in SUFFIX:
        raise TypeError(f"gemm: expected float16, bfloat16, float32 or float64, got {a.dtype}")
    shape = a.shape[0], b.shape[1]
    if accumulate and out is None:
        raise ValueError("gemm: accumulate=True adds to out, but out is None")
    if out is None:
        out = backend.empty(shape, a.dtype)
    for name, array, wanted in (("b", b, b.shape), ("bias", bias, shape[1:]), ("out", out, shape)):
        if array is None:
            continue
        if array.dtype != a.dtype:
            raise TypeError(f"gemm: a is {a.dtype}, {name} is {array.dtype}")
        if array.shape != wanted or (name != "b" and array.size and array.shape[-1] > 1 and array.strides[-1] != array.itemsize):
            raise ValueError(f"gemm: {name} must be {wanted}, rows consecutive in memory, got {array.shape} with strides {array.strides}")
    return out


def _whole(backend, x):
    """Whether all lines in memory begin at multiples of 16 bytes and are multiples of four numbers."""
    inner = 1 if letter(x) == "n" else 0
    return x.shape[inner] % 4 == 0 and aligned(backend, x, 1 - inner)


def _check_version(version, m, letters, dtype, whole):
    if version not in VERSIONS:
        raise ValueError(f"gemm: version must be one of {', '.join(VERSIONS)}, got {version!r}")
    tiled = version.startswith("tiled")
    fits = (not tiled or None not in letters) and (version != "tiled_128" or (whole and dtype != "float64"))
    if version == "thin":
        fits = m <= _ROWS and (letters[1] == "n" or letters == ("n", "t"))
    if not fits:
        orders = f"memory orders {letters} of a and b{'' if whole else ', not in whole vectors of four'}"
        raise ValueError(f"gemm: version {version!r} cannot do M = {m}, {dtype}, {orders}")


@example("gemm")
def examples(backend, rng, size):
    """Every version, memory order and type on edges of tiles; VGG-16's classifier, forward, both gradients, and a square product."""
    if size == "small":
        for letters in ("nn", "nt", "tn", "tt"):
            for version in VERSIONS if letters != "tt" else VERSIONS[:-1]:  # thin_nt wants rows of A
                sizes = {"thin": (7, 40, 21), "tiled_128": (132, 136, 20)}.get(version, (67, 70, 19))
                yield _example(backend, rng, sizes, letters, "float32", version)
        for dtype in ("float16", "bfloat16", "float64"):
            yield _example(backend, rng, (66, 12, 8), "nt", dtype, "tiled_64")
            yield _example(backend, rng, (3, 40, 260), "nt", dtype, "thin")
        yield _example(backend, rng, (132, 136, 16), "nn", "bfloat16", "tiled_128")
        yield _example(backend, rng, (2, 32, 1100), "nt", "float32", "thin")
        yield _example(backend, rng, (20, 8, 1100), "nt", "float32", "tiled_64")
        return
    for dtype in ("float32", "bfloat16"):
        for n in (1, 8, 64):
            yield _example(backend, rng, (n, 4096, 25088), "nt", dtype, None)
        for n in (8, 64):
            yield _example(backend, rng, (n, 25088, 4096), "nn", dtype, None)
            yield _example(backend, rng, (4096, 25088, n), "tn", dtype, None)
    yield _example(backend, rng, (4096, 4096, 4096), "nn", "float32", "tiled_128")
    yield _example(backend, rng, (200704, 256, 2304), "nt", "float32", "tiled_128")


def _example(backend, rng, sizes, letters, dtype, version):
    """relu(a b / 2 + bias)."""
    m, n, k = sizes
    a = random_array(backend, rng, (m, k) if letters[0] == "n" else (k, m), dtype)
    b = random_array(backend, rng, (k, n) if letters[1] == "n" else (n, k), dtype)
    a, b = a if letters[0] == "n" else a.T, b if letters[1] == "n" else b.T
    bias = random_array(backend, rng, (n,), dtype)
    version = version or choose(m, n, tuple(letters), dtype, whole=True)
    layout = {"naive": "", "shared": "", "thin": f"_n{letters[1]}"}.get(version, f"_{letters}")

    def run():
        return {"c": gemm(backend, a, b, bias=bias, relu=True, alpha=0.5, version=version)}

    def expected():
        return {"c": np.maximum(exact(backend, a) @ exact(backend, b) / 2 + exact(backend, bias), 0)}

    return Example(
        f"{m}x{k} times {k}x{n}, {letters}, {version}, {SUFFIX[dtype]}", run, expected if m * n * k < 1 << 24 else None, TOLERANCE[dtype],
        bytes=a.itemsize * (m * k + k * n + m * n), operations=2 * m * n * k, entry=f"gemm_{version}{layout}_{SUFFIX[dtype]}",
    )
