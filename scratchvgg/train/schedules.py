"""The course of the learning rate over a whole run, as a factor of the peak at step t of T. Pure functions: nothing to save but t."""

from __future__ import annotations

import math
from collections.abc import Callable

from .recipe import Recipe


def factor(recipe: Recipe, total: int) -> Callable[[int], float]:
    """``f(t)``, the factor of step t = 0 … total − 1 (and ``total``, past the end).

    With w = warmup · total, s = lr_start, e = lr_end:

    ===========  ========================================================================================
    constant     linear from s to 1 over w, then 1
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
        if recipe.schedule == "constant":
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
