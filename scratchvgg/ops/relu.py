"""ReLU: y = max(x, 0).

∂L/∂x = g where y > 0, else 0 (at x = 0 too, as everywhere). The output alone tells where, so only y is kept, and the
in-place form, which writes y over x, loses nothing that backward needs.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor


class ReLU(Op):
    """Keeps its output."""

    name = "relu"

    @staticmethod
    def forward(ctx, x, inplace=False):
        ctx.writes = inplace
        y = ctx.xp.maximum(x, 0, out=x if inplace else None)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return g * (y > 0)


@ops.register
def relu(input, inplace: bool = False):
    """max(input, 0), elementwise.

    Args:
        inplace: write the result over ``input`` and return it.
    """
    check_tensor("relu", "input", input)
    if inplace:
        return relu_(input)
    return ReLU.apply(input)


@ops.register
def relu_(input):
    """:func:`relu` in place."""
    input.check_writable("relu_")
    return input.adopt(ReLU.apply(input, inplace=True))
