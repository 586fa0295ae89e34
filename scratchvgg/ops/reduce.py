"""Sums and moments: sum, mean, prod, var, std, cumsum.

With n numbers and g = ∂L/∂out:  sum: g everywhere · mean: g/n · var: 2g (x − mean)/(n − c) · std: that / 2std · prod: g · ∏ of the others.
"""

from __future__ import annotations

import math

from ..array import as_dtype
from ..autograd import Op, ops
from .common import check_tensor, normalize_dim, normalize_dims

_LONG_RUN = 64  # more float32 terms than this are added in float64 where NumPy would add one by one


def total(xp, x, axes, keepdims=False):
    """Σ over ``axes`` in x's own type, exact enough: NumPy adds pairwise only along contiguous memory, elsewhere one by one; there
    float32 sums run in float64, and float16 sums always run in float32."""
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return xp.sum(x, axis=axes, keepdims=keepdims, dtype=xp.float32).astype(x.dtype)
    if x.dtype == xp.float32 and math.prod(x.shape[d] for d in axes) > _LONG_RUN * _run(x, axes):
        return xp.sum(x, axis=axes, keepdims=keepdims, dtype=xp.float64).astype(xp.float32)
    return xp.sum(x, axis=axes, keepdims=keepdims)


def _run(x, axes) -> int:
    """How many numbers that are added together lie side by side in memory."""
    run, step = 1, x.itemsize
    for d in sorted(range(x.ndim), key=lambda d: abs(x.strides[d])):
        if x.shape[d] > 1:
            if d not in axes or abs(x.strides[d]) != step:
                break
            run, step = run * x.shape[d], step * x.shape[d]
    return max(run, 1)


def stretch(xp, g, shape, axes, keepdims):
    """The gradient of a reduction, repeated over the reduced dimensions (a view)."""
    return xp.broadcast_to(g if keepdims or not axes else xp.expand_dims(g, axes), shape)


class Sum(Op):
    """Keeps only the shape."""

    @staticmethod
    def forward(ctx, x, *, axes, keepdim):
        ctx.shape, ctx.axes, ctx.keepdim = x.shape, axes, keepdim
        return total(ctx.xp, x, axes, keepdim)

    @staticmethod
    def backward(ctx, g):
        return stretch(ctx.xp, g, ctx.shape, ctx.axes, ctx.keepdim)


class Mean(Op):
    """Keeps only the shape."""

    @staticmethod
    def forward(ctx, x, *, axes, keepdim):
        ctx.shape, ctx.axes, ctx.keepdim = x.shape, axes, keepdim
        ctx.count = math.prod(x.shape[a] for a in axes)
        return ctx.xp.true_divide(total(ctx.xp, x, axes, keepdim), x.dtype.type(ctx.count))

    @staticmethod
    def backward(ctx, g):
        return stretch(ctx.xp, g / g.dtype.type(ctx.count), ctx.shape, ctx.axes, ctx.keepdim)


class Var(Op):
    """Σ(x − mean)² / (n − correction), in two passes; std is its root. Keeps x, the means and (for std) the result."""

    @staticmethod
    def forward(ctx, x, *, axes, keepdim, correction, root):
        xp = ctx.xp
        ctx.axes, ctx.keepdim, ctx.root = axes, keepdim, root
        count = math.prod(x.shape[a] for a in axes)
        ctx.freedom = max(0.0, count - correction)
        wide = x.astype(xp.float32) if x.dtype.itemsize == 2 else x
        kind = wide.dtype.type
        mean = total(xp, wide, axes, True) / kind(count)
        difference = xp.asarray(wide - mean)
        squares = xp.square(difference, out=difference)
        out = xp.sum(squares, axis=axes, keepdims=keepdim, dtype=xp.float64) / xp.float64(ctx.freedom)
        out = xp.asarray(xp.sqrt(out) if root else out, x.dtype)
        ctx.save(x=x, mean=mean, out=out if root else None)
        return out

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        x, mean, out = ctx.saved
        kind = g.dtype.type
        if ctx.root:
            g = xp.where(out == 0, kind(0), g / (2 * out))
        factor = stretch(xp, g * kind(2) / kind(ctx.freedom), x.shape, ctx.axes, ctx.keepdim)
        return factor * (x - mean)


class Prod(Op):
    """Products along one axis. Keeps x: the gradient is the product of the others, taken from both ends, so zeros do no harm."""

    @staticmethod
    def forward(ctx, x, *, axis, keepdim):
        ctx.axis, ctx.keepdim = axis, keepdim
        ctx.save(x=x)
        return ctx.xp.prod(x, axis=axis, keepdims=keepdim, dtype=x.dtype)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        (x,) = ctx.saved
        x = xp.moveaxis(x, ctx.axis, -1)
        before, after = xp.ones_like(x), xp.ones_like(x)
        xp.cumprod(x[..., :-1], axis=-1, out=before[..., 1:])
        xp.cumprod(x[..., :0:-1], axis=-1, out=after[..., -2::-1])
        g = xp.moveaxis(g if ctx.keepdim else xp.expand_dims(g, ctx.axis), ctx.axis, -1)
        return xp.moveaxis(before * after * g, -1, ctx.axis)


class CumSum(Op):
    """Running sums, float64 inside; the gradient is running sums from the other end."""

    name = "cumsum"

    @staticmethod
    def forward(ctx, x, *, axis):
        ctx.axis = axis
        return _running_sums(ctx.xp, x, axis)

    @staticmethod
    def backward(ctx, g):
        return ctx.xp.flip(_running_sums(ctx.xp, ctx.xp.flip(g, ctx.axis), ctx.axis), ctx.axis)


def _running_sums(xp, x, axis):
    wide = x.dtype if x.dtype.kind in "iub" else xp.float64
    return xp.cumsum(x, axis=axis, dtype=wide).astype(x.dtype, copy=False)


def _summable(name, input, dtype):
    """``input`` as ``dtype``; without one, integers and bools as int64 (as torch adds them up)."""
    check_tensor(name, "input", input)
    if dtype is None and input.dtype.is_floating_point:
        return input
    return ops.to(input, as_dtype("int64" if dtype is None else dtype))


def _floating(name, input, dtype=None):
    check_tensor(name, "input", input)
    input = input if dtype is None else ops.to(input, as_dtype(dtype))
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating point tensor, got {input.dtype}; pass dtype= or use float()")
    return input


@ops.register
def sum(input, dim=None, keepdim: bool = False, *, dtype=None):
    """Σ over ``dim`` (int, tuple, or None for all). Integers and bools add up in int64.

    Args:
        dtype: convert first.
    """
    input = _summable("sum", input, dtype)
    return Sum.apply(input, axes=normalize_dims("sum", dim, input.ndim), keepdim=bool(keepdim))


@ops.register
def mean(input, dim=None, keepdim: bool = False, *, dtype=None):
    """Σ/n over ``dim`` (int, tuple, or None for all).

    Raises:
        RuntimeError: for integers without ``dtype``.
    """
    input = _floating("mean", input, dtype)
    return Mean.apply(input, axes=normalize_dims("mean", dim, input.ndim), keepdim=bool(keepdim))


def _moment(name, input, dim, unbiased, keepdim, correction, root):
    input = _floating(name, input)
    if isinstance(dim, bool):  # x.var(False) means unbiased=False
        dim, unbiased = None, dim
    if correction is not None and unbiased is not None:
        raise TypeError(f"{name}: give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return Var.apply(input, axes=normalize_dims(name, dim, input.ndim), keepdim=bool(keepdim), correction=correction, root=root)


@ops.register
def var(input, dim=None, unbiased=None, keepdim: bool = False, *, correction=None):
    """Variance Σ(x − mean)²/(n − correction) over ``dim``; by default the unbiased one (correction 1).

    Raises:
        RuntimeError: for integers.
    """
    return _moment("var", input, dim, unbiased, keepdim, correction, root=False)


@ops.register
def std(input, dim=None, unbiased=None, keepdim: bool = False, *, correction=None):
    """Standard deviation, the root of :func:`var`. Its gradient at 0 is 0."""
    return _moment("std", input, dim, unbiased, keepdim, correction, root=True)


@ops.register
def prod(input, dim=None, keepdim: bool = False, *, dtype=None):
    """The product over one dimension, or of everything. Integers and bools multiply in int64."""
    input = _summable("prod", input, dtype)
    if dim is None:
        return Prod.apply(ops.reshape(input, (-1,)) if input.array.size else ops.reshape(input, (0,)), axis=0, keepdim=False)
    dim = normalize_dim("prod", dim, input.ndim)
    return ops.clone(input) if input.ndim == 0 else Prod.apply(input, axis=dim, keepdim=bool(keepdim))


@ops.register
def cumsum(input, dim: int, *, dtype=None):
    """Running sums along ``dim``. Integers and bools add up in int64."""
    input = _summable("cumsum", input, dtype)
    dim = normalize_dim("cumsum", dim, input.ndim)
    return ops.clone(input) if input.ndim == 0 else CumSum.apply(input, axis=dim)
