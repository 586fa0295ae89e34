"""Sizes of vectors: norm and logsumexp.

‖x‖ₚ = (Σ|x|ᵖ)^(1/p), gradient g sign(x) (|x| / ‖x‖)^(p−1); logsumexp(x) = m + ln Σ exp(x − m) with m = max x, gradient g exp(x − y).
"""

from __future__ import annotations

import math

from ..autograd import Op, ops
from .common import check_tensor, normalize_dims, plain_number, promote
from .reduce import stretch, total


class Norm(Op):
    """Keeps x and the norms. Where the norm is 0 the gradient is 0."""

    name = "norm"

    @staticmethod
    def forward(ctx, x, *, p, axes, keepdim):
        xp = ctx.xp
        ctx.p, ctx.axes, ctx.keepdim = p, axes, keepdim
        wide = x.astype(xp.float32) if x.dtype.itemsize == 2 else x
        wide = xp.asarray(xp.square(wide) if p == 2 else xp.abs(wide))
        if p == 0:
            out = total(xp, (wide != 0).astype(wide.dtype), axes, True)
        elif math.isinf(p):
            out = _largest(xp, wide, axes, 0) if p > 0 else xp.min(wide, axis=axes, keepdims=True)
        elif p == 2:
            out = xp.sqrt(total(xp, wide, axes, True))
        else:
            out = total(xp, wide if p == 1 else xp.power(wide, p), axes, True) ** wide.dtype.type(1 / p)
        out = xp.asarray(out, x.dtype)
        ctx.save(x=x, out=out)
        return out if keepdim else out.reshape([n for d, n in enumerate(x.shape) if d not in axes])

    @staticmethod
    def backward(ctx, g):
        xp, p = ctx.xp, ctx.p
        x, out = ctx.saved
        g = g.reshape(out.shape)
        if p == 0:
            return xp.zeros_like(x)
        if math.isinf(p):
            hit = xp.abs(x) == out
            return xp.sign(x) * hit * (g / hit.sum(axis=ctx.axes, keepdims=True).astype(g.dtype))
        zero = g.dtype.type(0)
        if p == 2:
            return x * xp.where(out == 0, zero, g / out)
        if p == 1:
            return xp.sign(x) * g
        slope = xp.where(x == 0, zero, xp.sign(x) * xp.power(xp.abs(x), p - 1))
        return slope * xp.where(out == 0, zero, g * xp.power(out, 1 - p))


def _largest(xp, x, axes, of_none):
    """The maximum over ``axes``, kept with size 1; ``of_none`` where there are no elements."""
    if x.size:
        return xp.max(x, axis=axes, keepdims=True)
    return xp.full([1 if d in axes else n for d, n in enumerate(x.shape)], of_none, x.dtype)


class LogSumExp(Op):
    """Keeps x and the result."""

    name = "logsumexp"

    @staticmethod
    def forward(ctx, x, *, axes, keepdim):
        xp = ctx.xp
        ctx.axes, ctx.keepdim = axes, keepdim
        wide = x.astype(xp.float32) if x.dtype.itemsize == 2 else x
        top = _largest(xp, wide, axes, -math.inf)
        top = xp.where(xp.isinf(top), wide.dtype.type(0), top)
        shifted = xp.asarray(xp.subtract(wide, top))
        out = xp.asarray(top + xp.log(total(xp, xp.exp(shifted, out=shifted), axes, True)), x.dtype)
        ctx.save(x=x, out=out)
        return out if keepdim else out.reshape([n for d, n in enumerate(x.shape) if d not in axes])

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        x, out = ctx.saved
        return stretch(xp, g.reshape(out.shape), x.shape, ctx.axes, True) * xp.exp(x - out)


@ops.register
def norm(input, p=2, dim=None, keepdim: bool = False, *, dtype=None):
    """The p-norm over ``dim`` (int, tuple, or None for all); p may be any number, ±inf, 0 (counts non-zeros) or ``"fro"`` (2).

    Raises:
        RuntimeError: for an integer tensor, or the maximum (minimum) of nothing.
    """
    check_tensor("norm", "input", input)
    input = input if dtype is None else ops.to(input, dtype)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"norm: expected a floating point tensor, got {input.dtype}")
    p = 2 if p in ("fro", None) else plain_number(p)
    if isinstance(p, str):
        raise RuntimeError(f"norm: p must be a number or 'fro', got {p!r}")
    axes = normalize_dims("norm", dim, input.ndim)
    if math.isinf(p) and any(input.shape[a] == 0 for a in axes):
        raise RuntimeError(f"norm: p={p} needs at least one element along dimensions {axes} of shape {tuple(input.shape)}")
    return Norm.apply(input, p=float(p), axes=axes, keepdim=bool(keepdim))


@ops.register
def logsumexp(input, dim, keepdim: bool = False):
    """ln Σ exp(x) over ``dim`` (int or tuple), without overflow."""
    (input,) = promote("logsumexp", check_tensor("logsumexp", "input", input), floating=True)
    return LogSumExp.apply(input, axes=normalize_dims("logsumexp", dim, input.ndim), keepdim=bool(keepdim))
