"""The sections of the report, in order of worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import against_torch, checks, operations, speed


@dataclass(frozen=True)
class Section:
    """What it does, the seconds it may take, and those without which it is not begun."""

    run: Callable
    what: str
    limit: int
    least: int = 10


SECTIONS = {
    "facts": Section(checks.facts, "what machine this is, and its rates", 60),
    "build": Section(checks.build, "all kernels compiled, on all cores", 120),
    "kernels": Section(checks.kernels, "every kernel on its examples, beside NumPy and the emulator", 90),
    "tests": Section(checks.tests, "all tests marked gpu", 100, 30),
    "timings": Section(speed.timings, "every kernel at VGG's sizes against its floor", 60),
    "convolutions": Section(against_torch.convolutions, "VGG-16's layers, each pass and precision, against cuDNN", 90, 20),
    "operations": Section(operations.operations, "the other operations against PyTorch's", 40, 15),
    "nets": Section(against_torch.nets, "VGG-16, inference and training, against PyTorch", 60, 20),
    "cifar": Section(speed.cifar, "a training run on CIFAR-10, the step a CUDA graph", 80, 30),
    "sanitizer": Section(checks.sanitizer, "compute-sanitizer: memcheck, racecheck, initcheck, synccheck", 200, 40),
}
