"""The course of the learning rate over a whole run, as a factor of the peak at step t of T.

Pure functions, with nothing to save but t; only a plateau has a state, of what the tests have shown so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..optim.lr_scheduler import LambdaLR
from ..optim.schedules.base import current_lrs, set_lrs
from .recipe import Recipe


class Course(LambdaLR):
    """Sets the learning rates of each step by :func:`factor`.

    Args:
        recipe: what schedule. optimizer: whose rates. total: T, steps of the whole run.

    Attributes:
        over: the training ends, whatever its number of epochs.
    """

    over = False

    def __init__(self, recipe: Recipe, optimizer, total: int):
        super().__init__(optimizer, factor(recipe, total))

    def after_test(self, accuracy: float) -> str | None:
        """Hear the test accuracy at the end of an epoch. Returns what there is to say about it, or None."""
        return None


class Plateau(Course):
    """Multiplies the rates by ``gamma`` when accuracy stops improving: after more than ``patience`` tests in a row none of which was better
    than the best so far. It does so ``drops`` times (3 in the paper); the next time the training is over."""

    def __init__(self, recipe: Recipe, optimizer, total: int):
        self.best, self.waited, self.dropped = None, 0, 0
        self._limits = recipe.gamma, recipe.patience, recipe.drops
        super().__init__(recipe, optimizer, total)

    def get_lr(self):
        return [lr * self._limits[0] ** self.dropped for lr in super().get_lr()]

    def after_test(self, accuracy):
        gamma, patience, drops = self._limits
        if self.best is None or accuracy > self.best:
            self.best, self.waited = accuracy, 0
            return None
        self.waited += 1
        if self.waited <= patience:
            return None
        if self.dropped == drops:
            self.over = True
            return f"no better test accuracy than {100 * self.best:.2f} % in {self.waited} tests, after {drops} drops of the learning rate: the end"
        self.waited, self.dropped = 0, self.dropped + 1
        set_lrs(self.optimizer, self.get_lr())
        self._last_lr = current_lrs(self.optimizer)
        return (f"no better test accuracy than {100 * self.best:.2f} % in {patience + 1} tests: learning rate × {gamma:g} "
                f"(drop {self.dropped} of {drops})")


COURSES: dict[str, type[Course]] = {"plateau": Plateau}


def course(recipe: Recipe, optimizer, total: int) -> Course:
    """The recipe's schedule for an optimiser, over ``total`` steps at most."""
    return COURSES.get(recipe.schedule, Course)(recipe, optimizer, total)


def factor(recipe: Recipe, total: int) -> Callable[[int], float]:
    """``f(t)``, the factor of step t = 0 … total − 1 (and ``total``, past the end).

    With w = warmup · total, s = lr_start, e = lr_end:

    ===========  ========================================================================================
    constant     linear from s to 1 over w, then 1
    plateau      as constant (:class:`Plateau` multiplies it)
    step         as constant, multiplied by gamma at each milestone · total
    cosine       linear from s to 1 over w, then half a cosine from 1 to e
    triangular   linear from s to 1 over w, then linear from 1 to e
    one_cycle    half a cosine from s to 1 over w, then half a cosine from 1 to e (Smith & Topin 2018)
    ===========  ========================================================================================
    """
    peak, start, end = recipe.warmup * total, recipe.lr_start, recipe.lr_end
    rise = _cosine if recipe.schedule == "one_cycle" else _linear
    milestones = [fraction * total for fraction in recipe.milestones]

    def after_peak(t):
        if recipe.schedule in ("constant", "plateau"):
            return 1.0
        if recipe.schedule == "step":
            return recipe.gamma ** sum(t >= milestone for milestone in milestones)
        done = min(1.0, (t - peak) / max(total - peak, 1.0))
        return (_linear if recipe.schedule == "triangular" else _cosine)(1.0, end, done)

    return lambda t: rise(start, 1.0, t / peak) if t < peak else after_peak(t)


def _linear(a: float, b: float, x: float) -> float:
    return a + (b - a) * x


def _cosine(a: float, b: float, x: float) -> float:
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * x))
