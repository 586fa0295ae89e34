"""The range test: some steps at each of a few learning rates, on one batch, each from the same weights (after L. Smith, arXiv 1506.01186, who
lets one run go through all rates; here no rate suffers from what a greater one did)."""

from __future__ import annotations

import math
import time

from .probe import Trial

STEPS = 10  # of a trial at most; momentum 0.9 is at two thirds of its full effect by then
FEWEST = 3
IMAGES = 32
SHARE = 0.45  # of the examination's time
_DECADES = (1e-1, 1e-2, 1e-3, 1.0, 1e-4)


def range_test(case) -> list[Trial]:
    """Trials at the run's rate, and at rates a factor of ten apart, as many as the time allows; by rising rate.

    A first trial of one step tells what a step costs, and with it how many images and steps there is time for.
    """
    case.clock.show("learning rates: what a step costs")
    deadline = case.clock.share(SHARE)
    count = min(IMAGES, len(case.y))
    bench = case.bench(case.start, count)
    rates = _rates(case.rate)
    begun = time.monotonic()
    bench.trial(rates[0], 1)
    cost = (time.monotonic() - begun) / 1.7  # a step, and a forward pass behind it
    each = (deadline - time.monotonic()) / len(rates)
    while count > 4 and cost * FEWEST * 1.5 > each:
        count, cost = count // 2, cost / 2
    if count < min(IMAGES, len(case.y)):
        bench = case.bench(case.start, count)
    steps = max(FEWEST, min(STEPS, int(each / cost) - 1))
    found = []
    for number, rate in enumerate(rates):
        if number > 0 and time.monotonic() + cost * FEWEST > deadline:
            break
        case.clock.show(f"learning rates: {rate:.3g} ({number + 1} of {len(rates)})")
        found.append(bench.trial(rate, steps, deadline + each))
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
    """The smallest rate that does at least half as well as the best: one batch forgives greater rates than a whole training does."""
    top = best(trials)
    return None if top is None else next(trial for trial in trials if trial.drop >= 0.5 * top.drop)


def table(trials: list[Trial]) -> str:
    """``0.001: 2.31 → 2.25, 0.1: 2.31 → 1.04, 10: 2.31 → 8e+05``"""
    return ", ".join(f"{trial.rate:.3g}: {trial.first:.3g} → {'not finite' if math.isinf(trial.last) else f'{trial.last:.3g}'}" for trial in trials)
