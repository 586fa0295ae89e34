"""Which algorithm computes a pass of a problem.

The first of these that says something decides: ``algorithm=`` of the call or layer; the innermost :func:`using`; :func:`set_algorithm`;
``SCRATCHVGG_CONV`` in the environment. They take the name of an algorithm or a mode:

    auto           what this process has measured (see ``autotune.py``); the cost model (see ``candidates.py``) where it has not. The default
    tuned          what was measured on this machine; a problem met for the first time is measured, and remembered in a file
    reproducible   im2col, every pass of every problem

All but ``algorithm=`` take a name where it supports the problem, and im2col elsewhere. On devices that run CUDA kernels the names are those
of ``algorithms(kernels=True)``, and ``tuned`` is ``auto``: nothing is measured there.

Each pass is chosen when it runs, so what is in force around ``backward()`` decides about the gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar

from . import answers
from .candidates import REPRODUCIBLE, candidates
from .registry import Algorithm, algorithms, get

VARIABLE = "SCRATCHVGG_CONV"
MODES = ("auto", "tuned", "reproducible")

_entered: ContextVar[str | None] = ContextVar("scratchvgg.conv.using", default=None)
_process: str | None = None
_interceptors: list[Callable] = []


def choose(
    problem, dtype, algorithm: str | None = None, which: str = "forward", prepared: bool = False, kernels: bool = False
) -> Algorithm:
    """The algorithm that computes pass ``which`` of ``problem``.

    Args:
        algorithm: a name or a mode; None asks the settings.
        which: one of ``PASSES``.
        prepared: forward with a filter that is transformed already, or will be kept.
        kernels: for a device that runs CUDA kernels (see ``conv/device/``) instead of the CPU.

    Raises:
        ValueError: for an unknown name, or a named algorithm that does not support the problem.
    """
    if algorithm is None or algorithm in MODES:
        chosen = _by_mode(problem, dtype, which, prepared, kernels, algorithm or current())
    else:
        chosen = get(algorithm, kernels)
        if not chosen.supports(problem, dtype):
            raise ValueError(f"conv2d: algorithm {chosen.name!r} does not support {problem} in {dtype}")
    for interceptor in _interceptors:
        chosen = interceptor(problem, dtype, which, chosen)
    return chosen


def _by_mode(problem, dtype, which, prepared, kernels, mode) -> Algorithm:
    if mode in ("auto", "tuned") and kernels:
        return candidates(problem, dtype, which, prepared, kernels)[0]
    if mode == "auto":
        return answers.lookup(problem, dtype, which, prepared) or candidates(problem, dtype, which, prepared)[0]
    if mode == "tuned":
        return answers.find(problem, dtype, which, prepared)
    named = algorithms(kernels).get(mode)
    return named if named is not None and named.supports(problem, dtype) else get(REPRODUCIBLE, kernels)


def current() -> str:
    """The mode or name in force where nothing is asked for.

    Raises:
        ValueError: if the environment variable holds an unknown one.
    """
    setting = _entered.get() or _process
    if setting is None:
        setting = os.environ.get(VARIABLE) or "auto"
        check_setting(setting, VARIABLE)
    return setting


def check_setting(setting: str, where: str) -> None:
    """Raise ValueError unless ``setting`` is a mode or the name of an algorithm; ``where`` it came from begins the message."""
    known = sorted({**algorithms(), **algorithms(kernels=True)})
    if setting not in MODES and setting not in known:
        raise ValueError(f"{where}: no convolution algorithm {setting!r}; there are {', '.join((*MODES, *known))}")


@contextmanager
def using(setting: str):
    """Choose by ``setting`` inside the block, in this thread: ``with sv.conv.using("reproducible"): …``.

    Raises:
        ValueError: for an unknown mode or name.
    """
    check_setting(setting, "using")
    token = _entered.set(setting)
    try:
        yield
    finally:
        _entered.reset(token)


def set_algorithm(setting: str | None) -> None:
    """Choose by ``setting`` in this process; None returns to the environment variable.

    Raises:
        ValueError: for an unknown mode or name.
    """
    global _process
    if setting is not None:
        check_setting(setting, "set_algorithm")
    _process = setting


@contextmanager
def intercept_choices(interceptor: Callable):
    """Let ``interceptor(problem, dtype, which, chosen)`` see every choice in the block; what it returns is taken instead."""
    _interceptors.append(interceptor)
    try:
        yield
    finally:
        _interceptors.remove(interceptor)
