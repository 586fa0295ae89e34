"""Two results beside the true one: errors, and units in the last place."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from ...array import parallel_for, ranges
from ...conv.errors import unit_roundoff

BLOCK = 1 << 18  # elements compared at a time: they stay in the cache
CANCELLED = 1e-6  # of the sum over absolute values: what is smaller is rounding
CLEAR = 1024.0  # ULPs are those of elements of at least 1/1024 of the largest: of smaller ones they say how much was cancelled, not how well


@dataclass(frozen=True)
class Gap:
    """What one array of A and B has to do with the truth t.

    Attributes:
        error_a, error_b: max |a − t| / max |t|, max |b − t| / max |t|; infinite for NaN or Inf where the truth has none.
        difference: max |a − b| / max |t|.
        ulps: largest |a − b| in units in the last place of t, over the elements with |t| ≥ max |t| / 1024.
        equal: share of elements of a and b that are equal.
        place: index of the largest difference.
        size: elements. largest: max |t|, by which errors are divided; the size of the numbers that were added up, if their sum cancels.
        cancels: the truth is 0 but for rounding, as the gradient of a bias in front of batch norm.
    """

    error_a: float
    error_b: float
    difference: float
    ulps: float
    equal: float
    place: tuple[int, ...]
    size: int
    largest: float
    cancels: bool = False

    def to_dict(self) -> dict:
        """The attributes."""
        return asdict(self)


def measure(truth: np.ndarray, a: np.ndarray, b: np.ndarray, dtype: str, scale: float = 0.0) -> Gap:
    """Compare.

    Args:
        truth: float64.
        a, b: of the same shape, of any floating types.
        dtype: the type whose units in the last place are counted.
        scale: largest sum over the absolute values of what was added up, where that is known.
    """
    if not truth.shape == a.shape == b.shape:
        raise ValueError(f"measure: shapes differ: truth {truth.shape}, a {a.shape}, b {b.shape}")
    order = sorted(range(truth.ndim), key=lambda axis: -abs(truth.strides[axis]))
    t, a, b = (np.atleast_1d(array.transpose(order)) for array in (truth, a, b))
    blocks = _blocks(t.shape)
    found: list = [None] * len(blocks)

    def largest(item):
        number, where = item
        found[number] = float(np.abs(t[where]).max(initial=0.0))

    parallel_for(largest, list(enumerate(blocks)))
    most = max(found, default=0.0)
    cancels = most < CANCELLED * scale
    most = (scale if cancels else most) or 1.0
    bits = 1 - round(math.log2(unit_roundoff(dtype))) - 1  # of the significand

    def compare(item):
        number, where = item
        right, left, other = (array[where].astype(np.float64) for array in (t, a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(left - other)
            same = int((left == other).sum()) + int((np.isnan(left) & np.isnan(other)).sum())
            left -= right
            other -= right
            errors = float(np.abs(left, out=left).max(initial=0.0)), float(np.abs(other, out=other).max(initial=0.0))
            place = int(np.argmax(apart)) if apart.size else 0
            difference = float(apart.flat[place]) if apart.size else 0.0
            np.abs(right, out=right)
            unit = np.ldexp(1.0, np.frexp(right)[1] - bits)  # of t = m · 2ᵉ with 1/2 ≤ m < 1
            apart /= unit
            ulps = float(apart[right >= max(most / CLEAR, np.finfo(np.float64).tiny)].max(initial=0.0))
        found[number] = *errors, difference, ulps, same, (where, place)

    parallel_for(compare, list(enumerate(blocks)))
    worst = max(found, key=lambda item: _finite(item[2]), default=(0.0,) * 5 + ((slice(None), 0),))
    sums = [max((_finite(item[i]) for item in found), default=0.0) for i in range(4)]
    where, flat = worst[5]
    size = truth.size
    return Gap(sums[0] / most, sums[1] / most, sums[2] / most, sums[3], sum(item[4] for item in found) / max(1, size),
               _index(t.shape, where, flat, order, truth.ndim), size, most, cancels)


def _finite(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _blocks(shape) -> list[tuple]:
    """Indices of pieces of about :data:`BLOCK` elements: some rows, or some rows of one image."""
    inner = math.prod(shape[1:])
    if len(shape) == 1 or inner <= BLOCK:
        return [(slice(*piece),) for piece in ranges(shape[0], max(1, BLOCK // max(1, inner)))]
    step = max(1, BLOCK // max(1, math.prod(shape[2:])))
    return [(slice(i, i + 1), slice(*piece)) for i in range(shape[0]) for piece in ranges(shape[1], step)]


def _index(shape, where, flat, order, ndim) -> tuple[int, ...]:
    if not math.prod(shape) or not ndim:
        return (0,) * ndim
    begins = [piece.start or 0 for piece in where] + [0] * (len(shape) - len(where))
    part = [len(range(*where[i].indices(n))) if i < len(where) else n for i, n in enumerate(shape)]
    inside = np.unravel_index(flat, part)
    moved = [int(i + begin) for i, begin in zip(inside, begins, strict=True)]
    return tuple(moved[order.index(axis)] for axis in range(ndim))
