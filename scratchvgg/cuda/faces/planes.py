"""How kernels over NHWC arrays are launched (``kernels/planes.cuh``): which threads take which channels and pixels, and what arrays must be.

Arrays are (N, C, H, W) in Python and dense N, H, W, C in memory. A thread takes :func:`lanes` neighbouring channels where C is a multiple of
that and every array begins at a multiple of 16 bytes, else one (the scalar versions).
"""

from __future__ import annotations

import numpy as np

from ..launch_size import THREADS, accumulator, suffix

ELEMENTWISE, SUMMING = 16384, 1024  # blocks: those that only stream, and those that each leave a line of sums
_ROWS = 65535  # the largest grid along y
_RUN = 8  # lines a summing thread should have at least
_FINISH = (8, 32)  # channels and lines at a time, of a block that adds up what the others left


def entry_of(name: str, array) -> str:
    """The kernel ``name`` for the type of ``array``.

    Raises:
        TypeError: for a type that kernels do not take.
    """
    return f"{name}_{suffix(name, array)}"


def lanes(dtype) -> int:
    """Channels of a thread: 16 bytes, but never fewer than four."""
    return 8 if dtype.itemsize == 2 else 4


def pixels(name: str, array):
    """(N, C, H, W) as it lies in memory, (N, H, W, C).

    Raises:
        ValueError: if it does not lie so, densely.
    """
    if array.ndim != 4 or not array.transpose(0, 2, 3, 1).flags.c_contiguous:
        raise ValueError(f"{name} must be (N, C, H, W), dense N, H, W, C in memory; got shape {array.shape}, strides {array.strides}")
    return array.transpose(0, 2, 3, 1)


def channels_last(backend, array):
    """``array`` (N, C, ...) as the kernels want it: dense, channels last, at a multiple of 16 bytes. Copied only if it must be."""
    order = (0, *range(2, array.ndim), 1)
    lying = array.transpose(order)
    if lying.flags.c_contiguous and backend.address(array) % 16 == 0:
        return array
    copy = backend.empty(lying.shape, array.dtype)
    copy[...] = lying
    return backend.xp.moveaxis(copy, -1, 1)


def width(backend, channels: int, *arrays) -> int:
    """How many channels a thread can take of these arrays: :func:`lanes` or 1."""
    v = lanes(arrays[0].dtype)
    return v if channels % v == 0 and all(a is None or backend.address(a) % 16 == 0 for a in arrays) else 1


def version(asked: str | None, v: int) -> str:
    """The middle of a kernel's name, "" or "_scalar"; what was asked for, "vector" or "scalar", if it can be.

    Raises:
        ValueError: if it cannot.
    """
    if asked not in (None, "vector", "scalar") or (asked == "vector" and v == 1):
        raise ValueError(f"version {asked!r} is not possible: it must be 'scalar', or 'vector' for whole groups of channels at multiples of 16 bytes")
    return "" if v > 1 and asked != "scalar" else "_scalar"


def check_channels(name: str, vector, channels: int, dtype) -> None:
    """Raise ValueError unless ``vector`` is None or (C,) of the type that sums are kept in, contiguous."""
    if vector is not None and (vector.shape != (channels,) or vector.dtype != accumulator(dtype) or not vector.flags.c_contiguous):
        raise ValueError(f"{name} must be contiguous {accumulator(dtype)} of shape ({channels},), got {vector.dtype} {vector.shape}")


def check_same(name: str, array, shape, dtype) -> None:
    """Raise ValueError unless ``array`` has this shape and type."""
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype:
        raise ValueError(f"{name} must be {np.dtype(dtype)} of shape {tuple(shape)}, got {array.dtype} {tuple(array.shape)}")


def flat(total: int) -> tuple[tuple[int], tuple[int]]:
    """(grid, block) for ``total`` elements or vectors one after the other."""
    return (max(1, min(-(-total // THREADS), ELEMENTWISE)),), (THREADS if total >= THREADS else _power_of_two(total),)


def over_lines(channels: int, v: int, lines: int, summing: bool = False):
    """(grid, block) of a kernel that walks the lines of an (M, C) matrix; with ``summing``, few blocks, which depend on the shape only."""
    x, tiles = _across(channels, v)
    y = min(THREADS // x, _power_of_two(lines))
    blocks = -(-lines // (y * _RUN)) if summing else -(-lines // y)
    return (tiles, max(1, min(blocks, (SUMMING if summing else ELEMENTWISE) // tiles))), (x, y)


def over_rows(channels: int, v: int, rows: int, columns: int, summing: bool = False):
    """(grid, block) of a kernel that walks rows of pixels (or windows), ``columns`` in each."""
    x, tiles = _across(channels, v)
    return (tiles, max(1, min(rows, SUMMING // tiles if summing else _ROWS))), (x, min(THREADS // x, _power_of_two(columns)))


def over_channels(channels: int):
    """(grid, block) of a kernel that puts the lines of sums together."""
    return (-(-channels // _FINISH[0]),), _FINISH


def _across(channels, v):
    groups = -(-channels // v)
    x = min(32, _power_of_two(groups))
    return x, -(-groups // x)


def _power_of_two(n):
    """The smallest power of two that is at least ``n``."""
    return 1 << max(0, n - 1).bit_length()
