"""GELU (Hendrycks, Gimpel 2016): y = x Φ(x) with the normal distribution's Φ(x) = (1 + erf(x/√2)) / 2; y′ = Φ(x) + x φ(x).

``approximate="tanh"``: y = x (1 + tanh u) / 2, u = √(2/π) (x + 0.044715 x³).

The derivative shares most of its work with the value, so forward makes both and keeps y′ instead of x: the same memory, and
backward is one product.
"""

from __future__ import annotations

import math

from ..array import parallel_for, ranges
from ..array.special import erf
from ..autograd import Op, ops
from .precision import check_floating, widen

_TILE = 1 << 17  # elements a tile: large enough that threads seldom meet at the interpreter lock

# Φ(x) = ½ + x P(x²)/Q(x²) for |x| ≤ 5.44 and 0 or 1 beyond, for float32: a minimax fit of erf with relative error 1.5e-8, several times
# faster than the full-precision erf. Leading coefficient first.
_EDGE = 5.4447
_P = (2.32934069e-08, 6.31260507e-06, 1.62367863e-04, 4.63860411e-03, 3.32160709e-02, 3.98942259e-01)
_Q = (1.21037374e-06, 7.15943679e-05, 1.84812024e-03, 2.82823220e-02, 2.49926776e-01, 1.0)


class GELU(Op):
    """Keeps y′."""

    name = "gelu"

    @staticmethod
    def forward(ctx, x, approximate="none"):
        xp = ctx.xp
        y, value = xp.empty_like(x), _tanh_form if approximate == "tanh" else _exact_form
        slope = xp.empty_like(x) if ctx.needs_input_grad[0] else None
        if x.strides != y.strides:  # gaps or stretched dimensions: "K" would walk the two in different orders
            x = x.copy("K")
        source, flat_y = x.ravel("K"), y.ravel("K")
        flat_slope = None if slope is None else slope.ravel("K")

        def tile(piece):
            where = slice(*piece)
            flat_y[where] = value(xp, widen(xp, source[where]), flat_slope, where)

        parallel_for(tile, ranges(source.size, _TILE))
        ctx.save(slope=slope)
        return y

    @staticmethod
    def backward(ctx, g):
        (slope,) = ctx.saved
        return g * slope


def _distribution(xp, x):
    """Φ(x)."""
    if x.dtype == xp.float64:
        cdf = erf(x * math.sqrt(0.5), xp)
        cdf += 1
        cdf *= 0.5
        return cdf
    cut = xp.clip(x, -_EDGE, _EDGE)
    square = cut * cut
    above, below = square * _P[0], square * _Q[0]
    for a, b in zip(_P[1:-1], _Q[1:-1], strict=True):
        above += a
        above *= square
        below += b
        below *= square
    above += _P[-1]
    below += _Q[-1]
    above /= below
    above *= cut
    above += 0.5
    return above


def _exact_form(xp, x, slope, where):
    """x Φ(x); writes Φ + xφ to ``slope[where]`` if there is one."""
    cdf = _distribution(xp, x)
    if slope is not None:
        density = x * x
        density *= -0.5
        density -= 0.5 * math.log(2 * math.pi)
        xp.exp(density, out=density)
        density *= x
        density += cdf
        slope[where] = density
    cdf *= x
    return cdf


def _tanh_form(xp, x, slope, where):
    """x (1 + tanh u) / 2; writes its derivative to ``slope[where]`` if there is one."""
    root, cube = math.sqrt(2 / math.pi), 0.044715
    square = x * x
    half = xp.tanh(x * (root + root * cube * square))
    half += 1
    half *= 0.5
    if slope is not None:  # y′ = h + x · 2h(1 − h) · u′
        slope[where] = half + 2 * x * half * (1 - half) * (root + 3 * root * cube * square)
    half *= x
    return half


@ops.register
def gelu(input, *, approximate: str = "none"):
    """x Φ(x), elementwise.

    Args:
        approximate: ``"none"``, or ``"tanh"`` for the approximation by tanh.

    Raises:
        RuntimeError: another word. NotImplementedError: integer input.
    """
    check_floating("gelu", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return GELU.apply(input, approximate=approximate)
