"""Adaptive average pooling: output (i, j) is the mean of rows ⌊iH/P⌋ … ⌈(i+1)H/P⌉ and columns alike.

P = Q = 1 is global pooling; an output larger than the input repeats elements (VGG's head on a small image). Means of rows are taken
first, then of columns; backward is the same two steps transposed.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .precision import check_floating, widen
from .windows import adaptive_ranges, batched, check_planes, layout_of, output_pair


class AdaptiveAvgPool2d(Op):
    """Keeps only shapes."""

    name = "adaptive_avg_pool2d"

    @staticmethod
    def forward(ctx, x, size):
        ctx.shape, x4 = x.shape, widen(ctx.xp, batched(x))
        ctx.layout = layout_of(x4)
        y = _means(ctx, _means(ctx, x4, 2, size[0]), 3, size[1]).astype(x.dtype, copy=False)
        return y[0] if x.ndim == 3 else y

    @staticmethod
    def backward(ctx, g):
        *_, h, w = ctx.shape
        gx = _spread(ctx, _spread(ctx, widen(ctx.xp, batched(g)), 3, w), 2, h)
        return gx.reshape(ctx.shape).astype(g.dtype, copy=False), None


def _at(axis, start, stop):
    return (slice(None),) * axis + (slice(start, stop),)


def _means(ctx, x, axis, out):
    """Means over the ranges of one axis."""
    y = ctx.backend.empty((*x.shape[:axis], out, *x.shape[axis + 1 :]), x.dtype, ctx.layout)
    for i, (start, stop) in enumerate(adaptive_ranges(x.shape[axis], out)):
        ctx.xp.mean(x[_at(axis, start, stop)], axis=axis, keepdims=True, out=y[_at(axis, i, i + 1)])
    return y


def _spread(ctx, g, axis, size):
    """The transpose of :func:`_means`: g of every range divided by its length, added to the range."""
    gx = ctx.backend.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]), g.dtype, ctx.layout)
    for i, (start, stop) in enumerate(adaptive_ranges(size, g.shape[axis])):
        gx[_at(axis, start, stop)] += g[_at(axis, i, i + 1)] / (stop - start)
    return gx


@ops.register
def adaptive_avg_pool2d(input, output_size):
    """Mean over P × Q ranges that cover the input evenly.

    Args:
        input: (N, C, H, W) or (C, H, W); N may be 0.
        output_size: P or (P, Q); None in a place keeps that size.

    Returns:
        (N, C, P, Q).

    Raises:
        RuntimeError: for other shapes. NotImplementedError: integer input.
    """
    check_planes("adaptive_avg_pool2d", input)
    check_floating("adaptive_avg_pool2d", input)
    return AdaptiveAvgPool2d.apply(input, output_pair("adaptive_avg_pool2d", input, output_size))
