"""The normal distribution's Φ and its inverse, on arrays.

Inverse: algorithm AS 241 (PPND16), M. J. Wichura, "The percentage points of the normal distribution", Applied Statistics 37
(1988): three pairs of degree-7 polynomials, relative error about 1e-16 in float64.
"""

from __future__ import annotations

import math

_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0),
)
_SIDES = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.67638483018380384940, 2.05319162663775882187, 1.0),
)
_TAILS = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)


def normal_cdf(x: float) -> float:
    """Φ(x) of one number."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def normal_quantile(xp, p):
    """Φ⁻¹(p), elementwise, computed in float64; ±inf at 0 and 1.

    Args:
        xp: the array module.
        p: array of probabilities, any floating type.

    Returns:
        A float64 array.
    """
    p = p.astype("float64")
    q = p - 0.5
    with_centre = q * _ratio(_CENTRE, 0.180625 - q * q)
    r = xp.sqrt(-xp.log(xp.maximum(xp.minimum(p, 1 - p), 5e-324)))  # distance into the tail
    outside = xp.where(r <= 5, _ratio(_SIDES, r - 1.6), _ratio(_TAILS, r - 5))
    outside = xp.where(xp.minimum(p, 1 - p) <= 0, xp.inf, outside)
    return xp.where(xp.abs(q) <= 0.425, with_centre, xp.copysign(outside, q))


def _ratio(polynomials, x):
    top, bottom = polynomials
    return _horner(top, x) / _horner(bottom, x)


def _horner(coefficients, x):
    total = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total
