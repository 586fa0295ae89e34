"""How far a rounded sum can be from the true one.

A sum of n products, each rounded with unit roundoff u, errs by at most γₙ·S with γₙ = n·u / (1 − n·u) and S = Σ |a|·|b| (Higham, *Accuracy
and Stability of Numerical Algorithms*, 2nd ed., §3.1). Roundings behave like independent random numbers, and then λ·√n·u·S holds with a
probability above 1 − 2·exp(−λ²/2) (Higham & Mary, SIAM J. Sci. Comput. 41, 2019, theorem 2.4): the bounds here take the smaller of both.
"""

from __future__ import annotations

import math

from ..array.dtypes import as_dtype, float32, promote_types

LAMBDA = 6.0
"""Standard deviations: an independent sum exceeds the bound with a probability below 4·10⁻⁸."""


_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}  # of the significand, the hidden one counted


def unit_roundoff(dtype) -> float:
    """Half the distance from 1 to the next larger number: 2⁻²⁴ in float32."""
    return 2.0 ** -_BITS[as_dtype(dtype).name]


def sum_bound(terms: int, dtype) -> float:
    """Relative to Σ |a|·|b|: the error of ``terms`` products added up, in float32 at least, and rounded to ``dtype``."""
    u = unit_roundoff(promote_types(as_dtype(dtype), float32))
    n = max(1, terms)
    rounding = unit_roundoff(dtype) if as_dtype(dtype).itemsize < 4 else 0.0
    return min(n * u / max(1 - n * u, 0.5), LAMBDA * math.sqrt(n) * u) + rounding


def terms(problem, which: str) -> int:
    """Products added up in one number of the result; the bias counts as one."""
    if which == "forward":
        return problem.C // problem.groups * problem.R * problem.S + 1
    if which == "grad_input":
        return problem.K // problem.groups * problem.R * problem.S
    return problem.N * problem.P * problem.Q
