"""Average pooling on a device: ``kernels/avg_pool.cu``. Arrays are (N, C, H, W), dense N, H, W, C in memory."""

from __future__ import annotations

import numpy as np

from .planes import entry_of, flat, over_rows, pixels, width
from .pool_shape import pool_shape


def avg_pool(backend, x, kernel, stride, padding, out, count_include_pad: bool = True, divisor: int = 0, version: str | None = None):
    """Mean over sliding windows.

    Args:
        x: (N, C, H, W).
        kernel, stride, padding: (vertical, horizontal).
        out: (P, Q), the number of windows.
        count_include_pad: padding counts in what a sum is divided by.
        divisor: divide by this instead, unless it is 0.
        version: "naive" or "vector"; None takes the fastest that can.

    Returns:
        (N, C, P, Q), channels last in memory.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    shape = pool_shape(*x.shape[:2], x.shape[2:], out, kernel, stride, padding)
    return pool_pass(backend, "avg_pool_forward", "x", x, out, (shape, np.int32(count_include_pad), np.int64(divisor)), version)


def avg_pool_backward(backend, g, size, kernel, stride, padding, count_include_pad: bool = True, divisor: int = 0, version: str | None = None):
    """The gradient (N, C, H, W) of the input from ``g`` (N, C, P, Q); ``size`` is (H, W), the rest as for :func:`avg_pool`."""
    shape = pool_shape(*g.shape[:2], size, g.shape[2:], kernel, stride, padding)
    return pool_pass(backend, "avg_pool_backward", "g", g, size, (shape, np.int32(count_include_pad), np.int64(divisor)), version)


def pool_pass(backend, name, argument, source, size, rest, version):
    """Launch ``name`` from (N, C, ·, ·) to a new array of planes of ``size``; ``rest`` are the arguments after the arrays."""
    pixels(argument, source)
    n, c = source.shape[:2]
    target = backend.empty((n, c, *size), source.dtype, "channels_last")
    v = width(backend, c, source, target)
    if version not in (None, "naive", "vector") or (version == "vector" and v == 1):
        raise ValueError(f"{name}: version {version!r} is not possible: it must be 'naive', or 'vector' for whole groups of channels")
    if target.size:
        naive = v == 1 or version == "naive"
        grid, block = flat(target.size) if naive else over_rows(c, v, n * size[0], size[1])
        backend.launch(entry_of(f"{name}{'_naive' if naive else ''}", source), grid, block, (source, target, *rest))
    return target
