"""Special functions that NumPy has not: the error function.

W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969): three intervals, each a quotient of
polynomials of degree up to 8, relative error below 1e-16 before rounding. Evaluated in float64, float32 in float32.
"""

from __future__ import annotations

import math

import numpy as np

from .threads import parallel_for, ranges

# Leading coefficient first. |x| ≤ 0.5: erf(x) = x P(x²)/Q(x²).
_P1 = (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3)
_Q1 = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
# 0.5 < |x| ≤ 4: erfc(x) = exp(−x²) P(x)/Q(x).
_P2 = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
    8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
)
_Q2 = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3, 3.29079923573345963e3,
    4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
)
# |x| > 4: erfc(x) = exp(−x²)/x (1/√π − x⁻² P(x⁻²)/Q(x⁻²)).
_P3 = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4)
_Q3 = (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3)
_TILE = 1 << 14


def erf(x, xp=np):
    """erf of each element, in the type of ``x`` (float16 and bfloat16 compute in float32). Any shape and strides.

    ``xp`` is the array module of ``x``.

    Error: below 1e-15 in float64, below 2e-7 in float32.
    """
    out = x.copy("K")
    flat = out.ravel("K")  # a view: a fresh copy has no gaps

    def tile(piece):
        part = flat[slice(*piece)]
        part[...] = _erf(xp, part.astype(xp.float32) if part.dtype.itemsize == 2 else part)

    with np.errstate(all="ignore"):
        parallel_for(tile, ranges(flat.size, _TILE))
    return out


def _ratio(xp, above, below, z):
    """Two polynomials by Horner's rule, and their quotient."""
    kind = z.dtype.type
    p, q = xp.full_like(z, kind(above[0])), xp.full_like(z, kind(below[0]))
    for a, b in zip(above[1:], below[1:], strict=True):
        p *= z
        p += kind(a)
        q *= z
        q += kind(b)
    p /= q
    return p


def _erf(xp, x):
    kind = x.dtype.type
    size = xp.abs(x)
    near = size <= kind(0.5)
    bounded = xp.minimum(size, kind(4))  # NaN stays NaN
    out = kind(1) - xp.exp(-bounded * bounded) * _ratio(xp, _P2, _Q2, bounded)
    far = size > kind(4)
    if xp is not np:  # on a GPU all three intervals cost less than to ask which occur
        out = xp.where(near, _near_zero(xp, xp.minimum(size, kind(0.5))), xp.where(far, _far(xp, xp.maximum(size, kind(4))), out))
        return xp.copysign(out, x, out=out)
    if near.any():
        out[near] = _near_zero(xp, size[near])
    if far.any():
        out[far] = _far(xp, size[far])
    return xp.copysign(out, x, out=out)


def _near_zero(xp, size):
    return size * _ratio(xp, _P1, _Q1, size * size)


def _far(xp, size):
    kind = size.dtype.type
    large = xp.minimum(size, kind(10))
    inverse = 1 / (large * large)
    tail = (kind(1 / math.sqrt(math.pi)) - inverse * _ratio(xp, _P3, _Q3, inverse)) / large
    return kind(1) - xp.exp(-large * large) * tail
