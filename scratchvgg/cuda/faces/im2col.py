"""Patches as the rows of a matrix, and back: ``kernels/im2col.cu``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..launch_size import SUFFIX, THREADS, accumulator, blocks_for
from ..registry import Example, example
from ..structs import conv_shape
from . import conv_examples as cases
from .conv_arrays import SMS, aligned, check, check_array

_WAVES = 16  # blocks for each multiprocessor: then a thread makes the rest of its rows without dividing


def im2col(backend, problem, x, columns, first: int = 0, pooling: bool = False, version: str | None = None):
    """Rows ``first`` and following of the column matrix of every group.

    Args:
        problem: see :func:`~scratchvgg.cuda.structs.conv_shape`.
        x: (N, H, W, C), contiguous.
        columns: (groups, rows, R·S·C / groups), contiguous, float32 (float64 for float64); overwritten. Row (n, p, q), column (r, s, c).
        pooling: rows in the order of 2×2 windows: row 4·i + j is pixel j of window i; odd last rows and columns of the output have none.
        version: "v1", "general" or "" (vectors of 16 bytes); by default the last that can.

    Returns:
        ``columns``.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types, or rows that are not there.
    """
    g = problem
    dtype, depth = check(g, x=x), g.R * g.S * (g.C // g.groups)
    rows = columns.shape[1] if columns.ndim == 3 else 0
    check_array("columns", columns, (g.groups, rows, depth), accumulator(dtype))
    total = g.N * (g.P // 2) * (g.Q // 2) * 4 if pooling else g.N * g.P * g.Q
    if not 0 <= first <= total - rows:
        raise ValueError(f"rows {first} to {first + rows - 1} were asked for; the column matrix has {total}")
    if columns.size:
        lanes = 16 // columns.itemsize
        if version is None:
            version = "" if g.C // g.groups % lanes == 0 and aligned(backend, lanes, x, columns) else "general"
        if version == "v1":
            grid, block = (blocks_for(columns.size),), (THREADS,)
        else:
            grid, block = _by_column(depth // (1 if version else lanes), rows, g.groups)
        name = "_".join(filter(None, ("im2col", version, SUFFIX[dtype.name])))
        backend.launch(name, grid, block, (x, columns, conv_shape(g), np.int64(first), np.int64(rows), np.int32(pooling)))
    return columns


def col2im(backend, problem, columns, dx, version: str | None = None):
    """dx[n, h, w, c] = the sum of every entry of the column matrix that im2col copies from there. Always in the same order.

    Args:
        columns: (groups, N·P·Q, R·S·C / groups), contiguous, float32 (float64 for a float64 ``dx``).
        dx: (N, H, W, C), contiguous; overwritten.
        version: "general" or "" (vectors of 16 bytes); by default the last that can.

    Returns:
        ``dx``.

    Raises:
        ValueError, TypeError: for arrays of other shapes or types.
    """
    g = problem
    dtype = check(g, dx=dx)
    check_array("columns", columns, (g.groups, g.N * g.P * g.Q, g.R * g.S * (g.C // g.groups)), accumulator(dtype))
    if dx.size:
        lanes = 16 // columns.itemsize
        if version is None:
            version = "" if g.C // g.groups % lanes == 0 and aligned(backend, lanes, dx, columns) else "general"
        grid, block = _by_column(g.C // (1 if version else lanes), g.N * g.H * g.W, 1)
        backend.launch("_".join(filter(None, ("col2im", version, SUFFIX[dtype.name]))), grid, block, (columns, dx, conv_shape(g)))
    return dx


def _by_column(across, rows, groups):
    """Grid and block of a matrix of ``rows`` lines and ``across`` vectors, whose threads walk down the lines."""
    width = min(THREADS, 1 << (across - 1).bit_length())
    height = THREADS // width
    columns = -(-across // width)
    return (columns, min(-(-rows // height), max(1, SMS * _WAVES // (columns * groups)), 65535), groups), (width, height)


@example("im2col")
def examples(backend, rng, size):
    """Every version and type; large: VGG-16's 3×3 layers, four images of them (the column matrix is nine times the image)."""
    if size == "large":
        for name, layer in cases.VGG.items():
            g = replace(layer, N=4)
            yield _unfold(backend, rng, g, "float32", None, f"{name}, ")
            yield _fold(backend, rng, g, "float32", None, f"{name}, ")
        return
    for g in cases.SMALL.values():
        for dtype in SUFFIX:
            vectors = [""] if g.C // g.groups % (2 if dtype == "float64" else 4) == 0 else []
            for version in ["v1", "general", *vectors]:
                yield _unfold(backend, rng, g, dtype, version)
            for version in ["general", *vectors]:
                yield _fold(backend, rng, g, dtype, version)


def _unfold(backend, rng, g, dtype, version, title=""):
    x = cases.random(backend, rng, g.shapes["x"], dtype)
    out = backend.empty((g.groups, g.N * g.P * g.Q, g.depth), accumulator(x.dtype))
    return Example(
        f"im2col {title}{g}, {version or 'vector'}, {dtype}", lambda: {"columns": im2col(backend, g, x, out, version=version)},
        lambda: {"columns": cases.columns(g, backend.to_numpy(x))}, 1e-15, x.nbytes + out.nbytes, 0, f"im2col_{SUFFIX[dtype]}",
    )  # fmt: skip


def _fold(backend, rng, g, dtype, version, title=""):
    columns = cases.random(backend, rng, (g.groups, g.N * g.P * g.Q, g.depth), accumulator(cases.dtype_of(dtype)).name)
    out = backend.empty(g.shapes["x"], dtype)
    return Example(
        f"col2im {title}{g}, {version or 'vector'}, {dtype}", lambda: {"dx": col2im(backend, g, columns, out, version=version)},
        lambda: {"dx": cases.scattered(g, np.asarray(backend.to_numpy(columns), np.float64))}, cases.TOLERANCE[dtype],
        columns.nbytes + out.nbytes, columns.size, f"col2im_{SUFFIX[dtype]}",
    )  # fmt: skip
