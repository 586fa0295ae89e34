"""The chooser's model of a large GPU, in nanoseconds. As in ``conv/cost.py`` only ratios matter: they say which algorithm is taken."""

from __future__ import annotations

from ...array.dtypes import as_dtype

CLOCK = 1.7  # cycles a nanosecond
LAUNCH = 3_000.0  # nanoseconds: queueing one kernel
BANDWIDTH = 3_000.0  # bytes a nanosecond
ARITHMETIC = 60_000.0  # float32 operations a nanosecond outside the tensor cores; half as many of float64


def multiplied(operations: float, dtype, share: float) -> float:
    """Nanoseconds of so many operations by something that reaches ``share`` of the arithmetic."""
    return operations / (ARITHMETIC * share * (0.5 if as_dtype(dtype).name == "float64" else 1.0))


def moved(numbers: float, itemsize: int) -> float:
    """Nanoseconds of reading or writing so many numbers."""
    return numbers * itemsize / BANDWIDTH


def floor(problem, dtype) -> float:
    """Nanoseconds of reading x and w and writing y once."""
    g = problem
    return moved(g.N * g.H * g.W * g.C + g.N * g.P * g.Q * g.K + g.K * g.R * g.S * (g.C // g.groups), as_dtype(dtype).itemsize)
