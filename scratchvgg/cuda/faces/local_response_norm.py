"""Local response normalisation on a device: ``kernels/local_response_norm.cu``. (M, C) matrices of pixels and channels, contiguous."""

from __future__ import annotations

import numpy as np

from ..launch_size import THREADS
from .planes import ELEMENTWISE, check_same, entry_of, flat, lanes, width


def local_response_norm(backend, x, size: int, alpha: float, beta: float, k: float, version: str | None = None):
    """x · d^−β with d = k + (α / size) Σ x² over ``size`` channels around each.

    Args:
        x: (M, C), contiguous.
        version: "naive" or "vector" (at most 256 groups of channels); None takes the fastest that can.

    Returns:
        (M, C).

    Raises:
        ValueError, TypeError: for other arrays.
    """
    return _launch(backend, "forward", (x,), (size, alpha, beta, k), version)


def local_response_norm_backward(backend, x, g, size: int, alpha: float, beta: float, k: float, version: str | None = None):
    """The gradient of x (M, C) from that of the result, ``g``; the rest as for :func:`local_response_norm`."""
    check_same("g", g, x.shape, x.dtype)
    return _launch(backend, "backward", (x, g), (size, alpha, beta, k), version)


def _launch(backend, name, arrays, norm, version):
    for array in arrays:
        if array.ndim != 2 or not array.flags.c_contiguous:
            raise ValueError(f"local_response_norm: arrays must be contiguous (M, C), got shape {array.shape}, strides {array.strides}")
    (m, c), out = arrays[0].shape, backend.empty(arrays[0].shape, arrays[0].dtype)
    groups = c // lanes(out.dtype)
    fits = width(backend, c, *arrays, out) > 1 and groups <= THREADS
    if version not in (None, "naive", "vector") or (version == "vector" and not fits):
        raise ValueError(f"local_response_norm: version {version!r} is not possible for {c} channels of {out.dtype}")
    if out.size == 0:
        return out
    size, *numbers = norm
    arguments = *arrays, out, np.int32(size), *map(np.float64, numbers), np.int64(m), np.int32(c)
    if fits and version != "naive":
        height = min(THREADS // groups, m)
        grid, block = (min(-(-m // height), ELEMENTWISE),), (groups, height)
        backend.launch(entry_of(f"local_response_norm_{name}", out), grid, block, arguments)
    else:
        backend.launch(entry_of(f"local_response_norm_{name}_naive", out), *flat(out.size), arguments)
    return out
