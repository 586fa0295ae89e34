"""The discrete Fourier transform of small tiles as products by matrices.

For tiles of 8 to 48 pixels the fast Fourier transform saves less than it costs outside of BLAS: multiplying by the matrix of the transform
takes a third of the time of ``numpy.fft`` for 16×16 pixels of 64 channels (measured), and leaves the frequencies where the products want them.

A tile is real. Along its columns v = 0 … ⌊n/2⌋ suffice, as (real, imaginary) rows; along its rows all frequencies are needed. A complex product
X·Y with X = a + b·i, Y = c + d·i takes three real ones (Gauss):

    k₁ = c·(a + b)    k₂ = a·(d − c)    k₃ = b·(c + d)        X·Y = (k₁ − k₃) + (k₁ + k₂)·i

The second transform delivers a + b, a, b (or c, d − c, c + d of the conjugate), and the first inverse takes k₁, k₂, k₃: the
three sums are part of the matrices. So a correlation is real matrices, elementwise real products and real matrices, like Winograd's.

All matrices are float64; n is the tile's size.
"""

from __future__ import annotations

import functools

import numpy as np


def _waves(frequencies: int, pixels: int, n: int):
    """cos and sin of 2π·frequency·pixel / n; the angle is reduced first, so that no digit is lost."""
    angle = 2 * np.pi / n * (np.outer(np.arange(frequencies), np.arange(pixels)) % n)
    return np.cos(angle), np.sin(angle)


@functools.lru_cache(256)
def real(pixels: int, n: int) -> np.ndarray:
    """(2·(⌊n/2⌋ + 1), pixels): real numbers, zeros behind them up to n, to frequencies (v, real or imaginary)."""
    cos, sin = _waves(n // 2 + 1, pixels, n)
    return np.stack([cos, -sin], axis=1).reshape(-1, pixels)


@functools.lru_cache(256)
def factors(pixels: int, n: int, conjugate: bool) -> np.ndarray:
    """(3·n, 2·pixels): complex numbers (part, pixel) to the factors (a + b, a, b) at n frequencies.

    Args:
        conjugate: to (c, d − c, c + d) of the conjugate c + d·i instead, the other side of the products.
    """
    cos, sin = _waves(n, pixels, n)
    a, b = np.hstack([cos, sin]), np.hstack([-sin, cos])
    return np.concatenate([a, -b - a, a - b] if conjugate else [a + b, a, b])


@functools.lru_cache(256)
def complex_inverse(pixels: int, n: int) -> np.ndarray:
    """(2·pixels, 3·n): products (k₁, k₂, k₃) at n frequencies to the first ``pixels`` complex numbers (part, pixel)."""
    cos, sin = _waves(pixels, n, n)
    return np.block([[cos - sin, -sin, -cos], [cos + sin, cos, -sin]]) / n


@functools.lru_cache(256)
def real_inverse(pixels: int, n: int) -> np.ndarray:
    """(pixels, 2·(⌊n/2⌋ + 1)): frequencies (v, real or imaginary) to the first ``pixels`` real numbers."""
    cos, sin = _waves(pixels, n // 2 + 1, n)
    twice = np.full(n // 2 + 1, 2.0)  # a frequency stands for its mirror image too, if it has one
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    return np.stack([cos * twice, -sin * twice], axis=2).reshape(pixels, -1) / n
