"""Convolution on tensor cores: ``kernels/conv_tensor_core*.cu``. float16 and bfloat16 with fp32 sums; float32 rounded to TF32 (10 bits of mantissa).

One group, filters of at most 16 × 16. Numbers move by 16-byte words, :func:`words` of a type: what a pass reads along K must be whole words;
where C is not, the "any" versions read x and w number by number (a net's first layer).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..launch_size import NULL
from ..registry import Example, example
from ..structs import conv_shape
from . import conv_examples as cases
from .conv_arrays import SMS, aligned, check, check_array
from .conv_implicit_gemm import PASSES, Plan, finish, sides

SUFFIX = {"float16": "f16", "bfloat16": "bf16", "float32": "tf32"}
_LINE = 64  # bytes of depth in a slice of shared memory
_SHALLOWEST = 256  # products that a split adds up at least
_MOST_PARTIAL = 128 << 20  # bytes of the sums of all splits
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640)
_BYTES_A_CYCLE, _LAUNCH = 2000, 5000  # of a large GPU: memory traffic; cycles that one more launch costs
_TOLERANCE = cases.TOLERANCE | {"float32": 4e-6}  # tensor cores cut the terms of a sum where others round
_PRODUCTS = {2: 1024, 4: 512}  # a cycle of a multiprocessor's tensor cores by mma.sync, for 16-bit types and TF32


@dataclass(frozen=True)
class Tile:
    """A version of a pass: ``rows`` × ``columns`` results a block of 128 threads, with ``stages`` slices in shared memory.

    Attributes:
        share: of the tensor cores' arithmetic that it is reckoned to reach when there are blocks enough. A guess: not measured on a GPU.
    """

    rows: int
    columns: int
    stages: int
    share: float

    @property
    def shared(self) -> int:
        """Bytes of dynamic shared memory."""
        return self.stages * (self.rows + self.columns) * _LINE


_LARGE, _NARROW, _ROUNDED, _SMALL = Tile(128, 128, 4, 0.8), Tile(256, 64, 3, 0.75), Tile(128, 64, 4, 0.65), Tile(64, 64, 4, 0.5)
TILES = {
    "forward": {"128x128": _LARGE, "256x64": _NARROW, "128x64": _ROUNDED, "64x64": _SMALL, "any": Tile(128, 64, 1, 0.2)},
    "grad_input": {"128x128": _LARGE, "256x64": _NARROW, "128x64": _ROUNDED, "64x64": _SMALL, "any": Tile(128, 32, 3, 0.2)},
    "grad_weight": {"128x128": _LARGE, "64x128": Tile(64, 128, 4, 0.65), "64x64": _SMALL, "any": Tile(64, 32, 3, 0.2)},
}


def words(dtype) -> int:
    """Numbers in 16 bytes."""
    return 16 // np.dtype(dtype).itemsize


def fitting(problem, which: str, dtype) -> list[str]:
    """The versions that can do a pass of ``problem``; none if tensor cores cannot.

    Args:
        dtype: of the arrays, or its name.
    """
    g, name = problem, cases.dtype_of(dtype).name
    if name not in SUFFIX or g.groups != 1 or max(g.R, g.S) > 16:
        return []
    lanes = words(cases.dtype_of(dtype))
    if which != "forward" and g.K % lanes:
        return []
    absent = () if which == "grad_weight" else ("128x128", "256x64") if name == "float32" else ("128x64",)
    versions = [v for v in TILES[which] if (v == "any") == (g.C % lanes != 0) and v not in absent]
    return [v for v in versions if _indexable(g, which, v)]


def _indexable(g, which, version):
    """Whether 32 bits count the numbers of all images that a tile touches."""
    if which == "grad_weight":
        return True
    seen, size = (g.P * g.Q, g.H * g.W * g.C) if which == "forward" else (g.H * g.W, g.P * g.Q * g.K)
    return min(g.N, TILES[which][version].rows // max(1, seen) + 2) * size < 2**31


@functools.lru_cache(4096)
def plan(problem, which: str, dtype: str, exact: bool = False) -> Plan:
    """The version and the splits that should be fastest. It depends on the problem only, so a sum has one order on every device.

    Args:
        dtype: name of the arrays' type.
        exact: the sums are wanted in float32 whatever the type, and so pass through memory in any case.

    Raises:
        ValueError: if no version can do the pass.
    """
    rows, columns, depth = sides(problem, which)
    versions = fitting(problem, which, dtype)
    if not versions:
        needs = "one group, filters up to 16x16 and, for gradients, whole 16-byte words of K"
        raise ValueError(f"{which} of {problem} in {dtype}: tensor cores take {needs}")
    size, rate = 4 * rows * columns, _PRODUCTS[cases.dtype_of(dtype).itemsize]
    plans = [
        Plan(version, splits, _cycles(TILES[which][version], rows, columns, depth, splits, size, rate, exact))
        for version in versions
        for splits in _SPLITS
        if splits == 1 or (splits * _SHALLOWEST <= depth and splits * size <= _MOST_PARTIAL)
    ]
    return min(plans, key=lambda p: p.cycles)


def _cycles(tile, rows, columns, depth, splits, size, rate, exact):
    """Multiprocessors that run the most blocks decide; four warps alone fill half of one."""
    blocks = -(-rows // tile.rows) * -(-columns // tile.columns) * splits
    most = max(1, -(-blocks // SMS))
    busy = min(1.0, most / 2)
    product = most * tile.rows * tile.columns * (-(-depth // splits) + 64) / (rate * tile.share * busy)
    return product + (0 if splits == 1 and not exact else _LAUNCH + (2 * splits + 1) * size / _BYTES_A_CYCLE)


def workspace(problem, which: str, dtype: str, exact: bool = False) -> int:
    """Bytes of the sums of splits."""
    how = plan(problem, which, dtype, exact)
    rows, columns, _ = sides(problem, which)
    return 4 * how.splits * rows * columns if how.splits > 1 or exact else 0


def forward(backend, problem, x, w, y, *, scale=None, bias=None, relu: bool = False, pool: bool = False, winners=None, plan: Plan | None = None):
    """y = pool(relu(scale · (x ⋆ w) + bias)), each step if it is asked for.

    Args:
        problem: hashable; see :func:`~scratchvgg.cuda.structs.conv_shape`.
        x, w: (N, H, W, C), (K, R, S, C), contiguous, at multiples of 16 bytes.
        y: (N, P, Q, K), or (N, P // 2, Q // 2, K) when pooling; contiguous, overwritten.
        scale, bias: (K,) float32, contiguous, or None.
        pool: the maximum of 2 × 2 pixels; an odd last row or column is dropped.
        winners: uint8 of the shape of ``y``, contiguous, or None; receives the place 2·i + j of each maximum before ReLU: the first of
            equals, the last NaN. What is compared are values rounded to the type, or the sums themselves when blocks share the depth.
        plan: how; by default what :func:`plan` says.

    Returns:
        ``y``.

    Raises:
        ValueError, TypeError: for arrays of other shapes, types or places, and problems that tensor cores cannot do.
    """
    g, size = problem, 2 if pool else 1
    dtype = check(g, tuple(SUFFIX), x=x, w=w)
    check_array("y", y, (g.N, g.P // size, g.Q // size, g.K), dtype)
    for name, array in (("scale", scale), ("bias", bias)):
        if array is not None:
            check_array(name, array, (g.K,), np.float32)
    if winners is not None:
        check_array("winners", winners, y.shape, np.uint8)
    how = _chosen(backend, g, "forward", plan, False, x=x, w=w, y=y)
    if not y.size:
        return y
    rows = y.size // g.K * size * size
    partial = _partial(backend, how, rows * g.K, False)
    numbers = conv_shape(g), np.int32(relu), np.int32(pool), np.int32(how.splits)
    _launch(backend, "forward", how, dtype, rows, g.K, (x, w, _or_null(scale), _or_null(bias), y, _or_null(winners), partial, *numbers))
    if how.splits > 1:
        winners = None if winners is None else winners.reshape(-1, g.K)
        finish(backend, partial.reshape(how.splits, rows, g.K), y.reshape(-1, g.K), scale=scale, bias=bias, relu=relu, pool=pool, winners=winners)
    return y


def grad_input(backend, problem, dy, w, dx, plan: Plan | None = None):
    """dx = ∂L/∂x from dy (N, P, Q, K) and w; otherwise as :func:`forward`."""
    check(problem, tuple(SUFFIX), dy=dy, w=w, dx=dx)
    return _gradient(backend, problem, "grad_input", dy, w, dx, plan)


def grad_weight(backend, problem, dy, x, dw, plan: Plan | None = None):
    """dw (K, R, S, C) = ∂L/∂w from dy and x; otherwise as :func:`forward`. ``dw`` may be float32 whatever the type: the sums unrounded."""
    dtype = check(problem, tuple(SUFFIX), dy=dy, x=x)
    g = problem
    check_array("dw", dw, (g.K, g.R, g.S, g.C), np.float32 if dw.dtype == np.float32 else dtype)
    return _gradient(backend, problem, "grad_weight", dy, x, dw, plan)


def plain(backend, problem, which: str, a, b, out):
    """Pass ``which`` by the first rung of the ladder, "v1": any problem of one group, no epilogue.

    Args:
        a, b: x and w, dy and w, or dy and x.

    Returns:
        ``out``, overwritten.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    names = {"forward": ("x", "w", "y"), "grad_input": ("dy", "w", "dx"), "grad_weight": ("dy", "x", "dw")}[which]
    dtype = check(problem, tuple(SUFFIX), **dict(zip(names, (a, b, out), strict=True)))
    if problem.groups != 1:
        raise ValueError(f"tensor cores take one group, got {problem}")
    if out.size:
        rows, columns, _ = sides(problem, which)
        grid = -(-rows // 16), -(-columns // 8)
        backend.launch(f"conv_tensor_core_v1_{which}_{SUFFIX[dtype.name]}", grid, (32,), (a, b, out, conv_shape(problem)))
    return out


def entry(which: str, version: str, dtype) -> str:
    """The kernel's name."""
    if version == "v2":
        return "conv_tensor_core_v2_bf16"
    return f"conv_tensor_core_{'any_' if version == 'any' else ''}{which}{'' if version == 'any' else f'_{version}'}_{SUFFIX[np.dtype(dtype).name]}"


def _gradient(backend, g, which, a, b, out, how):
    exact = out.dtype != a.dtype
    how = _chosen(backend, g, which, how, exact, a=a, b=b, out=out)
    if not out.size:
        return out
    rows, columns, _ = sides(g, which)
    partial = _partial(backend, how, out.size, exact)
    target = backend.workspace("conv_tensor_core.none", (1,), a.dtype) if exact else out  # not written: the sums go to `partial`
    _launch(backend, which, how, a.dtype, rows, columns, (a, b, target, partial, conv_shape(g), np.int32(how.splits)))
    if partial is not NULL:
        finish(backend, partial.reshape(how.splits, rows, columns), out.reshape(rows, columns))
    return out


def _chosen(backend, g, which, how, exact, **arrays):
    """The plan, and a ValueError for arrays that no 16-byte word may begin at."""
    first = next(iter(arrays.values()))
    for name, array in arrays.items():
        if not aligned(backend, 16, array):
            raise ValueError(f"{name} must begin at a multiple of 16 bytes")
    return how or plan(g, which, first.dtype.name, exact)


def _launch(backend, which, how, dtype, rows, columns, arguments):
    tile = Tile(128, 128, 1, 0.5) if how.version == "v2" else TILES[which][how.version]
    grid = -(-rows // tile.rows) * -(-columns // tile.columns), how.splits
    backend.launch(entry(which, how.version, dtype), grid, (128,), arguments, tile.shared)


def _partial(backend, how, size, exact):
    return backend.workspace("conv_tensor_core.partial", (how.splits, size), np.float32) if how.splits > 1 or exact else NULL


def _or_null(array):
    return NULL if array is None else array


def representable(backend, array):
    """float32 numbers rounded to TF32, toward zero; other types as they are: what tensor cores multiply without another rounding."""
    if array.dtype != np.float32:
        return array
    return (array.view(backend.xp.uint32) & 0xFFFFE000).view(backend.xp.float32)


SMALL = {
    "words": cases.Shape(2, 8, 5, 4, 16),
    "first": cases.Shape(1, 3, 7, 6, 8),
    "odd": cases.Shape(2, 16, 5, 7, 24, 2, 3, (2, 1), ((0, 1), (2, 1)), (1, 2)),
}


@example("conv_tensor_core")
def examples(backend, rng, size):
    """Forward and the gradient of x: versions, types, splits and what follows the sum; large: VGG-16's layers in bfloat16, one in every type."""
    yield from _examples(backend, rng, size, ("forward", "grad_input"), False)
    if size == "small":
        for dtype in SUFFIX:
            for splits in (1, 2):
                yield _finished(backend, rng, SMALL["words"], dtype, Plan("64x64", splits, 0.0))
            for which in PASSES:
                yield _example(backend, rng, SMALL["odd"], dtype, which, Plan("v1", 1, 0.0))
        yield _example(backend, rng, SMALL["words"], "bfloat16", "forward", Plan("v2", 1, 0.0))


@example("conv_tensor_core_grad_weight")
def weight_examples(backend, rng, size):
    """As :func:`examples`, for the gradient of the filters."""
    yield from _examples(backend, rng, size, ("grad_weight",), False)


@example("conv_tensor_core_any")
def first_layer_examples(backend, rng, size):
    """As :func:`examples`, for channels that are no whole words."""
    yield from _examples(backend, rng, size, PASSES, True)


def _examples(backend, rng, size, passes, odd_channels):
    if size == "large":
        for title, g in cases.VGG.items():
            for dtype in ("bfloat16", "float16", "float32") if title in ("conv1_1", "conv4_2") else ("bfloat16",):
                for which in passes:
                    if (g.C % 4 != 0) == odd_channels:
                        yield _example(backend, rng, g, dtype, which, plan(g, which, dtype), f"{title} ")
        return
    for name, g in SMALL.items():
        for dtype in SUFFIX:
            for which in passes:
                versions = [v for v in fitting(g, which, dtype) if (v == "any") == odd_channels]
                for version in versions[: None if dtype == "bfloat16" else 1]:
                    for splits in (1, 3) if name != "words" else (1,):
                        yield _example(backend, rng, g, dtype, which, Plan(version, splits, 0.0))


def _example(backend, rng, g, dtype, which, how, title=""):
    a, b, out = cases.operands(backend, rng, g, which, dtype)
    a, b = representable(backend, a), representable(backend, b)
    name, face = cases.MAKES[which], {"forward": forward, "grad_input": grad_input, "grad_weight": grad_weight}[which]
    if how.version == "v1":
        run = functools.partial(plain, backend, g, which, a, b, out)
        kernel = f"conv_tensor_core_v1_{which}_{SUFFIX[dtype]}"
    else:
        run, kernel = functools.partial(face, backend, g, a, b, out, plan=how), entry(which, how.version, out.dtype)
    return Example(
        f"{which} {title}{g}, {how.version}, {how.splits} splits, {'tf32' if dtype == 'float32' else dtype}", lambda: {name: run()},
        lambda: {name: cases.reference(g, which, backend.to_numpy(a), backend.to_numpy(b))}, _TOLERANCE[dtype],
        a.nbytes + b.nbytes + out.nbytes, g.operations, kernel,
    )  # fmt: skip


def _finished(backend, rng, g, dtype, how):
    """Scale, bias, ReLU and pool of small whole numbers, which every type adds up exactly: ties are ties."""
    x, w = (backend.asarray(rng.integers(-2, 3, g.shapes[name]).astype(cases.dtype_of(dtype))) for name in "xw")
    scale, bias = (backend.asarray(rng.integers(-2, 3, g.K).astype(np.float32)) for _ in range(2))
    shape = g.N, g.P // 2, g.Q // 2, g.K
    y, winners = backend.empty(shape, dtype), backend.empty(shape, "uint8")
    options = {"scale": scale, "bias": bias, "relu": True, "pool": True, "winners": winners, "plan": how}

    def expected():
        sums = cases.reference(g, "forward", backend.to_numpy(x), backend.to_numpy(w)) * backend.to_numpy(scale) + backend.to_numpy(bias)
        windows = sums[:, : g.P // 2 * 2, : g.Q // 2 * 2].reshape(g.N, g.P // 2, 2, g.Q // 2, 2, g.K).transpose(0, 1, 3, 5, 2, 4)
        windows = windows.reshape(*shape, 4)
        return {"y": np.maximum(windows.max(-1), 0), "winners": windows.argmax(-1)}

    return Example(
        f"forward {g} with scale, bias, ReLU and pool, {how.splits} splits, {'tf32' if dtype == 'float32' else dtype}",
        lambda: {"y": forward(backend, g, x, w, y, **options), "winners": winners}, expected, 1e-15,
        x.nbytes + w.nbytes + y.nbytes + winners.nbytes, g.operations, entry("forward", how.version, y.dtype),
    )  # fmt: skip
