"""Which algorithms may compute a pass, and which of them the cost model takes.

An algorithm may be taken by itself if it supports the problem, has a finite cost, and its error bound is at most so many times the
bound of im2col, which adds the products up as they are. The cheapest of those is taken, the first name of equals: the same on every
machine and in every run.
"""

from __future__ import annotations

import functools
import math

from ..array.dtypes import as_dtype
from .registry import Algorithm, algorithms, get

REPRODUCIBLE = "im2col"
"""What the reproducible mode always takes: it does every problem."""

_LIMITS = {"float64": 2.0}
_LIMIT = 1000.0


def error_limit(dtype) -> float:
    """How many times im2col's error bound an algorithm that is chosen by itself may have in ``dtype``.

    2 in float64, which people use to check: plain sums of products only. 1000 in the others: Winograd's transforms are in, an
    algorithm that loses another digit is not.
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


def candidates(problem, dtype, which: str = "forward") -> list[Algorithm]:
    """The algorithms that may be taken by themselves, cheapest first. im2col is always among them."""
    dtype = as_dtype(dtype)
    return list(_ranked(problem, dtype, which, error_limit(dtype), tuple(algorithms().values())))


@functools.lru_cache(4096)
def _ranked(problem, dtype, which, limit, known) -> tuple[Algorithm, ...]:
    """``known`` are all registered algorithms: a new one makes new answers."""
    reference = get(REPRODUCIBLE)
    bound = limit * reference.error_bound(problem, dtype, which)
    safe = [(a.cost(problem, dtype, which), a.name, a) for a in known
            if a is reference or (a.supports(problem, dtype) and a.error_bound(problem, dtype, which) <= bound)]
    return tuple(a for cost, _, a in sorted(safe, key=lambda entry: entry[:2]) if math.isfinite(cost) or a is reference)
