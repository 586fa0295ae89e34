"""Products of a thin matrix, a batch of few rows, with a large one, a weight: the time is that of reading (or writing) the weight once.

BLAS packs its operands before it multiplies, which for few rows costs several times the product itself; but it does small products
straight from memory (see ``conv.blocks.small_product``). So the weight is cut into blocks that make small products, on the pool of
threads. The cutting depends on the shapes only. Measured for a (4096, 25088) weight and 8 rows, float32, in milliseconds of one core:
forward 39 instead of 91, gradient of the input 55 instead of 58, of the weight 50 instead of 75.

Legend: n rows of the thin matrix, F × K the weight.
"""

from __future__ import annotations

from ..array import parallel_for, ranges
from ..conv.blocks import small_product

_MOST = 32  # rows; with more, packing pays for itself
_LEAST, _TALL = 4, 32  # rows of the weight in a block, at least; in a block that adds to sums
_DEEP = 8192  # products added up one after the other, at most: a small product is one running sum
_TILE = 1 << 17  # numbers of a result that one task writes
_WORK = 1 << 24  # multiplications below which all this does not matter


def times_transposed(xp, a, w):
    """a (n, K) · wᵀ, w (F, K) → (n, F)."""
    n, k = a.shape
    if not _thin(xp, n, w):
        return xp.matmul(a, w.T)
    out = xp.empty((n, len(w)), a.dtype)
    deep = min(_DEEP, small_product() // (n * _LEAST))
    deep = -(-k // -(-k // deep))  # even pieces of the sums

    def block(rows):
        where = slice(*rows)
        total = xp.matmul(a[:, :deep], w[where, :deep].T)
        for first, last in ranges(k, deep)[1:]:
            total += xp.matmul(a[:, first:last], w[where, first:last].T)
        out[:, where] = total

    parallel_for(block, ranges(len(w), small_product() // (n * deep)))
    return out


def times(xp, a, w):
    """a (n, F) · w (F, K) → (n, K)."""
    n, k = len(a), w.shape[1]
    if not _thin(xp, n, w):
        return xp.matmul(a, w)
    out = xp.empty((n, k), a.dtype)
    wide = -(-k // -(-k * n * _TALL // small_product()))  # even blocks of columns
    first, *rest = ranges(len(w), small_product() // (n * wide))

    def block(columns):
        where = slice(*columns)
        total = xp.matmul(a[:, slice(*first)], w[slice(*first), where])
        for rows in rest:
            total += xp.matmul(a[:, slice(*rows)], w[slice(*rows), where])
        out[:, where] = total

    parallel_for(block, ranges(k, wide))
    return out


def transposed_times(xp, a, b):
    """aᵀ · b for a (n, F) and b (n, K) → (F, K)."""
    n, k = b.shape
    out = xp.empty((a.shape[1], k), a.dtype)
    if n == 1 and out.size >= _WORK:  # nothing to add up
        parallel_for(lambda rows: xp.multiply(a[0, slice(*rows), None], b, out=out[slice(*rows)]), ranges(len(out), max(1, _TILE // k)))
        return out
    if not _thin(xp, n, out) or n * k * _LEAST > small_product():
        return xp.matmul(a.T, b, out=out)
    parallel_for(lambda rows: xp.matmul(a[:, slice(*rows)].T, b, out=out[slice(*rows)]), ranges(len(out), small_product() // (n * k)))
    return out


def _thin(xp, n, w):
    """Many small products beat a large one."""
    return 1 < n <= _MOST and w.dtype == xp.float32 and n * w.size >= _WORK and small_product() > 0
