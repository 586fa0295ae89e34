"""Convolution by nested loops: ``kernels/conv_direct.cu``. float32 and float64; every problem."""

from __future__ import annotations

from dataclasses import replace

from ..launch_size import NULL, SUFFIX, THREADS, blocks_for
from ..registry import Example, example
from ..structs import conv_shape
from . import conv_examples as cases
from .conv_arrays import check, check_array

_ROWS, _COLUMNS, _FILTERS, _DEPTH = 8, 16, 16, 8  # of conv_direct.cu
_SHARED = 48 << 10  # bytes that a kernel may have without asking
DTYPES = ("float32", "float64")


def forward(backend, problem, x, w, y, bias=None, version: str | None = None):
    """y = x ⋆ w + bias.

    Args:
        problem: see :func:`~scratchvgg.cuda.structs.conv_shape`.
        x, w, y: (N, H, W, C), (K, R, S, C / groups), (N, P, Q, K), contiguous; ``y`` is overwritten.
        bias: (K,), contiguous, or None.
        version: "v1" or "v2"; by default v2, if the part of the image that a tile sees fits shared memory.

    Returns:
        ``y``.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    dtype = check(problem, DTYPES, x=x, w=w, y=y)
    if bias is not None:
        check_array("bias", bias, (problem.K,), dtype)
    return _launch(backend, problem, "forward", (x, w, NULL if bias is None else bias), y, version)


def grad_input(backend, problem, dy, w, dx, version: str | None = None):
    """dx = ∂L/∂x from ``dy`` and ``w``; otherwise as :func:`forward`."""
    check(problem, DTYPES, dy=dy, w=w, dx=dx)
    return _launch(backend, problem, "grad_input", (dy, w), dx, version)


def grad_weight(backend, problem, dy, x, dw, version: str | None = None):
    """dw = ∂L/∂w from ``dy`` and ``x``; otherwise as :func:`forward`."""
    check(problem, DTYPES, dy=dy, x=x, dw=dw)
    return _launch(backend, problem, "grad_weight", (dy, x), dw, version)


def _launch(backend, g, which, operands, out, version):
    if out.size == 0:
        return out
    deep, wide, shared = g.C // g.groups, g.K // g.groups, 0
    if which != "grad_weight":
        shared = shared_bytes(g, which, out.itemsize)
    version = version or ("v2" if shared <= _SHARED else "v1")
    if version == "v1":
        grid, block, shared = (blocks_for(out.size),), THREADS, 0
    elif which == "grad_weight":
        grid, block = (-(-g.R * g.S * deep // 128), -(-wide // _FILTERS), g.groups), 128
    else:
        channels, height, width = (wide, g.P, g.Q) if which == "forward" else (deep, g.H, g.W)
        grid, block = (g.N * -(-height // _ROWS) * -(-width // _COLUMNS), -(-channels // _FILTERS), g.groups), 128
    backend.launch(f"conv_direct_{which}_{version}_{SUFFIX[out.dtype.name]}", grid, (block,), (*operands, out, conv_shape(g)), shared)
    return out


def shared_bytes(problem, which: str, itemsize: int) -> int:
    """Dynamic shared memory of v2: the pixels that a tile sees and the filters, ``_DEPTH`` channels of them."""
    g = problem
    reach = g.dilation[0] * (g.R - 1), g.dilation[1] * (g.S - 1)
    if which == "forward":
        spans = [(count - 1) * stride + far + 1 for count, stride, far in zip((_ROWS, _COLUMNS), g.stride, reach, strict=True)]
    else:
        spans = [(count - 1 + far) // stride + 2 for count, stride, far in zip((_ROWS, _COLUMNS), g.stride, reach, strict=True)]
    return (_DEPTH * spans[0] * spans[1] + g.R * g.S * _DEPTH * _FILTERS) * itemsize


@example("conv_direct")
def examples(backend, rng, size):
    """All passes, versions and types; large: two small layers (v2 alone: the loops are there to be read)."""
    chosen = cases.SMALL if size == "small" else {name: replace(cases.VGG[name], N=1) for name in ("conv1_2", "conv5")}
    for name, g in chosen.items():
        for dtype in DTYPES if name == "odd" else DTYPES[:1]:
            for version in ("v1", "v2") if size == "small" else ("v2",):
                for which, face in (("forward", forward), ("grad_input", grad_input), ("grad_weight", grad_weight)):
                    yield _example(backend, rng, g, dtype, version, which, face)


def _example(backend, rng, g, dtype, version, which, face):
    a, b, out = cases.operands(backend, rng, g, which, dtype)
    name = cases.MAKES[which]
    return Example(
        f"{which} {g}, {version}, {dtype}", lambda: {name: face(backend, g, a, b, out, version=version)},
        lambda: {name: cases.reference(g, which, backend.to_numpy(a), backend.to_numpy(b))}, cases.TOLERANCE[dtype],
        a.nbytes + b.nbytes + out.nbytes, g.operations, f"conv_direct_{which}_{version}_{SUFFIX[dtype]}",
    )  # fmt: skip
