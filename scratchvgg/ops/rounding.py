"""Step functions and division with remainder: sign, floor, ceil, round, trunc, floor_divide, remainder. Gradients are 0 but for
remainder, a − b⌊a/b⌋: (g, −g⌊a/b⌋)."""

from __future__ import annotations

from ..autograd import Op, Tensor, ops
from .common import check_tensor, promote, sum_to


class Step(Op):
    """A function whose derivative is 0 wherever it exists. The sign of NaN is 0, as in torch."""

    name = "step"

    @staticmethod
    def forward(ctx, x, *, ufunc):
        xp = ctx.xp
        if ufunc == "sign":
            return xp.subtract(x > 0, x < 0, dtype=x.dtype)
        return getattr(xp, ufunc)(x)

    @staticmethod
    def backward(ctx, g):
        return ctx.xp.zeros_like(g)


class FloorDivide(Op):
    """⌊a/b⌋, no gradient."""

    name = "floor_divide"
    differentiable = False

    @staticmethod
    def forward(ctx, a, b):
        return ctx.xp.floor_divide(a, b)


class TruncDivide(Op):
    """a/b rounded towards 0, no gradient."""

    name = "trunc_divide"
    differentiable = False

    @staticmethod
    def forward(ctx, a, b):
        xp = ctx.xp
        kind = xp.result_type(a, b)
        if kind.kind == "f":
            return xp.trunc(xp.true_divide(a, b))
        quotient = xp.floor_divide(a, b)  # rounds down: one too low where the signs differ and something is left
        return quotient + ((quotient < 0) & (quotient * b != a)).astype(kind)


class Remainder(Op):
    """a − b⌊a/b⌋: the sign of b. Keeps both if b wants a gradient."""

    name = "remainder"

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = getattr(a, "shape", ()), getattr(b, "shape", ())
        wanted = ctx.needs_input_grad[1]
        ctx.save(a=a if wanted else None, b=b if wanted else None)
        return ctx.xp.remainder(a, b)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        a, b = ctx.saved
        ga = sum_to(xp, g, ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        gb = sum_to(xp, -g * xp.floor_divide(a, b), ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        return ga, gb


def _step(name, ufunc, input):
    check_tensor(name, "input", input)
    if not input.dtype.is_floating_point and (name != "sign" or input.dtype.name == "bool"):
        return ops.clone(input)  # integers are whole, and a bool is its own sign
    return Step.apply(input, ufunc=ufunc)


def _quotient(name, a, b):
    """The operands on one type; integers must not be divided by 0."""
    a, b = promote(name, a, b)
    kind = next(o.dtype for o in (a, b) if isinstance(o, Tensor))
    if kind.name == "bool":
        raise RuntimeError(f"{name}: not defined for bools")
    if not kind.is_floating_point and not (ops.all(b) if isinstance(b, Tensor) else b):
        raise RuntimeError(f"{name}: ZeroDivisionError: integer division by 0")
    return a, b


@ops.register
def sign(input):
    """−1, 0 or 1."""
    return _step("sign", "sign", input)


@ops.register
def floor(input):
    """The next whole number below."""
    return _step("floor", "floor", input)


@ops.register
def ceil(input):
    """The next whole number above."""
    return _step("ceil", "ceil", input)


@ops.register
def trunc(input):
    """The whole part."""
    return _step("trunc", "trunc", input)


@ops.register
def round(input, *, decimals: int = 0):
    """The nearest whole number (or multiple of 10^−decimals); halves go to the even neighbour."""
    if decimals and input.dtype.is_floating_point:
        scale = 10.0 ** abs(decimals)
        return ops.div(round(ops.mul(input, scale)), scale) if decimals > 0 else ops.mul(round(ops.div(input, scale)), scale)
    return _step("round", "rint", input)


@ops.register
def floor_divide(input, other):
    """⌊input / other⌋ with broadcasting.

    Raises:
        RuntimeError: for an integer division by 0.
    """
    return FloorDivide.apply(*_quotient("floor_divide", input, other))


@ops.register
def trunc_divide(input, other):
    """input / other rounded towards 0: ``div(rounding_mode="trunc")``.

    Raises:
        RuntimeError: for an integer division by 0.
    """
    return TruncDivide.apply(*_quotient("trunc_divide", input, other))


@ops.register
def remainder(input, other):
    """input − other·⌊input/other⌋, the sign of ``other`` (Python's ``%``).

    Raises:
        RuntimeError: for an integer division by 0.
    """
    return Remainder.apply(*_quotient("remainder", input, other))
