"""Activations whose derivative is simple in y or x.

sigmoid y = 1/(1 + e⁻ˣ), y′ = y(1 − y) · tanh y′ = 1 − y² · leaky_relu y = x or αx (x ≤ 0), y′ = 1 or α ·
elu y = x or α(eˣ − 1), y′ = 1 or y + α · silu y = xσ(x), y′ = σ(1 + x(1 − σ)) · softplus y = ln(1 + eᵝˣ)/β, y′ = σ(βx) ·
hardtanh y = x cut to [a, b], y′ = 1 inside.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor
from .precision import check_floating, widen


def sigmoid_array(xp, x):
    """1 / (1 + e⁻ˣ) of a plain array; e⁻ˣ = ∞ gives 0."""
    return xp.reciprocal(1 + xp.exp(-x))


class Sigmoid(Op):
    """Keeps its output."""

    name = "sigmoid"

    @staticmethod
    def forward(ctx, x):
        y = sigmoid_array(ctx.xp, widen(ctx.xp, x)).astype(x.dtype, copy=False)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        y = widen(ctx.xp, y)
        return g * ((1 - y) * y)


class Tanh(Op):
    """Keeps its output."""

    name = "tanh"

    @staticmethod
    def forward(ctx, x):
        y = ctx.xp.tanh(x)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        return g * (1 - ctx.xp.square(widen(ctx.xp, y)))


class LeakyReLU(Op):
    """Keeps its input; for the in-place form (α ≥ 0, so signs survive) its output."""

    name = "leaky_relu"

    @staticmethod
    def forward(ctx, x, slope, inplace=False):
        ctx.writes, ctx.slope = inplace, slope
        y = ctx.xp.where(x > 0, x, x * slope)
        if inplace:
            x[...] = y
            y = x
        ctx.save(sign=x)
        return y

    @staticmethod
    def backward(ctx, g):
        (sign,) = ctx.saved
        return ctx.xp.where(sign > 0, g, g * ctx.slope), None


class ELU(Op):
    """Keeps its output."""

    name = "elu"

    @staticmethod
    def forward(ctx, x, alpha):
        xp, ctx.alpha = ctx.xp, alpha
        y = xp.where(x > 0, x, alpha * xp.expm1(widen(xp, x))).astype(x.dtype, copy=False)
        ctx.save(x=x, y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved
        return ctx.xp.where(x > 0, g, g * (y + ctx.alpha)), None


class SiLU(Op):
    """Keeps its input."""

    name = "silu"

    @staticmethod
    def forward(ctx, x):
        ctx.save(x=x)
        wide = widen(ctx.xp, x)
        return (wide * sigmoid_array(ctx.xp, wide)).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx, g):
        x = widen(ctx.xp, *ctx.saved)
        s = sigmoid_array(ctx.xp, x)
        return g * (s * (1 + x * (1 - s)))


class Softplus(Op):
    """Keeps its input; above ``threshold`` it is x itself."""

    name = "softplus"

    @staticmethod
    def forward(ctx, x, beta, threshold):
        xp, ctx.beta, ctx.threshold = ctx.xp, beta, threshold
        ctx.save(x=x)
        wide = widen(xp, x)
        return xp.where(wide * beta > threshold, wide, xp.log1p(xp.exp(wide * beta)) / beta).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx, g):
        scaled = widen(ctx.xp, *ctx.saved) * ctx.beta
        return ctx.xp.where(scaled > ctx.threshold, g, g * sigmoid_array(ctx.xp, scaled)), None, None


class Hardtanh(Op):
    """Keeps its input; the gradient at the bounds is 0."""

    name = "hardtanh"

    @staticmethod
    def forward(ctx, x, low, high):
        ctx.low, ctx.high = low, high
        ctx.save(x=x)
        return ctx.xp.clip(x, low, high)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        return ctx.xp.where((x > ctx.low) & (x < ctx.high), g, 0).astype(g.dtype, copy=False), None, None


def _as_floating(name, input):
    check_tensor(name, "input", input)
    return input if input.dtype.is_floating_point else ops.to(input, float)


@ops.register
def sigmoid(input):
    """1 / (1 + e⁻ˣ), elementwise; integers become the default floating type."""
    return Sigmoid.apply(_as_floating("sigmoid", input))


@ops.register
def tanh(input):
    """Hyperbolic tangent, elementwise; integers become the default floating type."""
    return Tanh.apply(_as_floating("tanh", input))


@ops.register
def leaky_relu(input, negative_slope: float = 0.01, inplace: bool = False):
    """x where x > 0, else negative_slope · x.

    Args:
        inplace: write over ``input``; needs ``negative_slope`` ≥ 0 if a gradient is wanted.

    Raises:
        NotImplementedError: integer input. RuntimeError: a negative slope in place while recording.
    """
    check_floating("leaky_relu", input)
    if not inplace:
        return LeakyReLU.apply(input, negative_slope)
    input.check_writable("leaky_relu_")
    if negative_slope < 0 and input.requires_grad:
        raise RuntimeError(f"leaky_relu_: with a negative slope ({negative_slope}) the gradient cannot be found from the output")
    return input.adopt(LeakyReLU.apply(input, negative_slope, inplace=True))


@ops.register
def elu(input, alpha: float = 1.0, inplace: bool = False):
    """x where x > 0, else alpha · (eˣ − 1)."""
    check_floating("elu", input)
    return _maybe_in_place("elu", ELU, input, (alpha,), inplace)


@ops.register
def silu(input, inplace: bool = False):
    """x · sigmoid(x)."""
    check_floating("silu", input)
    return _maybe_in_place("silu", SiLU, input, (), inplace)


@ops.register
def softplus(input, beta: float = 1.0, threshold: float = 20.0):
    """ln(1 + e^(beta·x)) / beta; x itself where beta·x > threshold."""
    check_floating("softplus", input)
    return Softplus.apply(input, beta, threshold)


@ops.register
def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
    """x cut to [min_val, max_val].

    Raises:
        ValueError: if min_val > max_val.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must not exceed max_val, got {min_val} and {max_val}")
    return _cut("hardtanh", input, min_val, max_val, inplace)


@ops.register
def relu6(input, inplace: bool = False):
    """x cut to [0, 6]."""
    return _cut("relu6", input, 0, 6, inplace)


def _cut(name, input, low, high, inplace):
    check_tensor(name, "input", input)
    if input.dtype.name == "bool":
        raise NotImplementedError(f"{name}: not implemented for bool")
    number = float if input.dtype.is_floating_point else int
    return _maybe_in_place(name, Hardtanh, input, (number(low), number(high)), inplace)


def _maybe_in_place(name, op, input, numbers, inplace):
    if not inplace:
        return op.apply(input, *numbers)
    input.check_writable(f"{name}_")
    return input.adopt(op.apply(input.clone(), *numbers))
