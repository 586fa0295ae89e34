"""OneCycleLR (Smith & Topin 2017): up to a large learning rate and down to almost nothing, momentum the other way."""

from __future__ import annotations

from math import cos, pi

from .base import LRScheduler, checked, per_group


class OneCycleLR(LRScheduler):
    """One cycle of the learning rate over a whole training run; step it after every batch.

    ::

        lr          max_lr/div_factor ──► max_lr ──────────────────► that start / final_div_factor
        momentum    max_momentum ───────► base_momentum ───────────► max_momentum
        steps       0 ─────────────────── pct_start·total_steps ──── total_steps

    With ``three_phase`` the way down mirrors the way up, and a last phase falls to the end.

    Args:
        max_lr: the peak, a number or one per group.
        total_steps: the length of the cycle; or give ``epochs`` and ``steps_per_epoch``.
        pct_start: the part of the cycle that rises.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: cycle ``momentum`` (β₁ of Adam) too, between ``base_momentum`` and ``max_momentum``.

    Raises:
        ValueError: for steps that are missing or not positive integers, ``pct_start`` outside [0, 1], an unknown strategy, lists whose length
            is not the number of groups, an optimiser without momentum, or a step after the end of the cycle.
    """

    def __init__(
        self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3, anneal_strategy="cos",
        cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0, final_div_factor=1e4, three_phase=False, last_epoch=-1,
    ):
        checked(optimizer)
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start: expected a float between 0 and 1, got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}")
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"cycle_momentum: {type(optimizer).__name__} has neither momentum nor betas")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(pct_start * self.total_steps, self.total_steps, three_phase)
        self.cycle_momentum, self.use_beta1 = cycle_momentum, "betas" in optimizer.defaults
        peaks, lows, highs = (
            per_group(name, optimizer, value)
            for name, value in (("max_lr", max_lr), ("base_momentum", base_momentum), ("max_momentum", max_momentum))
        )
        if last_epoch == -1:
            for group, peak, low, high in zip(optimizer.param_groups, peaks, lows, highs, strict=True):
                start = peak / div_factor
                group.update(initial_lr=start, max_lr=peak, min_lr=start / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=high, base_momentum=low)
                    self._set_momentum(group, high)
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch > self.total_steps:
            raise ValueError(f"step {self.last_epoch} is after the end of the cycle of {self.total_steps} steps")
        start, phases = 0.0, self._schedule_phases
        for phase in phases:
            if self.last_epoch <= phase["end_step"] or phase is phases[-1]:
                break
            start = phase["end_step"]
        length = phase["end_step"] - start
        done = (self.last_epoch - start) / length if length else 1.0
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                self._set_momentum(group, self._between(group[phase["start_momentum"]], group[phase["end_momentum"]], done))
        return [self._between(g[phase["start_lr"]], g[phase["end_lr"]], done) for g in self.optimizer.param_groups]

    def _between(self, start, end, done):
        if self._anneal_func_type == "linear":
            return (end - start) * done + start
        return end + (start - end) / 2 * (cos(pi * done) + 1)

    def _set_momentum(self, group, value):
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


def _phases(rise, total, three):
    names = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    up = (rise - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if three:
        down = (2 * rise - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
        rows = (up, down, (total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
    else:
        rows = (up, (total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _total_steps(total_steps, epochs, steps_per_epoch):
    if total_steps is not None:
        return _positive("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("total_steps: give it, or both epochs and steps_per_epoch")
    return _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)


def _positive(name, value):
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    return value
