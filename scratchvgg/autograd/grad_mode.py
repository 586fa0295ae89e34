"""Switches, one per thread: is the tape recording, is this inference, is anomaly mode on, is a checkpoint at work."""

from __future__ import annotations

import functools
import threading


class _State(threading.local):
    grad = True
    inference = False
    anomaly = False
    checkpoint = None  # who takes every recorded node, see checkpoint.py
    recomputing = False


state = _State()


def is_grad_enabled() -> bool:
    """True while operations are recorded on the tape."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """True inside :class:`inference_mode`."""
    return state.inference


def is_anomaly_enabled() -> bool:
    """True while anomaly mode is on."""
    return state.anomaly


def is_recomputing() -> bool:
    """True while backward runs a :func:`~scratchvgg.autograd.checkpoint` function for the second time: what counts calls must not count this one."""
    return state.recomputing


class _Switch:
    """A context manager that is also a decorator: sets attributes of ``state`` and puts the old values back."""

    values: dict[str, bool]

    def __enter__(self):
        self.__dict__.setdefault("_before", []).append({name: getattr(state, name) for name in self.values})
        for name, value in self.values.items():
            setattr(state, name, value)
        return self

    def __exit__(self, *_):
        for name, value in self._before.pop().items():
            setattr(state, name, value)

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)._copy(self):
                return function(*args, **kwargs)

        return wrapped

    def _copy(self):
        fresh = object.__new__(type(self))
        fresh.values = self.values
        return fresh


class _PlainSwitch(_Switch):
    """A switch without arguments: ``@no_grad`` works as well as ``@no_grad()``."""

    def __new__(cls, function=None):
        self = super().__new__(cls)
        return self if function is None else self(function)


class no_grad(_PlainSwitch):
    """Record nothing: results do not require grad. Context manager or decorator."""

    values = {"grad": False}


class enable_grad(_PlainSwitch):
    """Record again inside a :class:`no_grad` region."""

    values = {"grad": True}


class inference_mode(_Switch):
    """As :class:`no_grad`, and the results can never take part in a recorded operation later.

    Args:
        mode: False makes it do nothing.
    """

    def __new__(cls, mode=True):
        self = super().__new__(cls)
        if callable(mode):
            self.values = {"grad": False, "inference": True}
            return self(mode)
        self.values = {"grad": False, "inference": True} if mode else {}
        return self


class _Setting(_Switch):
    """A switch that acts when it is made, and ends with a ``with`` block if there is one. As a decorator it acts in each call."""

    attribute: str

    def __init__(self, mode: bool):
        self.values = {self.attribute: bool(mode)}
        super().__enter__()

    def __enter__(self):
        return self

    def __call__(self, function):
        self.__exit__()

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)(self.values[self.attribute]):
                return function(*args, **kwargs)

        return wrapped


class set_grad_enabled(_Setting):
    """Set recording on or off: at once when called, for a ``with`` block, or for a function."""

    attribute = "grad"


class set_detect_anomaly(_Setting):
    """Turn anomaly mode on or off (see :mod:`scratchvgg.autograd.anomaly`): at once, for a ``with`` block, or for a function."""

    attribute = "anomaly"


class detect_anomaly(_PlainSwitch):
    """Check every result and every gradient for NaN and Inf; the first one raises, naming the operation and where it was called."""

    values = {"anomaly": True}
