"""Functions of one number, applied to each: exp, log, roots, sine, |x|, erf. Integers become the default floating type first.

Each keeps what its derivative needs: the output where it can be written in terms of y, else x.
"""

from __future__ import annotations

import math

from ..array import get_default_dtype
from ..array.special import erf as erf_array
from ..autograd import Op, ops
from .common import check_tensor, promote


class Exp(Op):
    """y = eˣ, y′ = y."""

    @staticmethod
    def forward(ctx, x):
        if x.dtype.kind in "iub":  # integers, in float64: rounded once
            return ctx.xp.exp(x, dtype=ctx.xp.float64).astype(get_default_dtype().numpy)
        y = ctx.xp.exp(x)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return g * y


class Log(Op):
    """y = ln x, y′ = 1/x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return ctx.xp.log(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return g / x


class Sqrt(Op):
    """y = √x, y′ = 1/(2y)."""

    @staticmethod
    def forward(ctx, x):
        y = ctx.xp.sqrt(x)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return g / (2 * y)


class Rsqrt(Op):
    """y = 1/√x, y′ = −y³/2."""

    @staticmethod
    def forward(ctx, x):
        y = ctx.xp.reciprocal(ctx.xp.sqrt(x))
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return -0.5 * g * (y * y * y)


class Square(Op):
    """y = x², y′ = 2x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return ctx.xp.square(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return g * (2 * x)


class Reciprocal(Op):
    """y = 1/x, y′ = −y²."""

    @staticmethod
    def forward(ctx, x):
        y = ctx.xp.true_divide(1, x)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return -g * (y * y)


class Sin(Op):
    """y = sin x, y′ = cos x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return ctx.xp.sin(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return g * ctx.xp.cos(x)


class Cos(Op):
    """y = cos x, y′ = −sin x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return ctx.xp.cos(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return -g * ctx.xp.sin(x)


class Abs(Op):
    """y = |x|, y′ = sign x (0 at 0)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return ctx.xp.abs(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return g * ctx.xp.sign(x)


class Erf(Op):
    """y = 2/√π ∫₀ˣ e^(−t²) dt, y′ = 2/√π e^(−x²)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        return erf_array(x, ctx.xp)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return g * (2 / math.sqrt(math.pi) * ctx.xp.exp(-x * x))


@ops.register
def exp(input):
    """eˣ. Of integers it is computed in float64 and rounded once."""
    return Exp.apply(check_tensor("exp", "input", input))


@ops.register
def log(input):
    """Natural logarithm: −inf at 0, NaN below."""
    return Log.apply(*promote("log", check_tensor("log", "input", input), floating=True))


@ops.register
def sqrt(input):
    """√x."""
    return Sqrt.apply(*promote("sqrt", check_tensor("sqrt", "input", input), floating=True))


@ops.register
def rsqrt(input):
    """1/√x."""
    return Rsqrt.apply(*promote("rsqrt", check_tensor("rsqrt", "input", input), floating=True))


@ops.register
def square(input):
    """x²; integers stay integers."""
    check_tensor("square", "input", input)
    return Square.apply(ops.to(input, "int64") if input.dtype.name == "bool" else input)


@ops.register
def reciprocal(input):
    """1/x."""
    return Reciprocal.apply(*promote("reciprocal", check_tensor("reciprocal", "input", input), floating=True))


@ops.register
def sin(input):
    """sin x, x in radians."""
    return Sin.apply(*promote("sin", check_tensor("sin", "input", input), floating=True))


@ops.register
def cos(input):
    """cos x, x in radians."""
    return Cos.apply(*promote("cos", check_tensor("cos", "input", input), floating=True))


@ops.register
def abs(input):
    """|x|; integers stay integers.

    Raises:
        RuntimeError: for bools.
    """
    check_tensor("abs", "input", input)
    if input.dtype.name == "bool":
        raise RuntimeError("abs: not defined for bool tensors")
    return Abs.apply(input)


@ops.register
def erf(input):
    """The error function 2/√π ∫₀ˣ e^(−t²) dt."""
    return Erf.apply(*promote("erf", check_tensor("erf", "input", input), floating=True))
