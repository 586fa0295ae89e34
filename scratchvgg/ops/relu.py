"""ReLU: y = max(x, 0).

∂L/∂x = g where y > 0, else 0 (at x = 0 too, as everywhere). The output alone tells where, so only y is kept, and the
in-place form, which writes y over x, loses nothing that backward needs.
"""

from __future__ import annotations

from ..array import parallel_for, ranges
from ..autograd import Op, ops
from ..conv.epilogue import rectify
from .common import check_tensor
from .masked import masked

_TILE = 1 << 18  # elements: on smaller tiles threads wait for the interpreter's lock


class ReLU(Op):
    """Keeps its output."""

    name = "relu"

    @staticmethod
    def forward(ctx, x, inplace=False):
        ctx.writes = inplace
        y = x if inplace else ctx.xp.empty_like(x)
        source, target = x.ravel("K"), y.ravel("K")
        if x.strides != y.strides or not ctx.xp.may_share_memory(y, target):  # gaps: "K" would walk the two in different orders, or copy
            source, target = x, y
        _over_tiles(lambda where: rectify(ctx.xp, source[where], target[where]), source)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        xp, (y,) = ctx.xp, ctx.saved
        if y.dtype.kind != "f":
            return xp.where(y > 0, g, 0)
        gx = xp.empty_like(g)
        _over_tiles(lambda where: masked(xp, g[where], y[where] > 0, gx[where]), g)
        return gx


def _over_tiles(task, array):
    """``task(slice)`` for pieces of the first dimension, on the pool; everything at once for small arrays."""
    if array.size <= 2 * _TILE:
        task(...)
    else:
        step = _TILE * len(array) // array.size
        parallel_for(lambda piece: task(slice(*piece)), ranges(len(array), step))


@ops.register
def relu(input, inplace: bool = False):
    """max(input, 0), elementwise.

    Args:
        inplace: write the result over ``input`` and return it.

    Raises:
        RuntimeError: for bool input.
    """
    check_tensor("relu", "input", input)
    if input.dtype.name == "bool":
        raise RuntimeError("relu: bool input is not supported")
    if inplace:
        return relu_(input)
    return ReLU.apply(input)


@ops.register
def relu_(input):
    """:func:`relu` in place."""
    input.check_writable("relu_")
    return input.adopt(ReLU.apply(input, inplace=True))
