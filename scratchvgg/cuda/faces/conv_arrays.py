"""The arrays of a convolution as kernels take them: NHWC and KRSC, dense, of one type, small enough for the kernels' indices."""

from __future__ import annotations

import numpy as np

from ..launch_size import SUFFIX

SMS = 132
"""Multiprocessors that launch rules reckon with: a constant, so that sums have the same order on every device."""
_MOST = 2**31 - 1


def check(problem, dtypes=tuple(SUFFIX), **arrays):
    """The common type of ``arrays``, by name x, dx, w, dw, y or dy.

    Args:
        dtypes: the names of the types there is a kernel for.

    Returns:
        The NumPy dtype.

    Raises:
        ValueError: for an array of another shape, one that is not dense, or a problem with more than 2³¹ − 1 pixels, or numbers in one image or
            filter bank.
        TypeError: for mixed types or one without a kernel.
    """
    g = problem
    sizes = {
        "pixels": g.N * max(g.H * g.W, g.P * g.Q), "numbers in an image": max(g.H * g.W * g.C, g.P * g.Q * g.K),
        "numbers in the filters": g.K * g.R * g.S * (g.C // g.groups),
    }
    for what, size in sizes.items():
        if size > _MOST:
            raise ValueError(f"{problem} has {size} {what}; the kernels count up to {_MOST}")
    shapes = {"x": (g.N, g.H, g.W, g.C), "w": (g.K, g.R, g.S, g.C // g.groups), "y": (g.N, g.P, g.Q, g.K)}
    dtype = next(iter(arrays.values())).dtype
    for name, array in arrays.items():
        check_array(name, array, shapes[name[-1]], dtype)
    if dtype.name not in dtypes:
        raise TypeError(f"{next(iter(arrays))} is {dtype.name}; there are kernels for {', '.join(dtypes)}")
    return dtype


def check_array(name, array, shape, dtype) -> None:
    """Raise unless ``array`` is dense, of that shape (ValueError) and type (TypeError)."""
    if array.shape != tuple(shape):
        raise ValueError(f"{name} has shape {array.shape}, expected {tuple(shape)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} of shape {array.shape} must be contiguous in memory, its strides are {array.strides}")
    if array.dtype != dtype:
        raise TypeError(f"{name} is {array.dtype.name}, expected {np.dtype(dtype).name}")


def aligned(backend, lanes: int, *arrays) -> bool:
    """Whether ``lanes`` neighbours can be one access (at most 16 bytes) at the start of each array."""
    return all(backend.address(a) % min(16, lanes * a.itemsize) == 0 for a in arrays)
