"""Largest and smallest: max, min, amax, amin, argmax, argmin, maximum, minimum, clamp. NaN wins everywhere, as in torch.

Who gets g at a tie: ``max(dim)`` and ``argmax`` take the first index; ``max()``, ``amax`` and ``maximum`` share evenly.
"""

from __future__ import annotations

from collections import namedtuple

from ..autograd import Op, Tensor, ops
from .common import check_tensor, normalize_dim, normalize_dims, promote, sum_to
from .reduce import stretch

MaxResult = namedtuple("max", ["values", "indices"])
MinResult = namedtuple("min", ["values", "indices"])


class Extreme(Op):
    """Over some dimensions; keeps x and the result, and shares g among the elements equal to it."""

    name = "amax"

    @staticmethod
    def forward(ctx, x, *, ufunc, axes, keepdim):
        xp = ctx.xp
        ctx.axes, ctx.keepdim = axes, keepdim
        out = xp.asarray(getattr(xp, ufunc)(x, axis=axes, keepdims=keepdim))
        ctx.save(x=x, out=out)
        return out

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        x, out = ctx.saved
        out = stretch(xp, out, x.shape, ctx.axes, ctx.keepdim)
        hit = (x == out) | ((x != x) & (out != out))
        count = hit.sum(axis=ctx.axes, keepdims=True).astype(g.dtype)
        return hit * (stretch(xp, g, count.shape, ctx.axes, ctx.keepdim) / count)


class ExtremeAlong(Op):
    """Along one dimension: values and the first index of each. Keeps the indices."""

    name = "max"

    @staticmethod
    def forward(ctx, x, *, ufunc, axis, keepdim):
        xp = ctx.xp
        ctx.shape, ctx.axis, ctx.keepdim = x.shape, axis, keepdim
        index = xp.expand_dims(getattr(xp, ufunc)(x, axis=axis), axis).astype(xp.int64, copy=False)
        ctx.save(index=index)
        values = xp.take_along_axis(x, index, axis)
        return (values, index) if keepdim else (xp.squeeze(values, axis), xp.squeeze(index, axis))

    @staticmethod
    def backward(ctx, g, _):
        xp = ctx.xp
        (index,) = ctx.saved
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        xp.put_along_axis(out, index, g if ctx.keepdim else xp.expand_dims(g, ctx.axis), ctx.axis)
        return out


class ArgExtreme(Op):
    """The first index, in logical order over everything or along one dimension."""

    name = "argmax"
    differentiable = False

    @staticmethod
    def forward(ctx, x, *, ufunc, axis, keepdim):
        xp = ctx.xp
        return xp.asarray(getattr(xp, ufunc)(x, axis=axis, keepdims=keepdim), xp.int64)


class Pairwise(Op):
    """The larger (smaller) of two; equals share g."""

    name = "maximum"

    @staticmethod
    def forward(ctx, a, b, *, ufunc):
        ctx.ufunc = ufunc
        ctx.shapes = getattr(a, "shape", ()), getattr(b, "shape", ())
        ctx.save(a=a, b=b)
        return getattr(ctx.xp, ufunc)(a, b)

    @staticmethod
    def backward(ctx, g):
        xp, zero = ctx.xp, g.dtype.type(0)
        a, b = ctx.saved
        first, last = (b, a) if ctx.ufunc == "maximum" else (a, b)  # where first < last, a wins
        half = xp.where(a == b, g / 2, g)
        ga = sum_to(xp, xp.where(first > last, zero, half), ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        gb = sum_to(xp, xp.where(first < last, zero, half), ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        return ga, gb


class Clamp(Op):
    """min(max(x, low), high); g passes where low ≤ x ≤ high, else it goes to the bound that won."""

    name = "clamp"

    @staticmethod
    def forward(ctx, x, low, high):
        xp = ctx.xp
        ctx.shapes = x.shape, getattr(low, "shape", ()), getattr(high, "shape", ())
        ctx.save(x=x, low=low, high=high)
        out = x if low is None else xp.maximum(x, low)
        return out if high is None else xp.minimum(out, high)

    @staticmethod
    def backward(ctx, g):
        xp, zero = ctx.xp, g.dtype.type(0)
        x, low, high = ctx.saved
        crossed = False if low is None or high is None else xp.less(high, low)
        gx = gl = gh = None
        if ctx.needs_input_grad[0]:
            inside = xp.logical_and(True if low is None else x >= low, True if high is None else x <= high)
            gx = sum_to(xp, xp.where(inside, g, zero), ctx.shapes[0])
        if ctx.needs_input_grad[1]:
            gl = sum_to(xp, xp.where(xp.logical_and(x < low, xp.logical_not(crossed)), g, zero), ctx.shapes[1])
        if ctx.needs_input_grad[2]:
            gh = sum_to(xp, xp.where(xp.logical_or(x > high, crossed), g, zero), ctx.shapes[2])
        return gx, gl, gh


def _not_empty(name, input, axes, error=RuntimeError):
    """Raise ``error`` if all of an empty tensor is asked about (``axes`` is None), IndexError for a named dimension of size 0."""
    if axes is None and input.array.size == 0:
        raise error(f"{name}: a tensor of 0 elements (shape {tuple(input.shape)}) has none; give a dim of non-zero size")
    for axis in axes or ():
        if input.ndim and input.shape[axis] == 0:
            raise IndexError(f"{name}: dimension {axis} of shape {tuple(input.shape)} has size 0")


def _over(name, ufunc, input, dim, keepdim):
    check_tensor(name, "input", input)
    everything = dim is None or dim == () or dim == []
    axes = normalize_dims(name, dim, input.ndim)
    _not_empty(name, input, None if everything else axes)
    return Extreme.apply(input, ufunc=ufunc, axes=axes, keepdim=bool(keepdim))


def _max_or_min(name, input, dim, keepdim, result):
    check_tensor(name, "input", input)
    if isinstance(dim, Tensor):
        return Pairwise.apply(*promote(name, input, dim), ufunc=f"{name}imum")
    if dim is None:
        if keepdim:
            raise TypeError(f"{name}: keepdim needs a dim")
        return _over(name, f"a{name}", input, None, False)
    axis = normalize_dim(name, dim, input.ndim)
    _not_empty(name, input, (axis,))
    if input.ndim == 0:
        return result(ops.clone(input), ops.zeros((), dtype="int64", device=input.device))
    return result(*ExtremeAlong.apply(input, ufunc=f"arg{name}", axis=axis, keepdim=bool(keepdim)))


def _arg(name, input, dim, keepdim):
    check_tensor(name, "input", input)
    axis = None if dim is None else normalize_dim(name, dim, input.ndim)
    _not_empty(name, input, None if axis is None else (axis,), IndexError)
    return ArgExtreme.apply(input, ufunc=name, axis=axis if input.ndim else None, keepdim=bool(keepdim))


@ops.register
def max(input, dim=None, keepdim: bool = False):
    """The largest element; with ``dim``, a namedtuple ``(values, indices)`` along it (the first of equals); with a Tensor, :func:`maximum`.

    Raises:
        RuntimeError: for an empty tensor. IndexError: for a dim of size 0.
    """
    return _max_or_min("max", input, dim, keepdim, MaxResult)


@ops.register
def min(input, dim=None, keepdim: bool = False):
    """The smallest element; arguments as :func:`max`."""
    return _max_or_min("min", input, dim, keepdim, MinResult)


@ops.register
def amax(input, dim=(), keepdim: bool = False):
    """The largest element over ``dim`` (int, tuple, () for all); equal maxima share the gradient."""
    return _over("amax", "amax", input, dim, keepdim)


@ops.register
def amin(input, dim=(), keepdim: bool = False):
    """The smallest element over ``dim`` (int, tuple, () for all); equal minima share the gradient."""
    return _over("amin", "amin", input, dim, keepdim)


@ops.register
def argmax(input, dim=None, keepdim: bool = False):
    """The index of the first largest element, along ``dim`` or in logical order over everything (int64).

    Raises:
        IndexError: if there is none.
    """
    return _arg("argmax", input, dim, keepdim)


@ops.register
def argmin(input, dim=None, keepdim: bool = False):
    """The index of the first smallest element, as :func:`argmax`."""
    return _arg("argmin", input, dim, keepdim)


@ops.register
def maximum(input, other):
    """The larger of each pair, with broadcasting."""
    return Pairwise.apply(*promote("maximum", input, other), ufunc="maximum")


@ops.register
def minimum(input, other):
    """The smaller of each pair, with broadcasting."""
    return Pairwise.apply(*promote("minimum", input, other), ufunc="minimum")


@ops.register
def clamp(input, min=None, max=None):
    """``input`` cut to [min, max]; numbers or Tensors that broadcast, either may be None. Where min > max the result is max.

    Raises:
        RuntimeError: if both bounds are None.
    """
    check_tensor("clamp", "input", input)
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    operands = promote("clamp", input, *(b for b in (min, max) if b is not None))
    low = operands[1] if min is not None else None
    high = operands[-1] if max is not None else None
    return Clamp.apply(operands[0], low, high)
