"""+ − × ÷ and powers, with broadcasting; backward sums over the broadcast dimensions.

With g = ∂L/∂out:  a + αb: (g, αg) · ab: (gb, ga) · a/b: (g/b, −g a/b²) · aᵇ: (g b aᵇ⁻¹, g aᵇ ln a).
"""

from __future__ import annotations

from ..array import as_dtype
from ..autograd import Op, Tensor, ops
from .common import check_alpha, check_tensor, is_number, promote, scaled, sum_to


class Add(Op):
    """a + αb. Keeps only shapes."""

    @staticmethod
    def forward(ctx, a, b, alpha=1):
        ctx.shapes, ctx.alpha = (_shape(a), _shape(b)), alpha
        return a - b if alpha == -1 else a + scaled(b, alpha)

    @staticmethod
    def backward(ctx, g):
        ga = sum_to(ctx.xp, g, ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        gb = sum_to(ctx.xp, g if ctx.alpha == 1 else ctx.alpha * g, ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        return ga, gb


class Mul(Op):
    """a · b. Keeps each factor that the other one's gradient needs."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = _shape(a), _shape(b)
        ctx.save(a=a if ctx.needs_input_grad[1] else None, b=b if ctx.needs_input_grad[0] else None)
        return a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved
        ga = sum_to(ctx.xp, g * b, ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        gb = sum_to(ctx.xp, g * a, ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        return ga, gb


class Div(Op):
    """a / b. Keeps b, and a if b wants a gradient."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = _shape(a), _shape(b)
        ctx.save(a=a if ctx.needs_input_grad[1] else None, b=b)
        return ctx.xp.true_divide(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved
        ga = sum_to(ctx.xp, g / b, ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        gb = sum_to(ctx.xp, -g * (a / b) / b, ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        return ga, gb


class Pow(Op):
    """aᵇ. The gradient in b takes ln a only where a > 0, and 0 where a = 0, as torch does."""

    @staticmethod
    def forward(ctx, a, b):
        xp = ctx.xp
        ctx.shapes = _shape(a), _shape(b)
        out = xp.square(a) if isinstance(b, (int, float)) and b == 2 else _power(xp, a, b)
        ctx.save(a=a, b=b, out=out if ctx.needs_input_grad[1] else None)
        return out

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        a, b, out = ctx.saved
        ga = gb = None
        if ctx.needs_input_grad[0]:
            ga = sum_to(xp, xp.where(xp.equal(b, 0), 0, g * (b * xp.power(a, b - 1))).astype(g.dtype, copy=False), ctx.shapes[0])
        if ctx.needs_input_grad[1]:
            logarithm = xp.log(xp.where(xp.equal(a, 0), 1, a))
            gb = sum_to(xp, (g * out * logarithm).astype(g.dtype, copy=False), ctx.shapes[1])
        return ga, gb


class Neg(Op):
    """−a."""

    @staticmethod
    def forward(ctx, a):
        return -a

    @staticmethod
    def backward(ctx, g):
        return -g


def _power(xp, a, b):
    """aᵇ. For integers and b < 0 the whole part of it: 1, −1 or 0."""
    if getattr(b, "dtype", None) is None or b.dtype.kind != "i" or not (b < 0).any():
        return xp.power(a, b)
    ones = xp.where(xp.equal(a, -1), 1 - 2 * (b & 1), xp.equal(a, 1))
    return xp.where(b < 0, ones, xp.power(a, xp.where(b < 0, 0, b))).astype(b.dtype)


def _shape(x):
    return getattr(x, "shape", ())


@ops.register
def add(input, other, *, alpha=1):
    """``input + alpha * other`` with broadcasting and torch's type promotion.

    Raises:
        RuntimeError: for a floating ``alpha`` with integers.
    """
    return _add("add", input, other, alpha)


@ops.register
def sub(input, other, *, alpha=1):
    """``input − alpha * other``.

    Raises:
        RuntimeError: for bools (use ``^``), or a floating ``alpha`` with integers.
    """
    if any(getattr(o, "dtype", type(o)) in (bool, as_dtype("bool")) for o in (input, other)):
        raise RuntimeError("sub: bools cannot be subtracted; use ^ or logical_xor(), or convert them first")
    return _add("sub", input, other, -alpha)


def _add(name, input, other, alpha):
    a, b = promote(name, input, other)
    check_alpha(name, alpha, (a, b))
    if is_number(b) and alpha != 1:
        a, b = promote(name, a, alpha * other)
        alpha = 1
    return Add.apply(a, b, alpha=alpha)


@ops.register
def mul(input, other):
    """``input * other``."""
    return Mul.apply(*promote("mul", input, other))


@ops.register
def div(input, other, *, rounding_mode=None):
    """``input / other``; integers give the default floating type.

    Args:
        rounding_mode: None, ``"floor"`` or ``"trunc"`` (the last two keep integer types and have no gradient).

    Raises:
        RuntimeError: for another rounding mode, or an integer division by 0.
    """
    if rounding_mode is None:
        return Div.apply(*promote("div", input, other, floating=True))
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
    return ops.trunc_divide(input, other)


@ops.register
def pow(input, exponent):
    """``input ** exponent``; either may be a number.

    Raises:
        RuntimeError: for an integer tensor to a negative integer number, or two bool tensors.
    """
    a, b = promote("pow", input, exponent)
    kind = (a if isinstance(a, Tensor) else b).dtype
    if kind.name == "bool":
        if not isinstance(b, bool):
            raise RuntimeError("pow: not defined for two bool tensors")
        return ops.clone(a) if b else ops.ones_like(a)
    if isinstance(b, int) and exponent < 0 and not kind.is_floating_point:
        raise RuntimeError(f"pow: integers to negative integer powers are not allowed, got exponent {exponent}")
    return Pow.apply(a, b)


@ops.register
def neg(input):
    """``−input``.

    Raises:
        RuntimeError: for bools; use ``~``.
    """
    if check_tensor("neg", "input", input).dtype.name == "bool":
        raise RuntimeError("neg: a bool tensor cannot be negated; use ~ or logical_not()")
    return Neg.apply(input)
