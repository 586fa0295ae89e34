"""The range test: some steps at each of a few learning rates, on one batch, each from the same weights (after L. Smith, arXiv 1506.01186, who
lets one run go through all rates; here no rate suffers from what a greater one did)."""

from __future__ import annotations

import math
import time

from .probe import Trial
from .registry import Skip

STEPS = 10  # of a trial at most; momentum 0.9 is at two thirds of its full effect by then
FEWEST = 3
STEP = 4  # what a step costs, in forward passes
IMAGES = 32
SHARE = 0.45  # of the examination's time
_DECADES = (1e-1, 1e-2, 1e-3, 1.0, 1e-4)


def range_test(case) -> list[Trial]:
    """Trials at the run's rate, and at rates a factor of ten apart, as many as the time allows; by rising rate.

    The number of images follows from what one costs; the number of steps is what the first trial has time for.

    Raises:
        Skip: if there is no time for a single trial.
    """
    rates = _rates(case.rate)
    deadline = case.clock.share(SHARE)
    each = (deadline - time.monotonic()) / len(rates)
    count = max(8, min(IMAGES, len(case.y), int(each / (STEPS * STEP * case.cost))))
    step = STEP * case.cost * min(count, len(case.y))
    if FEWEST * step > deadline - time.monotonic():
        raise Skip(f"a step takes about {step:.0f} s here: it needs more time (--seconds {10 * FEWEST * math.ceil(step):d})")
    bench, steps, found = case.bench(case.start, count), STEPS, []
    for number, rate in enumerate(rates):
        begun = time.monotonic()
        case.clock.show(f"learning rates: {rate:.3g} ({number + 1} of {len(rates)})")
        found.append(bench.trial(rate, steps, begun + each, FEWEST))
        if number == 0 and not found[0].diverged:
            steps = len(found[0].losses) - 1
        if time.monotonic() + (time.monotonic() - begun) > deadline:
            break
    return sorted(found, key=lambda trial: trial.rate)


def _rates(own: float | None) -> list[float]:
    """The run's rate first, then decades around where VGGs learn; a decade within a factor of two of the run's rate is left out."""
    rates = [] if own is None else [own]
    return rates + [rate for rate in _DECADES if own is None or own <= 0 or not 0.5 < rate / own < 2]


def at(trials: list[Trial], rate: float | None) -> Trial | None:
    """The trial at a rate."""
    return next((trial for trial in trials if trial.rate == rate), None)


def best(trials: list[Trial]) -> Trial | None:
    """The trial whose loss fell most, by 2 % at least; None if none did."""
    falling = [trial for trial in trials if trial.drop > 0.02 * trial.first]
    return max(falling, key=lambda trial: trial.drop, default=None)


def advised(trials: list[Trial]) -> Trial | None:
    """The smallest rate that does at least a third as well as the best: one batch forgives greater rates than a whole training does."""
    top = best(trials)
    return None if top is None else next(trial for trial in trials if trial.drop >= top.drop / 3)


def table(trials: list[Trial]) -> str:
    """``0.001: 2.31 → 2.25, 0.1: 2.31 → 1.04, 10: 2.31 → 8e+05``"""
    return ", ".join(f"{trial.rate:.3g}: {trial.first:.3g} → {'not finite' if math.isinf(trial.last) else f'{trial.last:.3g}'}" for trial in trials)
