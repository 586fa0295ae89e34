"""Algorithms with a known fault, registered for one test."""

import numpy as np

from scratchvgg.conv import Im2col, registry

OFF = 0.125


class Wrong(Im2col):
    """One number of each result is too large by an eighth of the largest."""

    name = "wrong"

    def forward(self, backend, problem, x, w, bias=None, out=None, **options):
        """im2col, spoilt."""
        return spoilt(super().forward(backend, problem, x, w, bias, out, **options))

    def grad_input(self, backend, problem, dy, w, out=None):
        """im2col, spoilt."""
        return spoilt(super().grad_input(backend, problem, dy, w, out))

    def grad_weight(self, backend, problem, dy, x, out=None):
        """im2col, spoilt."""
        return spoilt(super().grad_weight(backend, problem, dy, x, out))


class Broken(Im2col):
    """Raises."""

    name = "broken"

    def forward(self, *args, **options):
        """Never."""
        raise ArithmeticError("out of numbers")

    grad_input = grad_weight = forward


class Stopped(Im2col):
    """Ctrl-C comes during its fourth call."""

    name = "stopped"
    calls = 0

    def grad_weight(self, *args, **options):
        """im2col."""
        self.calls += 1
        if self.calls == 4:
            raise KeyboardInterrupt
        return super().grad_weight(*args, **options)


def spoilt(y):
    """The largest number, made larger."""
    y.flat[0] = (1 + OFF) * np.abs(y).max()
    return y


def add(monkeypatch, cls):
    """Register ``cls`` until the test ends, at a cost that nobody chooses."""
    algorithm = cls()
    algorithm.cost = lambda *args: float("inf")
    monkeypatch.setitem(registry._ALGORITHMS[cls.kernels], cls.name, algorithm)
    return algorithm
