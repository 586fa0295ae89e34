"""Convolution as a matrix product whose operands are never built: ``kernels/conv_implicit_gemm.cu``. Every problem, every floating type."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..launch_size import NULL, SUFFIX, THREADS, accumulator, blocks_for
from ..registry import Example, example
from ..structs import conv_shape
from . import conv_examples as cases
from .conv_arrays import SMS, aligned, check, check_array

PASSES = ("forward", "grad_input", "grad_weight")
_SHALLOWEST = 256  # products that a split adds up at least
_MOST_PARTIAL = 128 << 20  # bytes of the sums of all splits
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_BYTES_A_CYCLE, _LAUNCH, _LATENCY = 2000, 5000, 150  # of a large GPU: memory traffic; cycles of one more launch; of adding one more split


@dataclass(frozen=True)
class Tile:
    """A version of the kernels: ``rows`` × ``columns`` results a block of ``threads``.

    Attributes:
        share: of the multiprocessor's arithmetic that it is reckoned to reach when there are blocks enough.
    """

    rows: int
    columns: int
    threads: int
    share: float


_FLOAT = {
    "large": Tile(128, 128, 256, 0.8), "narrow": Tile(128, 64, 128, 0.75), "small": Tile(64, 64, 64, 0.65), "general": Tile(64, 64, 64, 0.3),
}  # fmt: skip
TILES = {
    "float32": _FLOAT,
    "float64": {"large": Tile(64, 64, 256, 0.8), "general": Tile(32, 32, 64, 0.3)},
    "float16": {"general": _FLOAT["general"]},
    "bfloat16": {"general": _FLOAT["general"]},
}


@dataclass(frozen=True)
class Plan:
    """How a pass is launched.

    Attributes:
        version: the tile's name in :data:`TILES`.
        splits: blocks that share the depth of a tile.
        cycles: what the launch rule reckons it takes on a GPU of 132 multiprocessors; only for comparing.
    """

    version: str
    splits: int
    cycles: float


def sides(problem, which: str) -> tuple[int, int, int]:
    """Rows, columns and depth of the matrices of one group."""
    g = problem
    deep, wide = g.C // g.groups, g.K // g.groups
    return {
        "forward": (g.N * g.P * g.Q, wide, g.R * g.S * deep),
        "grad_input": (g.N * g.H * g.W, deep, g.R * g.S * wide),
        "grad_weight": (wide, g.R * g.S * deep, g.N * g.P * g.Q),
    }[which]


def fitting(problem, which: str, dtype: str) -> list[str]:
    """The versions that can do a problem if arrays are aligned: vectors need channels in fours, and one group."""
    g = problem
    fits = g.groups == 1 and g.C % 4 == 0 and (g.K % 4 == 0 or which == "forward")
    return [version for version in TILES[dtype] if fits or version == "general"]


@functools.lru_cache(4096)
def plan(problem, which: str, dtype: str, vectors: bool = True) -> Plan:
    """The version and the splits that should be fastest. It depends on the problem only, so a sum has one order on every device.

    Args:
        dtype: name of the arrays' type.
        vectors: the arrays are aligned for loads of four numbers.
    """
    rows, columns, depth = sides(problem, which)
    choices = {v: TILES[dtype][v] for v in (fitting(problem, which, dtype) if vectors else ["general"])}
    size = rows * columns * problem.groups * (8 if dtype == "float64" else 4)
    plans = [
        Plan(version, splits, _cycles(tile, rows, columns, depth, problem.groups, splits, size))
        for version, tile in choices.items()
        for splits in _SPLITS
        if splits == 1 or (splits * _SHALLOWEST <= depth and splits * size <= _MOST_PARTIAL)
    ]
    return min(plans, key=lambda p: p.cycles)


def _cycles(tile, rows, columns, depth, groups, splits, size):
    """Multiprocessors that run the most blocks decide; a few warps alone do not fill one."""
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * groups * splits
    most = max(1, -(-blocks // SMS))
    busy = min(1.0, most * tile.threads / 256)
    product = most * tile.rows * tile.columns * (-(-depth // splits) + 16) / (128 * tile.share * busy)
    return product + (0 if splits == 1 else _LAUNCH + _LATENCY * splits + (2 * splits + 1) * size / _BYTES_A_CYCLE)


def workspace(problem, which: str, dtype: str, vectors: bool = True) -> int:
    """Bytes of the sums of splits."""
    p = plan(problem, which, dtype, vectors)
    rows, columns, _ = sides(problem, which)
    return 0 if p.splits == 1 else p.splits * rows * columns * problem.groups * (8 if dtype == "float64" else 4)


def forward(backend, problem, x, w, y, *, scale=None, bias=None, relu: bool = False, pool: bool = False, winners=None, plan: Plan | None = None):
    """y = pool(relu(scale · (x ⋆ w) + bias)), each step if it is asked for.

    Args:
        problem: hashable; see :func:`~scratchvgg.cuda.structs.conv_shape`.
        x, w: (N, H, W, C), (K, R, S, C / groups), contiguous.
        y: (N, P, Q, K), or (N, P // 2, Q // 2, K) when pooling; contiguous, overwritten.
        scale, bias: (K,), contiguous, float32 (float64 for float64), or None.
        pool: the maximum of 2 × 2 pixels; an odd last row or column is dropped.
        winners: uint8 of the shape of ``y``, contiguous, or None; receives the place 2·i + j of each maximum: the first of equals, the last NaN.
        plan: how; by default what :func:`plan` says.

    Returns:
        ``y``.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    g, size = problem, 2 if pool else 1
    dtype = check(g, x=x, w=w)
    check_array("y", y, (g.N, g.P // size, g.Q // size, g.K), dtype)
    _check_channels(g.K, dtype, scale, bias)
    if winners is not None:
        check_array("winners", winners, y.shape, np.uint8)
    rows = y.size // max(1, g.K) * size * size
    if y.size:
        how = plan or _plan(backend, g, "forward", x, w)
        partial = _partial(backend, how, rows * g.K, dtype)
        tile = TILES[dtype.name][how.version]
        grid = -(-rows // tile.rows) * -(-g.K // g.groups // tile.columns), g.groups, how.splits
        after = _or_null(scale), _or_null(bias), y, _or_null(winners)
        arguments = (x, w, *after, partial, conv_shape(g), np.int32(relu), np.int32(pool), np.int32(how.splits))
        backend.launch(f"conv_implicit_gemm_forward_{how.version}_{SUFFIX[dtype.name]}", grid, (tile.threads,), arguments)
        if how.splits > 1:
            winners = None if winners is None else winners.reshape(-1, g.K)
            finish(backend, partial.reshape(how.splits, rows, g.K), y.reshape(-1, g.K), scale=scale, bias=bias, relu=relu, pool=pool, winners=winners)
    return y


def grad_input(backend, problem, dy, w, dx, plan: Plan | None = None):
    """dx = ∂L/∂x from dy (N, P, Q, K) and w; otherwise as :func:`forward`."""
    check(problem, dy=dy, w=w, dx=dx)
    return _gradient(backend, problem, "grad_input", dy, w, dx, plan)


def grad_weight(backend, problem, dy, x, dw, plan: Plan | None = None):
    """dw (K, R, S, C / groups) = ∂L/∂w from dy and x; otherwise as :func:`forward`."""
    check(problem, dy=dy, x=x, dw=dw)
    return _gradient(backend, problem, "grad_weight", dy, x, dw, plan)


def finish(backend, partial, out, *, scale=None, bias=None, relu: bool = False, pool: bool = False, winners=None):
    """out = pool(relu(scale · Σ partial + bias)): what follows a matrix product.

    Args:
        partial: (splits, rows, channels), contiguous, float32 (float64 for float64); when pooling, rows 4·i … 4·i + 3 are window i.
        out: (rows, channels), or (rows / 4, channels) when pooling; contiguous, overwritten. ``partial`` itself if there is one split.
        scale, bias, winners: as for :func:`forward`, winners of the shape of ``out``.

    Returns:
        ``out``.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    splits, rows, channels = partial.shape
    check_array("partial", partial, partial.shape, accumulator(out.dtype))
    if winners is not None:
        check_array("winners", winners, out.shape, np.uint8)
    check_array("out", out, (rows // 4 if pool else rows, channels), out.dtype)
    _check_channels(channels, out.dtype, scale, bias)
    if out.size:
        grid = (blocks_for(out.size),)
        sizes = np.int64(rows), np.int32(channels), np.int32(splits)
        arguments = (partial, _or_null(scale), _or_null(bias), out, _or_null(winners), *sizes, np.int32(relu), np.int32(pool))
        backend.launch(f"conv_implicit_gemm_finish_{SUFFIX[out.dtype.name]}", grid, (THREADS,), arguments)
    return out


def plain(backend, problem, which: str, version: str, a, b, out):
    """Pass ``which`` by the first rungs of the ladder, "v1" and "v2": no epilogue. float32 and float64.

    Args:
        a, b: x and w, dy and w, or dy and x.

    Returns:
        ``out``, overwritten.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    names = {"forward": ("x", "w", "y"), "grad_input": ("dy", "w", "dx"), "grad_weight": ("dy", "x", "dw")}[which]
    dtype = check(problem, ("float32", "float64"), **dict(zip(names, (a, b, out), strict=True)))
    if out.size:
        rows, columns, _ = sides(problem, which)
        grid = (blocks_for(out.size),) if version == "v1" else (-(-rows // 16), -(-columns // 16), problem.groups)
        backend.launch(f"conv_implicit_gemm_{which}_{version}_{SUFFIX[dtype.name]}", grid, (THREADS,), (a, b, out, conv_shape(problem)))
    return out


def _gradient(backend, g, which, a, b, out, how):
    if out.size:
        how = how or _plan(backend, g, which, a, b)
        rows, columns, _ = sides(g, which)
        partial = _partial(backend, how, out.size, out.dtype)
        tile, suffix = TILES[out.dtype.name][how.version], SUFFIX[out.dtype.name]
        grid = -(-rows // tile.rows) * -(-columns // tile.columns), g.groups, how.splits
        arguments = (a, b, out, partial, conv_shape(g), np.int32(how.splits))
        backend.launch(f"conv_implicit_gemm_{which}_{how.version}_{suffix}", grid, (tile.threads,), arguments)
        if how.splits > 1:
            finish(backend, partial.reshape(how.splits, -1, out.shape[-1]), out.reshape(-1, out.shape[-1]))
    return out


def _plan(backend, problem, which, a, b):
    return plan(problem, which, a.dtype.name, aligned(backend, 4, a, b))


def _partial(backend, how, size, dtype):
    return NULL if how.splits == 1 else backend.workspace("conv_implicit_gemm.partial", (how.splits, size), accumulator(dtype))


def _or_null(array):
    return NULL if array is None else array


def _check_channels(channels, dtype, scale, bias):
    for name, array in (("scale", scale), ("bias", bias)):
        if array is not None:
            check_array(name, array, (channels,), accumulator(dtype))


@example("conv_implicit_gemm")
def examples(backend, rng, size):
    """All passes, versions and types, splits, and what follows the sum; large: VGG-16's layers in float32."""
    if size == "large":
        for title, g in cases.VGG.items():
            for which in PASSES[: 1 if g.C == 3 else 3]:
                yield _example(backend, rng, g, "float32", which, plan(g, which, "float32"), f"{title} ")
        return
    for name, g in cases.SMALL.items():
        for which in PASSES:
            for version in (*(("v1", "v2") if name == "odd" else ()), *fitting(g, which, "float32")):
                for splits in (1, 3) if name in ("vgg", "odd") and version in ("small", "general") else (1,):
                    yield _example(backend, rng, g, "float32", which, Plan(version, splits, 0.0))
    for dtype in ("float64", "float16", "bfloat16"):
        for which in PASSES:
            yield _example(backend, rng, cases.SMALL["odd"], dtype, which, Plan("general", 1, 0.0))
            if dtype == "float64":
                yield _example(backend, rng, cases.SMALL["vgg"], dtype, which, Plan("large", 1, 0.0))
    for dtype in TILES:
        for splits in (1, 2):
            yield _finished(backend, rng, cases.SMALL["vgg"], dtype, Plan("small" if dtype == "float32" else "general", splits, 0.0))


def _example(backend, rng, g, dtype, which, how, title=""):
    a, b, out = cases.operands(backend, rng, g, which, dtype)
    name, face = cases.MAKES[which], {"forward": forward, "grad_input": grad_input, "grad_weight": grad_weight}[which]
    if how.version in ("v1", "v2"):
        run = functools.partial(plain, backend, g, which, how.version, a, b, out)
    else:
        run = functools.partial(face, backend, g, a, b, out, plan=how)
    return Example(
        f"{which} {title}{g}, {how.version}, {how.splits} splits, {dtype}", lambda: {name: run()},
        lambda: {name: cases.reference(g, which, backend.to_numpy(a), backend.to_numpy(b))}, cases.TOLERANCE[dtype],
        a.nbytes + b.nbytes + out.nbytes, g.operations, f"conv_implicit_gemm_{which}_{how.version}_{SUFFIX[dtype]}",
    )  # fmt: skip


def _finished(backend, rng, g, dtype, how):
    """Scale, bias, ReLU and pool of small whole numbers, which every type adds up exactly: ties are ties."""
    shapes, kind = g.shapes, cases.dtype_of(dtype)
    x, w = (backend.asarray(rng.integers(-2, 3, shapes[name]).astype(kind)) for name in "xw")
    scale, bias = (backend.asarray(rng.integers(-2, 3, g.K).astype(accumulator(kind))) for _ in range(2))
    shape = g.N, g.P // 2, g.Q // 2, g.K
    y, winners = backend.empty(shape, dtype), backend.empty(shape, "uint8")
    options = {"scale": scale, "bias": bias, "relu": True, "pool": True, "winners": winners, "plan": how}

    def expected():
        sums = cases.reference(g, "forward", backend.to_numpy(x), backend.to_numpy(w)) * backend.to_numpy(scale) + backend.to_numpy(bias)
        windows = sums[:, : g.P // 2 * 2, : g.Q // 2 * 2].reshape(g.N, g.P // 2, 2, g.Q // 2, 2, g.K).transpose(0, 1, 3, 5, 2, 4)
        windows = windows.reshape(*shape, 4)
        return {"y": np.maximum(windows.max(-1), 0), "winners": windows.argmax(-1)}

    return Example(
        f"forward {g} with scale, bias, ReLU and pool, {how.splits} splits, {dtype}",
        lambda: {"y": forward(backend, g, x, w, y, **options), "winners": winners}, expected, 1e-15,
        x.nbytes + w.nbytes + y.nbytes + winners.nbytes, g.operations, f"conv_implicit_gemm_forward_{how.version}_{SUFFIX[dtype]}",
    )  # fmt: skip
