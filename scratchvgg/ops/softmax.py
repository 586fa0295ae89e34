"""softmax and its logarithm along one dimension, with the maximum taken off first so that exp cannot overflow.

softmax: y = eˣ / Σeˣ,       ∂L/∂x = y (g − Σ g y)
log_softmax: y = x − ln Σeˣ,  ∂L/∂x = g − eʸ Σ g
"""

from __future__ import annotations

import warnings

from ..autograd import Op, ops
from .common import check_tensor, normalize_dim
from .precision import check_floating, widen


class Softmax(Op):
    """Keeps its output."""

    name = "softmax"

    @staticmethod
    def forward(ctx, x, dim):
        xp, ctx.dim = ctx.xp, dim
        y = xp.exp(_shifted(xp, widen(xp, x), dim))
        y /= y.sum(dim, keepdims=True)
        y = y.astype(x.dtype, copy=False)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        wide = widen(ctx.xp, g)
        gx = wide * y
        gx = (wide - gx.sum(ctx.dim, keepdims=True)) * y
        return gx.astype(g.dtype, copy=False), None


class LogSoftmax(Op):
    """Keeps its output."""

    name = "log_softmax"

    @staticmethod
    def forward(ctx, x, dim):
        xp, ctx.dim = ctx.xp, dim
        y = log_softmax_array(xp, widen(xp, x), dim).astype(x.dtype, copy=False)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        wide = widen(ctx.xp, g)
        gx = ctx.xp.exp(widen(ctx.xp, y))
        gx *= wide.sum(ctx.dim, keepdims=True)
        return (wide - gx).astype(g.dtype, copy=False), None


def _shifted(xp, x, dim):
    """x minus its maximum along ``dim`` (a 0-dimensional or empty x too)."""
    return x - (x.max(dim, keepdims=True) if x.size and x.ndim else x)


def log_softmax_array(xp, x, dim):
    """log softmax of a plain array."""
    y = _shifted(xp, x, dim)
    y -= xp.log(xp.exp(y).sum(dim, keepdims=True))
    return y


def _prepare(name, input, dim, dtype):
    check_tensor(name, "input", input)
    if dim is None:
        dim = 0 if input.ndim in (0, 1, 3) else 1
        warnings.warn(f"{name}: implicit dimension choice, dim={dim}; pass dim", UserWarning, stacklevel=3)
    if dtype is not None:
        input = ops.to(input, dtype)
    check_floating(name, input)
    return input, normalize_dim(name, dim, input.ndim)


@ops.register
def softmax(input, dim=None, dtype=None):
    """exp(input) / sum of exp(input) along ``dim``.

    Args:
        dim: the dimension whose elements become a distribution.
        dtype: cast the input to this first.

    Raises:
        IndexError: ``dim`` out of range. NotImplementedError: integer input without ``dtype``.
    """
    return Softmax.apply(*_prepare("softmax", input, dim, dtype))


@ops.register
def log_softmax(input, dim=None, dtype=None):
    """log(softmax(input, dim)), computed without forming the quotient.

    Args:
        dim: the dimension whose elements become a distribution.
        dtype: cast the input to this first.

    Raises:
        IndexError: ``dim`` out of range. NotImplementedError: integer input without ``dtype``.
    """
    return LogSoftmax.apply(*_prepare("log_softmax", input, dim, dtype))
