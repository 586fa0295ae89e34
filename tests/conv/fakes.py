"""Algorithms that only declare things, and a registry to put them in for the time of a test."""

from __future__ import annotations

import contextlib
import time

import numpy as np

from scratchvgg.conv import Algorithm, get, registry


class Fake(Algorithm):
    """im2col under another name, with a cost, a bound (in im2col's) and support as given; counts what it does."""

    def __init__(self, name, cost=1.0, bound=1.0, supported=True, prepare_cost=None, delay=0.0):
        self.name, self._cost, self._bound, self._supported, self._delay = name, cost, bound, supported, delay
        self.prepares, self._prepare_cost = prepare_cost is not None, prepare_cost or 0.0
        self.calls, self.prepared = [], 0

    def supports(self, problem, dtype):
        return self._supported(problem) if callable(self._supported) else self._supported

    def workspace(self, problem, dtype, which="forward"):
        return 0

    def cost(self, problem, dtype, which="forward"):
        return self._cost[which] if isinstance(self._cost, dict) else self._cost

    def prepare_cost(self, problem, dtype):
        return self._prepare_cost

    def error_bound(self, problem, dtype, which="forward"):
        return self._bound * get("im2col").error_bound(problem, dtype, which)

    def prepare(self, backend, problem, w):
        self.prepared += 1
        return [np.array(w), {"copy": np.array(w)}]

    def filter_key(self, problem):
        return problem.H, problem.W

    def forward(self, backend, problem, x, w, bias=None, out=None, prepared=None):
        self.calls.append("forward" if prepared is None else "forward, prepared")
        return self._do("forward", backend, problem, x, w if prepared is None else prepared[0], bias, out)

    def grad_input(self, backend, problem, dy, w, out=None):
        self.calls.append("grad_input")
        return self._do("grad_input", backend, problem, dy, w, out)

    def grad_weight(self, backend, problem, dy, x, out=None):
        self.calls.append("grad_weight")
        return self._do("grad_weight", backend, problem, dy, x, out)

    def _do(self, which, *args):
        time.sleep(self._delay)
        return getattr(get("im2col"), which)(*args)


@contextlib.contextmanager
def registered(*fakes, alone=False):
    """Have ``fakes`` registered in the block, beside the others, or ``alone`` with im2col and direct."""
    before = registry.snapshot()
    if alone:
        registry.forget(before[False].keys() - {"im2col", "direct"})
    registry._ALGORITHMS[False] |= {fake.name: fake for fake in fakes}
    try:
        yield fakes[0] if len(fakes) == 1 else fakes
    finally:
        registry.restore(before)
