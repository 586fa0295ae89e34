"""Memory layouts: the same values behind other strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How to lay an array out in memory, and from how many dimensions on that differs from ``contiguous``."""

    arrange: Callable
    dimensions: int = 0


def _contiguous(xp, a):
    return a.copy()


def _channels_last(xp, a):
    """Dimension 1 last in memory; a matrix is transposed."""
    return xp.moveaxis(xp.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 2 else a.copy("F")


def _strided(xp, a):
    """Every second element of a larger array, whose other elements are poison: NaN, or an integer that no index may be."""
    poison = xp.nan if a.dtype.kind == "f" else a.dtype.kind == "b" or np.iinfo(a.dtype).max
    held = xp.full([2 * n + 1 for n in a.shape], poison, a.dtype)
    view = held[(slice(1, None, 2),) * a.ndim] if a.ndim else held.reshape(())
    view[...] = a
    return view


def _reversed(xp, a):
    """Negative strides in every dimension."""
    return xp.flip(xp.flip(a).copy())


LAYOUTS = {
    "contiguous": Layout(_contiguous),
    "channels_last": Layout(_channels_last, 2),
    "strided": Layout(_strided, 1),
    "reversed": Layout(_reversed, 1),
}
