"""Which algorithm computes a pass of a problem."""

from __future__ import annotations

from .registry import Algorithm, get

REPRODUCIBLE = "im2col"
"""What the reproducible mode always takes: it does every problem."""


def choose(problem, dtype, algorithm: str | None = None, which: str = "forward") -> Algorithm:
    """The algorithm to use: the one asked for, else im2col, which takes every problem.

    Raises:
        ValueError: for an unknown name, or one that does not support the problem.
    """
    chosen = get(algorithm or REPRODUCIBLE)
    if not chosen.supports(problem, dtype):
        raise ValueError(f"conv2d: algorithm {chosen.name!r} does not support {problem} in {dtype}")
    return chosen
