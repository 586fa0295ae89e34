"""ReduceLROnPlateau: divide the learning rate when a metric has stopped improving, as the VGG paper did by hand."""

from __future__ import annotations

import warnings
from math import inf

from .base import LRScheduler, checked, current_lrs, per_group, set_lrs


class ReduceLROnPlateau(LRScheduler):
    """× ``factor`` after ``patience`` steps in a row without a better metric. Step it as ``step(metric)``.

    Args:
        mode: is ``"min"`` or ``"max"`` better.
        factor: less than 1.
        patience: how many bad steps are forgiven.
        threshold: by how much a better metric must be better, relatively (``threshold_mode="rel"``) or absolutely (``"abs"``).
        cooldown: steps after a reduction that do not count.
        min_lr: never go below this; a number or one per group.
        eps: do not bother with a smaller change.

    Raises:
        ValueError: for a factor of 1 or more, an unknown mode, or a list of another length than the groups.
        TypeError: if ``optimizer`` is not an Optimizer.
        RuntimeError: when a group was added later and ``min_lr`` was given as a list.
    """

    def __init__(
        self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0, min_lr=0, eps=1e-8,
    ):
        if factor >= 1:
            raise ValueError(f"factor: expected less than 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode: expected 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode: expected 'rel' or 'abs', got {threshold_mode!r}")
        self.optimizer = checked(optimizer)
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = per_group("min_lr", optimizer, min_lr)
        self.last_epoch = self.cooldown_counter = self.num_bad_epochs = 0
        self.best = inf if mode == "min" else -inf
        self._last_lr = current_lrs(optimizer)

    @property
    def in_cooldown(self) -> bool:
        """True while steps do not count."""
        return self.cooldown_counter > 0

    def step(self, metrics, epoch: int | None = None) -> None:
        """Look at the metric (a number or a Tensor of one element) and reduce the learning rates if it is time."""
        current = float(metrics)
        if epoch is not None:
            warnings.warn("step(metric, epoch) is deprecated; leave the epoch out", stacklevel=2)
        floors = self._floors()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            old = current_lrs(self.optimizer)
            new = [max(lr * self.factor, floor) for lr, floor in zip(old, floors, strict=True)]
            set_lrs(self.optimizer, [b if a - b > self.eps else a for a, b in zip(old, new, strict=True)])
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = current_lrs(self.optimizer)

    def _is_better(self, value):
        sign = 1 if self.mode == "max" else -1
        bound = self.best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else self.best + sign * self.threshold
        return value > bound if self.mode == "max" else value < bound

    def _floors(self):
        groups = len(self.optimizer.param_groups)
        if len(self.min_lrs) != groups:
            if self.default_min_lr is None:
                raise RuntimeError(f"min_lr: {len(self.min_lrs)} values were given, the optimizer now has {groups} parameter groups")
            self.min_lrs = [self.default_min_lr] * groups
        return self.min_lrs
