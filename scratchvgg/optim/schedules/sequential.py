"""SequentialLR: one schedule after the other, such as a warm-up and then a cosine."""

from __future__ import annotations

from bisect import bisect_right

from .base import LRScheduler, checked, set_lrs
from .plateau import ReduceLROnPlateau


class SequentialLR(LRScheduler):
    """Follow ``schedulers[i]`` from step ``milestones[i − 1]`` on; each starts there at its own step 0.

    Args:
        schedulers: schedules of the same optimiser.
        milestones: increasing step numbers, one fewer than schedules.

    Raises:
        ValueError: for no schedules, another number of milestones, a schedule of another optimiser, or ReduceLROnPlateau.
        TypeError: for something that is not a schedule.
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch: int = -1):
        if len(schedulers) < 1:
            raise ValueError("schedulers: expected at least one")
        for place, schedule in enumerate(schedulers):
            if not hasattr(schedule, "optimizer"):
                raise TypeError(f"schedulers[{place}]: expected a schedule, got {type(schedule).__name__}")
            if isinstance(schedule, ReduceLROnPlateau):
                raise ValueError(f"schedulers[{place}]: ReduceLROnPlateau needs a metric at each step and cannot be part of a sequence")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"schedulers[{place}]: belongs to another optimizer")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"milestones: expected {len(schedulers) - 1}, one fewer than schedules, got {len(milestones)}")
        self.optimizer = checked(optimizer)
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        # Making the schedules has already stepped each of them once: undo that, and step the first alone.
        set_lrs(optimizer, [group["initial_lr"] for group in optimizer.param_groups])
        self._step_back()
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Set the next learning rates."""
        number = self.last_epoch + 1
        place = bisect_right(self._milestones, number)
        schedule = self._schedulers[place]
        if place > 0 and self._milestones[place - 1] == number:
            schedule._update_lr(0)
        else:
            schedule.step()
        self.last_epoch = number
        self._last_lr = schedule.get_last_lr()

    def state_dict(self):
        """As the base's, with the states of the schedules under ``"_schedulers"``."""
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict):
        """As the base's, for the schedules too."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            schedule.load_state_dict(state)

    def _initial_step(self):
        self.step()

    def _step_back(self):
        for schedule in self._schedulers:
            if isinstance(schedule, SequentialLR):
                schedule._step_back()
            else:
                schedule.last_epoch -= 1
