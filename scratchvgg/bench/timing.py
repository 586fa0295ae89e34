"""Comparing times on a machine that is never quite at rest.

Sides are timed in turn, A B A B …, so that a slow moment hits all of them; medians and quartiles say what is typical, and a ratio is
the median of the ratios of neighbours. What one side leaves behind must not be counted against the next: idle threads of a BLAS or of OpenMP spin for
some milliseconds, and the caches hold the other side's arrays. So each sample follows a short sleep and one call that is not counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

SAMPLE = 0.02  # seconds: a shorter piece of work is repeated within a sample
SETTLE = 0.01  # seconds of sleep before a sample
SLOW = 0.25  # seconds: longer work is not warmed up before each sample, what the other side left behind is little beside it
LEAST, MOST = 3, 100  # rounds


@dataclass
class Timing:
    """Times of one side.

    Attributes:
        samples: seconds of one call, one entry a round.
        inner: calls in a sample.
    """

    samples: list[float] = field(default_factory=list)
    inner: int = 1

    @property
    def n(self) -> int:
        """Rounds measured."""
        return len(self.samples)

    @property
    def median(self) -> float:
        """Seconds of a call; NaN if nothing was measured."""
        return quartiles(self.samples)[1]

    @property
    def spread(self) -> float:
        """(upper − lower quartile) / median."""
        low, middle, high = quartiles(self.samples)
        return (high - low) / middle

    def summary(self) -> dict:
        """Plain values for a report: seconds, quartiles, best, spread, rounds and calls in a sample."""
        low, middle, high = quartiles(self.samples)
        return {"seconds": middle, "low": low, "high": high, "best": min(self.samples, default=math.nan), "spread": (high - low) / middle,
                "rounds": self.n, "inner": self.inner}


class Timings(dict):
    """Name → :class:`Timing`; ``interrupted`` says that Ctrl-C ended the rounds early."""

    interrupted = False

    def ratio(self, of: str, to: str) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile, over the rounds, of time(of) / time(to); above 1, ``to`` is the faster."""
        a, b = self[of].samples, self[to].samples
        return quartiles([x / y for x, y in zip(a, b, strict=False)])


def quartiles(values) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; NaN of nothing."""
    return tuple(float(q) for q in np.percentile(values, (25, 50, 75))) if len(values) else (math.nan,) * 3


def interleave(sides: Mapping[str, Callable[[], object]], seconds: float = 0.5, *, rounds: int | None = None, flush: int = 0,
               progress: Callable[[str], None] = lambda text: None) -> Timings:
    """Time several ways of doing a thing, in turn.

    Args:
        sides: name → a call to time.
        seconds: about how long each side is sampled; at least 3 rounds and at most 100.
        rounds: so many rounds instead.
        flush: bytes to read and write before each sample, to empty the caches; samples are then single calls.
        progress: told what is going on.

    Returns:
        Timings in the order of ``sides``. Ctrl-C ends the measurement and keeps what there is.

    Raises:
        ValueError: for no side, or fewer than one round.
    """
    if not sides or (rounds is not None and rounds < 1):
        raise ValueError(f"interleave: expected at least one side and one round, got {list(sides)} and {rounds}")
    result = Timings({name: Timing() for name in sides})
    dirt = np.ones(flush, np.uint8)
    try:
        once = {name: _calibrate(result[name], call, flush, progress, name) for name, call in sides.items()}
        if rounds is None:
            rounds = min(MOST, max(LEAST, round(seconds * len(sides) / sum(max(t, SAMPLE) for t in once.values()))))
        names = list(sides)
        for number in range(rounds):
            turn = number % len(names)  # nobody always follows the same neighbour
            for name in names[turn:] + names[:turn]:
                progress(f"{name}, round {number + 1} of {rounds}")
                result[name].samples.append(_sample(sides[name], result[name].inner, once[name], dirt))
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _calibrate(timing, call, flush, progress, name) -> float:
    """Seconds of a warm call; sets how many make a sample."""
    progress(f"{name}, warming up")
    call()
    once = _seconds(call, 1)
    if once < SAMPLE and not flush:
        once = min(once, _seconds(call, max(1, min(10, round(SAMPLE / max(once, 1e-9))))))
        timing.inner = max(1, math.ceil(SAMPLE / max(once, 1e-9)))
    return once


def _sample(call, inner, once, dirt) -> float:
    time.sleep(SETTLE)
    if dirt.size:
        dirt += 1
    elif once < SLOW:
        call()
    return _seconds(call, inner)


def _seconds(call, inner) -> float:
    start = time.perf_counter()
    for _ in range(inner):
        call()
    return (time.perf_counter() - start) / inner
