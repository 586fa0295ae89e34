"""Which algorithms may compute a pass, and which of them the cost model takes.

An algorithm may be taken by itself if it supports the problem, has a finite cost, and its error bound is at most so many times the
bound of im2col, which adds the products up as they are; one that the user has a switch for, if that is on. The cheapest of those is
taken, the first name of equals: the same on every machine and in every run.
"""

from __future__ import annotations

import functools
import math

from ..array.dtypes import as_dtype
from .registry import Algorithm, algorithms

REPRODUCIBLE = "im2col"
"""What the reproducible mode always takes: it does every problem."""

FARTHEST = 10  # times the least predicted cost: what is predicted to take longer is not measured
_LIMITS = {"float64": 1.5}
_LIMIT = 30.0


def error_limit(dtype) -> float:
    """How many times im2col's error bound an algorithm that is chosen by itself may have in ``dtype``.

    1.5 in float64, which people use to check: what rounds like a plain sum of products. 30 in the others: F(4×4, 3×3), which has 6 to 12
    times the bound in VGG's layers, may be taken, an algorithm that loses another digit may not.
    """
    return _LIMITS.get(as_dtype(dtype).name, _LIMIT)


def set_error_limit(dtype, times: float) -> None:
    """Change :func:`error_limit` of ``dtype`` for this process.

    Raises:
        ValueError: if ``times`` is not a number of 1 or more.
    """
    if not isinstance(times, (int, float)) or isinstance(times, bool) or not times >= 1:
        raise ValueError(f"set_error_limit: expected a number of 1 or more, got {times!r}")
    _LIMITS[as_dtype(dtype).name] = float(times)


def candidates(problem, dtype, which: str = "forward", prepared: bool = False, kernels: bool = False) -> list[Algorithm]:
    """The algorithms that may be taken by themselves, cheapest first. im2col is always among them.

    Args:
        prepared: the filter is transformed already (forward): that costs nothing then.
        kernels: for a device that runs CUDA kernels.
    """
    return [a for a, _ in _ranked(problem, as_dtype(dtype), which, prepared, error_limit(dtype), _known(kernels))]


def contenders(problem, dtype, which: str = "forward", prepared: bool = False, kernels: bool = False) -> list[Algorithm]:
    """The candidates worth measuring: without those whose predicted cost is :data:`FARTHEST` off."""
    ranked = _ranked(problem, as_dtype(dtype), which, prepared, error_limit(dtype), _known(kernels))
    return [a for a, cost in ranked if cost <= FARTHEST * ranked[0][1]]


def _known(kernels) -> tuple[tuple[Algorithm, bool | None], ...]:
    """All registered algorithms and where their switches stand: a new one, or another position, makes new answers."""
    return tuple((a, a.permitted) for a in algorithms(kernels).values())


@functools.lru_cache(4096)
def _ranked(problem, dtype, which, prepared, limit, known) -> tuple[tuple[Algorithm, float], ...]:
    """Pairs of candidate and cost; ``known`` as of :func:`_known`."""
    reference = next(a for a, _ in known if a.name == REPRODUCIBLE)
    bound = limit * reference.error_bound(problem, dtype, which)

    def allowed(a, permitted):
        return a.supports(problem, dtype) and (a.error_bound(problem, dtype, which) <= bound if permitted is None else permitted)

    safe = [a for a, permitted in known if a is reference or allowed(a, permitted)]
    costs = [(a, predicted(a, problem, dtype, which, prepared)) for a in safe]
    return tuple(sorted((pair for pair in costs if math.isfinite(pair[1]) or pair[0] is reference), key=lambda pair: (pair[1], pair[0].name)))


def predicted(algorithm: Algorithm, problem, dtype, which: str = "forward", prepared: bool = False) -> float:
    """The algorithm's cost in nanoseconds of one core, without that of transforming the filter if it is ``prepared``."""
    cost = algorithm.cost(problem, dtype, which)
    return max(0.0, cost - algorithm.prepare_cost(problem, dtype)) if prepared and which == "forward" and algorithm.prepares else cost
