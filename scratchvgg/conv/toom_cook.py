"""Winograd's minimal filtering from points, exactly.

F(m, r) computes m outputs of an r-tap correlation, y[i] = Σₖ d[i + k] g[k], with n = m + r − 1 products instead of m·r:

    y = Aᵀ [ (G g) ⊙ (Bᵀ d) ]

Multiplying polynomials by their values at n − 1 points and at infinity (Toom 1963, Cook 1966) gives the matrices; transposing that algorithm
turns a product of polynomials into the correlation (Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin & Gray, arXiv 1509.09308).
With points a₀ … aₙ₋₂ and Nⱼ = Π_{l ≠ j} (aⱼ − a_l):

    Aᵀ (m, n)   Aᵀ[i, j] = aⱼⁱ;              last column: 1 in the last row
    G  (n, r)   G[j, k]  = aⱼᵏ / Nⱼ;          last row: 1 in the last column
    Bᵀ (n, n)   row j: the coefficients of Π_{l ≠ j} (x − a_l); last row: those of Π_l (x − a_l)

The same three matrices, transposed, give both gradients (each is linear in what it transforms):

    dg = Gᵀ [ (A dy) ⊙ (Bᵀ d) ]       dd = B [ (G g) ⊙ (A dy) ]
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np


class Matrices(NamedTuple):
    """The transforms of F(m, r) as float64 arrays: ``at`` (m, n), ``g`` (n, r), ``bt`` (n, n), with n = m + r − 1."""

    at: np.ndarray
    g: np.ndarray
    bt: np.ndarray


def _times(polynomial, root):
    """polynomial · (x − root), coefficients from the constant up."""
    shifted = [Fraction(0), *polynomial]
    return [s - root * c for s, c in zip(shifted, [*polynomial, Fraction(0)], strict=True)]


def _with_roots(roots):
    polynomial = [Fraction(1)]
    for root in roots:
        polynomial = _times(polynomial, root)
    return polynomial


def matrices(m: int, r: int, points) -> Matrices:
    """The matrices of F(m, r).

    Args:
        m: outputs.
        r: filter taps.
        points: m + r − 2 different rational numbers (anything ``Fraction`` takes).

    Raises:
        ValueError: for another number of points, or equal ones.
    """
    points = [Fraction(p) for p in points]
    n = m + r - 1
    if len(points) != n - 1 or len(set(points)) != n - 1:
        raise ValueError(f"F({m}, {r}) needs {n - 1} different points, got {', '.join(map(str, points))}")
    norms = [prod((a - b for b in points if b is not a), start=Fraction(1)) for a in points]
    at = [[a**i for a in points] + [Fraction(int(i == m - 1))] for i in range(m)]
    g = [[a**k / norm for k in range(r)] for a, norm in zip(points, norms, strict=True)] + [[Fraction(int(k == r - 1)) for k in range(r)]]
    bt = [[*_with_roots([b for b in points if b is not a]), Fraction(0)] for a in points] + [_with_roots(points)]
    return Matrices(*(np.array([[float(v) for v in row] for row in rows]) for rows in (at, g, bt)))
