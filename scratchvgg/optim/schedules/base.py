"""What every schedule shares.

A schedule steps once after each epoch (or batch) of the optimiser. Most are written as torch writes them, as a rule from the previous
learning rate to the next (``get_lr``), so that several can act on one optimiser at once and products of factors chain.
"""

from __future__ import annotations

import warnings

from ...autograd import Tensor
from ..optimizer import Optimizer, number


class LRScheduler:
    """Base of the schedules. A subclass writes :meth:`get_lr`.

    Args:
        optimizer: whose ``param_groups`` to change. Each group gets ``"initial_lr"``, its learning rate before any schedule.
        last_epoch: −1 to start; n to go on after step n of an optimiser whose groups have their ``"initial_lr"``.

    Attributes:
        last_epoch: the number of steps taken.
        base_lrs: the initial learning rate of each group.

    Raises:
        TypeError: if ``optimizer`` is not an Optimizer.
        KeyError: when going on without ``"initial_lr"``.
    """

    _is_initial = False  # True during the step that sets the first learning rate

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self.optimizer = checked(optimizer)
        for place, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"last_epoch={last_epoch}: param_groups[{place}] has no 'initial_lr' to go on from; load the optimizer's state first")
        self.base_lrs = [number(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def get_lr(self) -> list[float]:
        """The learning rates of step ``last_epoch``, one per group, from the present ones in the groups."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Set the next learning rates. Call it after ``optimizer.step()``.

        Args:
            epoch: jump to this step instead of the next (discouraged, as in torch).
        """
        if self._step_count == 1 and self.optimizer.steps == 0 and type(self.optimizer).step is Optimizer.step:
            warnings.warn("lr_scheduler.step() was called before optimizer.step(): the first learning rate is never used", stacklevel=2)
        if epoch is not None:
            warnings.warn("step(epoch) is deprecated; call step() without it to go to the next", stacklevel=2)
        self._update_lr(epoch)
        self._step_count += 1

    def state_dict(self) -> dict:
        """All attributes but the optimiser."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what :meth:`state_dict` gave, here or in torch."""
        self.__dict__.update(state_dict)

    def _initial_step(self):
        self._step_count, self._is_initial = 0, True
        try:
            self._update_lr()
        finally:
            del self._is_initial
        self._step_count = 1

    def _update_lr(self, epoch=None):
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else epoch
        try:
            rates = self.get_lr() if epoch is None else getattr(self, "_get_closed_form_lr", self.get_lr)()
        except BaseException:
            self.last_epoch = before
            raise
        set_lrs(self.optimizer, rates)
        self._last_lr = current_lrs(self.optimizer)


def checked(optimizer) -> Optimizer:
    """The argument, or TypeError."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: expected an Optimizer, got {type(optimizer).__name__}")
    return optimizer


def current_lrs(optimizer) -> list[float]:
    """The learning rate of each group."""
    return [number(group["lr"]) for group in optimizer.param_groups]


def set_lrs(optimizer, rates) -> None:
    """Write one learning rate into each group; a Tensor there is filled in place."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            with group["lr"].backend.quiet():
                group["lr"].array[...] = number(rate)
            group["lr"].version.value += 1
        else:
            group["lr"] = rate


def per_group(name: str, optimizer, value) -> list:
    """One value per group: a list is checked for its length, anything else is repeated.

    Raises:
        ValueError: for a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{name}: expected one value for each of {groups} parameter groups, got {len(value)}")
    return list(value)
