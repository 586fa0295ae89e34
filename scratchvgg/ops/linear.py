"""Fully connected layer: y = x Wᵀ + b with x (…, K), W (F, K), b (F,).

With g = ∂L/∂y and the leading dimensions of x, g flattened to rows:  ∂L/∂x = g W ·  ∂L/∂W = gᵀ x ·  ∂L/∂b = Σ rows of g.
"""

from __future__ import annotations

import math

from ..autograd import Op, ops, unifies
from .common import check_tensor, sum_to
from .precision import sum_rows, widen
from .thin import times, times_transposed, transposed_times


class Linear(Op):
    """Keeps x if W needs a gradient, W if x does."""

    name = "linear"

    @staticmethod
    def forward(ctx, x, weight, bias=None):
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        ctx.shape = x.shape
        ctx.save(x=x if needs_weight else None, weight=weight if needs_x else None)
        y = times_transposed(ctx.xp, widen(ctx.xp, _rows(x)), widen(ctx.xp, weight))
        if bias is not None:
            ctx.bias_shape = bias.shape
            y += bias
        y = y.astype(x.dtype, copy=False)
        return y.reshape(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved
        g = _rows(g)
        gx = None if weight is None else _product(times, ctx.xp, g, weight).reshape(ctx.shape)
        gw = None if x is None else _product(transposed_times, ctx.xp, g, _rows(x))
        if len(ctx.needs_input_grad) == 2:
            return gx, gw
        return gx, gw, sum_to(ctx.xp, sum_rows(ctx.xp, g), ctx.bias_shape) if ctx.needs_input_grad[2] else None


def _rows(x):
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _product(multiply, xp, a, b):
    """float16 is multiplied in float32 and rounded once."""
    return multiply(xp, widen(xp, a), widen(xp, b)).astype(a.dtype, copy=False)


@ops.register
def linear(input, weight, bias=None):
    """``input @ weight.T + bias``.

    Args:
        input: (…, in_features), any number of leading dimensions.
        weight: (out_features, in_features), or (in_features,) for one output without its dimension (and without bias).
        bias: (out_features,), one number for all, or None.

    Returns:
        (…, out_features).

    Raises:
        RuntimeError: for shapes that do not fit or different element types.
    """
    for argument, value in (("input", input), ("weight", weight)) + ((("bias", bias),) if bias is not None else ()):
        check_tensor("linear", argument, value)
        if value.dtype is not input.dtype and not unifies("linear", input, weight, bias):
            raise RuntimeError(f"linear: expected one element type, got input {input.dtype} and {argument} {value.dtype}")
    if weight.ndim == 1 and bias is None:
        return linear(input, weight.unsqueeze(0)).squeeze(-1)
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"linear: input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} cannot be multiplied: "
            "expected (..., in_features) and (out_features, in_features)"
        )
    if bias is None:
        return Linear.apply(input, weight)
    if tuple(bias.shape) not in ((weight.shape[0],), (1,), ()):
        raise RuntimeError(f"linear: bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    return Linear.apply(input, weight, bias)
