"""Logic on bools and on the bits of integers; no gradient."""

from __future__ import annotations

from ..autograd import Op, Tensor, ops
from .common import check_tensor, normalize_dims, promote


class Logic(Op):
    """An array-module function of one or two operands."""

    name = "logic"
    differentiable = False

    @staticmethod
    def forward(ctx, *operands, ufunc):
        return getattr(ctx.xp, ufunc)(*operands)


class Fold(Op):
    """All or any over some dimensions."""

    name = "fold"
    differentiable = False

    @staticmethod
    def forward(ctx, x, *, ufunc, axes, keepdim):
        out = getattr(ctx.xp, ufunc)(x, axis=axes, keepdims=keepdim)
        return out.astype(x.dtype) if x.dtype == ctx.xp.uint8 else out  # torch keeps uint8, its bool of old


def _bits(name, ufunc, *operands):
    operands = promote(name, *operands)
    kind = next(o.dtype for o in operands if isinstance(o, Tensor))
    if kind.is_floating_point:
        raise RuntimeError(f"{name}: expected bool or integer operands, got {kind}")
    return Logic.apply(*operands, ufunc=ufunc)


def _logical(name, input, other):
    check_tensor(name, "input", input)
    check_tensor(name, "other", other)
    promote(name, input, other)  # checks the shapes
    return Logic.apply(input, other, ufunc=name)


@ops.register
def bitwise_and(input, other):
    """``input & other``, bit by bit.

    Raises:
        RuntimeError: for floating operands.
    """
    return _bits("bitwise_and", "bitwise_and", input, other)


@ops.register
def bitwise_or(input, other):
    """``input | other``, bit by bit."""
    return _bits("bitwise_or", "bitwise_or", input, other)


@ops.register
def bitwise_xor(input, other):
    """``input ^ other``, bit by bit."""
    return _bits("bitwise_xor", "bitwise_xor", input, other)


@ops.register
def bitwise_not(input):
    """``~input``: not for bools, all bits flipped for integers.

    Raises:
        TypeError: for floating tensors.
    """
    check_tensor("bitwise_not", "input", input)
    if input.dtype.is_floating_point:
        raise TypeError(f"bitwise_not: expected a bool or integer tensor, got {input.dtype}")
    return Logic.apply(input, ufunc="invert")


@ops.register
def logical_and(input, other):
    """True where both are non-zero."""
    return _logical("logical_and", input, other)


@ops.register
def logical_or(input, other):
    """True where one is non-zero."""
    return _logical("logical_or", input, other)


@ops.register
def logical_xor(input, other):
    """True where exactly one is non-zero."""
    return _logical("logical_xor", input, other)


@ops.register
def logical_not(input):
    """True where the element is zero."""
    return Logic.apply(check_tensor("logical_not", "input", input), ufunc="logical_not")


def _fold(name, input, dim, keepdim):
    check_tensor(name, "input", input)
    axes = () if dim == () else normalize_dims(name, dim, input.ndim)
    return Fold.apply(input, ufunc=name, axes=axes, keepdim=bool(keepdim))


@ops.register
def all(input, dim=None, keepdim: bool = False):
    """True if every element along ``dim`` (int, tuple, or None for all) is non-zero; True for none at all."""
    return _fold("all", input, dim, keepdim)


@ops.register
def any(input, dim=None, keepdim: bool = False):
    """True if some element along ``dim`` (int, tuple, or None for all) is non-zero."""
    return _fold("any", input, dim, keepdim)
