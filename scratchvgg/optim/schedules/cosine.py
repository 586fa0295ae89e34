"""CosineAnnealingLR (Loshchilov & Hutter 2017, without restarts)."""

from __future__ import annotations

from math import cos, pi

from .base import LRScheduler, current_lrs


class CosineAnnealingLR(LRScheduler):
    """Down from the initial learning rate to ``eta_min`` along half a cosine of ``T_max`` steps, then up again, and so on.

    In closed form lr(t) = eta_min + (initial lr − eta_min)(1 + cos(πt / T_max)) / 2. ``get_lr`` follows from the previous value, so that a factor
    that another schedule has applied stays.
    """

    def __init__(self, optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        t, period, low = self.last_epoch, self.T_max, self.eta_min
        rates = current_lrs(self.optimizer)
        if self._is_initial:
            return rates
        if (t - 1 - period) % (2 * period) == 0:  # the last value was the minimum, where the ratio below is 0/0
            return [lr + (base - low) * (1 - cos(pi / period)) / 2 for lr, base in zip(rates, self.base_lrs, strict=True)]
        ratio = (1 + cos(pi * t / period)) / (1 + cos(pi * (t - 1) / period))
        return [ratio * (lr - low) + low for lr in rates]

    def _get_closed_form_lr(self):
        return [self.eta_min + (base - self.eta_min) * (1 + cos(pi * self.last_epoch / self.T_max)) / 2 for base in self.base_lrs]
