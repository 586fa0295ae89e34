"""No optimiser and no schedule without a comparison."""

from __future__ import annotations

import inspect

from scratchvgg import optim

from .cases import NOT_IN_TORCH, OPTIMIZERS, SCHEDULES

ABSTRACT = {"Optimizer", "LRScheduler"}


def public_classes(module):
    return {name for name in module.__all__ if inspect.isclass(getattr(module, name))} - ABSTRACT


def test_every_public_class_has_cases():
    assert public_classes(optim) - set(NOT_IN_TORCH) == set(OPTIMIZERS)
    assert public_classes(optim.lr_scheduler) - set(NOT_IN_TORCH) == set(SCHEDULES) - {"chained"}
