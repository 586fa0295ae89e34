"""Batch normalisation on a device: ``kernels/batch_norm.cu``. Arrays are (M, C), contiguous, or (N, C, H, W), dense N, H, W, C in memory.

Training never asks the host for anything: the statistics, what is made of them and the running statistics stay on the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..launch_size import NULL, SUFFIX, accumulator
from .planes import check_channels, check_same, entry_of, flat, over_channels, over_lines, over_rows, width
from .planes import version as version_of


class Line(NamedTuple):
    """What a channel needs, made by :func:`batch_statistics` or :func:`running_statistics`.

    Attributes:
        line: (3, C) of the type that sums are kept in: centre, scale, shift of y = (x − centre) · scale + shift.
        kept: (2, C) float64: mean − centre and 1 / √(variance + eps).
    """

    line: Any
    kept: Any


def batch_statistics(
    backend, x, eps: float, weight=None, bias=None, running_mean=None, running_var=None, momentum: float = 0.1, version: str | None = None
) -> Line:
    """The :class:`Line` of the batch ``x`` (M, C); the running statistics move by ``momentum`` (the variance unbiased).

    Args:
        weight, bias, running_mean, running_var: (C,) of the type that sums are kept in, contiguous, or None.
        version: "naive", "scalar" or "vector"; None takes the fastest that can.

    Raises:
        ValueError, TypeError: for other arrays, or no pixels.
    """
    m, c = _check_matrix("x", x)
    if m == 0:
        raise ValueError(f"x must have at least one pixel, got shape {x.shape}")
    for name, vector in (("weight", weight), ("bias", bias), ("running_mean", running_mean), ("running_var", running_var)):
        check_channels(name, vector, c, x.dtype)
    if version == "naive":
        middle, (grid, block) = "_naive", ((-(-c // 32), 1), (32,))
    else:
        v, middle = _version(version, width(backend, c, x))
        grid, block = over_lines(c, v, m, summing=True)
    lines = grid[1]
    partial = backend.workspace("batch_norm.partial", (3, lines, c), "float64")
    backend.launch(entry_of(f"batch_norm_statistics{middle}", x), grid, block, (x, partial, np.int64(m), np.int32(c)))
    out = _new_line(backend, c, x.dtype)
    vectors = map(_or_nothing, (weight, bias, running_mean, running_var))
    arguments = partial, np.int32(lines), np.float64(eps), np.float64(momentum), *vectors, *out, np.int32(c)
    backend.launch(f"batch_norm_finish_{_wide_suffix(x)}", *over_channels(c), arguments)
    return out


def running_statistics(backend, mean, var, eps: float, dtype, weight=None, bias=None) -> Line:
    """The :class:`Line` of evaluation on inputs of ``dtype``; vectors as for :func:`batch_statistics`."""
    (c,) = mean.shape
    for name, vector in (("mean", mean), ("var", var), ("weight", weight), ("bias", bias)):
        check_channels(name, vector, c, np.dtype(dtype))
    out = _new_line(backend, c, np.dtype(dtype))
    arguments = mean, var, np.float64(eps), _or_nothing(weight), _or_nothing(bias), *out, np.int32(c)
    backend.launch(f"batch_norm_prepare_{SUFFIX[mean.dtype.name]}", *flat(c), arguments)
    return out


def normalise(backend, x, line: Line, relu: bool = False, version: str | None = None):
    """(x − centre) · scale + shift of ``x`` (M, C), and max(·, 0) if ``relu``. Returns (M, C)."""
    m, c = _check_matrix("x", x)
    y = backend.empty(x.shape, x.dtype)
    if x.size:
        v, middle = _version(version, width(backend, c, x, y))
        arguments = x, line.line, y, np.int32(relu), np.int64(m), np.int32(c)
        backend.launch(entry_of(f"batch_norm_apply{middle}", x), *over_lines(c, v, m), arguments)
    return y


def normalise_pool(backend, x, line: Line, winners: bool = True, version: str | None = None):
    """The maximum of every 2 × 2 pixels of the normalised and rectified ``x`` (N, H, W, C).

    Returns:
        (y, winners): (N, ⌊H / 2⌋, ⌊W / 2⌋, C) and uint8 for backward, packed as in ``bias_relu_pool``, or None.
    """
    n, h, w, c = _check_pixels("x", x)
    y = backend.empty((n, h // 2, w // 2, c), x.dtype)
    v, middle = _version(version, width(backend, c, x, y))
    places = backend.empty((n, h // 2, w // 2, c // 4 if v > 1 else c), "uint8") if winners else None
    if y.size:
        arguments = x, line.line, y, _or_nothing(places), *map(np.int32, (n, h, w, c))
        backend.launch(entry_of(f"batch_norm_apply_pool{middle}", x), *over_rows(c, v, n * (h // 2), w // 2), arguments)
    return y, places


def batch_norm_backward(backend, x, g, line: Line, weight, training: bool, relu: bool = False, needs_x: bool = True, version: str | None = None):
    """(∂L/∂x, ∂L/∂weight, ∂L/∂bias) from the gradient ``g`` of :func:`normalise`'s result.

    Args:
        x, g: (M, C).
        weight: (C,) of the type that sums are kept in, or None.
        training: the statistics came from this batch.

    Returns:
        (M, C), or None unless ``needs_x``; (C,) and (C,) of the type that sums are kept in.
    """
    m, c = _check_matrix("x", x)
    _check_matrix("g", g)
    check_same("g", g, x.shape, x.dtype)
    v, middle = _version(version, width(backend, c, x, g))
    grid, block = over_lines(c, v, m, summing=True)
    partial = _partial(backend, grid, c)
    lengths = np.int64(m), np.int32(c)
    backend.launch(entry_of(f"batch_norm_sums{middle}", x), grid, block, (x, g, line.line, partial, np.int32(relu), *lengths))
    slopes, gw, gb = _finish_backward(backend, partial, x, m, training, weight, line)
    gx = None
    if needs_x:
        gx = backend.empty(x.shape, x.dtype)
        arguments = x, g, line.line, slopes, gx, np.int32(relu), np.int32(training), *lengths
        backend.launch(entry_of(f"batch_norm_gradient{middle}", x), *over_lines(c, v, m), arguments)
    return gx, gw, gb


def batch_norm_pool_backward(backend, x, g, winners, line: Line, weight, training: bool, needs_x: bool = True, version: str | None = None):
    """As :func:`batch_norm_backward` for :func:`normalise_pool`: x (N, H, W, C), g (N, ⌊H / 2⌋, ⌊W / 2⌋, C), and its winners."""
    n, h, w, c = _check_pixels("x", x)
    _check_pixels("g", g)
    check_same("g", g, (n, h // 2, w // 2, c), x.dtype)
    v, middle = _version(version, width(backend, c, x, g) if winners.shape[-1] != c else 1)
    check_same("winners", winners, (n, h // 2, w // 2, c // 4 if v > 1 else c), np.uint8)
    grid, block = over_rows(c, v, n * (h // 2), w // 2, summing=True)
    partial, sizes = _partial(backend, grid, c), tuple(map(np.int32, (n, h, w, c)))
    backend.launch(entry_of(f"batch_norm_sums_pool{middle}", x), grid, block, (x, g, winners, line.line, partial, *sizes))
    slopes, gw, gb = _finish_backward(backend, partial, x, n * h * w, training, weight, line)
    gx = None
    if needs_x:
        gx = backend.empty(x.shape, x.dtype)
        arguments = x, g, winners, line.line, slopes, gx, np.int32(training), *sizes
        backend.launch(entry_of(f"batch_norm_gradient_pool{middle}", x), *over_rows(c, v, n * -(-h // 2), -(-w // 2)), arguments)
    return gx, gw, gb


def _finish_backward(backend, partial, x, pixels, training, weight, line):
    _, lines, c = partial.shape
    check_channels("weight", weight, c, x.dtype)
    kind = accumulator(x.dtype)
    slopes, gw, gb = backend.empty((3, c), kind), backend.empty((c,), kind), backend.empty((c,), kind)
    arguments = partial, np.int32(lines), np.int64(pixels), np.int32(training), _or_nothing(weight), line.kept, slopes, gw, gb, np.int32(c)
    backend.launch(f"batch_norm_finish_backward_{_wide_suffix(x)}", *over_channels(c), arguments)
    return slopes, gw, gb


def _partial(backend, grid, c):
    return backend.workspace("batch_norm.partial", (2, grid[1], c), "float64")


def _new_line(backend, c, dtype):
    return Line(backend.empty((3, c), accumulator(dtype)), backend.empty((2, c), "float64"))


def _wide_suffix(x):
    return SUFFIX[accumulator(x.dtype).name]


def _check_matrix(name, x):
    if x.ndim != 2 or not x.flags.c_contiguous:
        raise ValueError(f"{name} must be (M, C), contiguous, got shape {x.shape}, strides {x.strides}")
    return x.shape


def _check_pixels(name, x):
    if x.ndim != 4 or not x.flags.c_contiguous:
        raise ValueError(f"{name} must be (N, H, W, C), contiguous, got shape {x.shape}, strides {x.strides}")
    return x.shape


def _version(asked, v):
    middle = version_of(asked, v)
    return 1 if middle else v, middle


def _or_nothing(array):
    return NULL if array is None else array
