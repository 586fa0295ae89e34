"""Adaptive max pooling: output (i, j) is the maximum of rows ⌊iH/P⌋ … ⌈(i+1)H/P⌉ and columns alike; the first of equal values wins.

Offset (r, s) of every range is one gather of rows and columns; a range shorter than the longest repeats its last element, which can
neither change the maximum nor win. Backward sends g to the winners, which may belong to several outputs.
"""

from __future__ import annotations

import math

from ..autograd import Op, ops
from .precision import check_floating
from .windows import adaptive_ranges, batched, check_planes, output_pair


class AdaptiveMaxPool2d(Op):
    """Keeps the winners' positions in the H × W plane."""

    name = "adaptive_max_pool2d"

    @staticmethod
    def forward(ctx, x, size, return_indices=False):
        xp, ctx.shape = ctx.xp, x.shape
        x4 = batched(x)
        rows, columns = (_positions(xp, n, out) for n, out in zip(x.shape[-2:], size, strict=True))
        y = indices = None
        for row in rows:
            for column in columns:
                value = x4[:, :, row[:, None], column]
                place = row[:, None] * x.shape[-1] + column
                if y is None:
                    y, indices = value, xp.broadcast_to(place, value.shape).copy()
                    continue
                better = (value > y) | (value != value)
                xp.copyto(y, value, where=better)
                xp.copyto(indices, place, where=better)
        if x.ndim == 3:
            y, indices = y[0], indices[0]
        ctx.indices = indices
        return (y, indices) if return_indices else y

    @staticmethod
    def backward(ctx, g, *_):
        xp, (*lead, h, w) = ctx.xp, ctx.shape
        planes = math.prod(lead)
        flat = ctx.indices.reshape(planes, math.prod(g.shape[-2:])) + (xp.arange(planes) * (h * w))[:, None]
        gx = xp.bincount(flat.reshape(-1), g.reshape(-1), planes * h * w)
        return gx.astype(g.dtype).reshape(ctx.shape), None


def _positions(xp, size, out):
    """One row per offset: the position that offset has in each of the ``out`` ranges."""
    pieces = adaptive_ranges(size, out)
    longest = max((stop - start for start, stop in pieces), default=1)
    return xp.array([[min(start + k, stop - 1) for start, stop in pieces] for k in range(longest)], xp.int64).reshape(longest, out)


@ops.register
def adaptive_max_pool2d(input, output_size, return_indices: bool = False):
    """Maximum over P × Q ranges that cover the input evenly.

    Args:
        input: (N, C, H, W) or (C, H, W); N may be 0.
        output_size: P or (P, Q); None in a place keeps that size.
        return_indices: also return the int64 positions of the maxima in their H × W plane.

    Returns:
        (N, C, P, Q), or the pair (output, indices).

    Raises:
        RuntimeError: for other shapes. NotImplementedError: integer input.
    """
    check_planes("adaptive_max_pool2d", input)
    check_floating("adaptive_max_pool2d", input)
    size = output_pair("adaptive_max_pool2d", input, output_size)
    return AdaptiveMaxPool2d.apply(input, size, return_indices=return_indices)
