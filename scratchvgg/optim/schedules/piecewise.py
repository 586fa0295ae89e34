"""PiecewiseLinearLR: a polygon of factors, such as the triangle that fast CIFAR recipes use. torch has no such schedule."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from .base import LRScheduler


class PiecewiseLinearLR(LRScheduler):
    """lr = initial lr × the height at step t of the polygon through (milestones[i], factors[i]); constant before and after it.

    The triangle of airbench: ``PiecewiseLinearLR(optimizer, [0, 0.23 * steps, steps], [0.2, 1.0, 0.07])``.

    Args:
        milestones: step numbers, increasing; they need not be whole.
        factors: one height per milestone.

    Raises:
        ValueError: for no milestones, as many factors not given, or milestones that do not increase.
    """

    def __init__(self, optimizer, milestones, factors, last_epoch: int = -1):
        milestones, factors = list(milestones), list(factors)
        if not milestones or len(milestones) != len(factors):
            raise ValueError(f"factors: expected one for each of the milestones, got {len(factors)} for {len(milestones)}")
        if any(b <= a for a, b in pairwise(milestones)):
            raise ValueError(f"milestones: expected increasing step numbers, got {milestones}")
        self.milestones, self.factors = milestones, factors
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        x, y = self.milestones, self.factors
        i = bisect_right(x, self.last_epoch)
        if i in (0, len(x)):
            factor = y[min(i, len(y) - 1)]
        else:
            factor = y[i - 1] + (y[i] - y[i - 1]) * (self.last_epoch - x[i - 1]) / (x[i] - x[i - 1])
        return [base * factor for base in self.base_lrs]
