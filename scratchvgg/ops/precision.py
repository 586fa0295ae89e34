"""Sums that lose little: 16-bit floats are added up in float32, long columns in blocks."""

from __future__ import annotations

from .common import check_tensor

_ROWS = 64  # added one after the other; above that, blocks of 64 and then their sums
_STRIP = 128  # rows that BLAS adds up
_FEW = 1 << 13  # numbers that are added up in float64 at once


def check_floating(name: str, input) -> None:
    """Raise unless ``input`` is a floating Tensor.

    Raises:
        TypeError: not a Tensor. NotImplementedError (a RuntimeError, as in torch): another element type.
    """
    check_tensor(name, "input", input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name}: not implemented for {input.dtype}; the input must be floating")


def widen(xp, x):
    """float16 and bfloat16 as float32 (for sums, exponentials and statistics); other types as they are."""
    return x.astype(xp.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x


def sum_rows(xp, a):
    """Σ over the first axis of ``a`` (M, C): blocks of 64 rows, then blocks of blocks, so the rounding error grows with log M.

    The order of addition depends on M only.
    """
    dtype, a = a.dtype, widen(xp, a)
    while a.shape[0] > _ROWS:
        whole = a.shape[0] // _ROWS * _ROWS
        blocks = a[:whole].reshape(-1, _ROWS, a.shape[1]).sum(1)
        a = xp.concatenate((blocks, a[whole:])) if whole < a.shape[0] else blocks
    return a.sum(0).astype(dtype, copy=False)


def column_sums(xp, a):
    """Σ over the first axis of ``a`` (M, C) in float64: strips of 128 rows in its own type (float32 at least), then the strips.

    A strip is a product with a row of ones: BLAS adds several times faster than ``sum`` along the first axis. Strips are too small for
    it to use threads, so their order is always the same.
    """
    if a.size <= _FEW:
        return widen(xp, a).sum(0, dtype=xp.float64)
    a = widen(xp, a)
    ones, whole = xp.ones(_STRIP, a.dtype), a.shape[0] // _STRIP * _STRIP
    strips = xp.matmul(ones, a[:whole].reshape(-1, _STRIP, a.shape[1])).sum(0, dtype=xp.float64)
    return strips + xp.matmul(ones[: a.shape[0] - whole], a[whole:]) if whole < a.shape[0] else strips
