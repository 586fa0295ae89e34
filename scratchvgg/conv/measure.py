"""How long each algorithm takes for a pass, measured side by side: A B C A B C …, so that a slow moment of the machine strikes all."""

from __future__ import annotations

import statistics
import time

import numpy as np

from ..array import CPU, get_backend
from ..array.dtypes import as_dtype
from .candidates import contenders
from .epilogue import Epilogue
from .registry import convolve

HOPELESS = 2.0  # times the best of the first round: what took longer is not run again
ROUNDS = 3, 25  # at least and at most


def measure(problem, dtype, which: str = "forward", prepared: bool = False, seconds: float = 0.3) -> dict[str, float]:
    """Median seconds of each contender for one pass, on random numbers in channels-last memory, on the threads in use.

    Args:
        prepared: the filter is transformed beforehand, outside the measured time (forward, by algorithms that do so).
        seconds: stop after about so long, but not before everything ran three times.

    Returns:
        Algorithm name → seconds. One that the first round showed to be hopeless keeps that round's time.
    """
    runs = {a.name: _runner(a, problem, as_dtype(dtype), which, prepared) for a in contenders(problem, dtype, which, prepared)}
    for run in runs.values():
        run()
    times = {name: [_time(run)] for name, run in runs.items()}
    best = min(times.values())[0]
    runs = {name: run for name, run in runs.items() if times[name][0] <= HOPELESS * best}
    start = time.perf_counter()
    while len(runs) > 1 and (n := max(map(len, times.values()))) < ROUNDS[1] and (n < ROUNDS[0] or time.perf_counter() - start < seconds):
        for name, run in runs.items():
            times[name].append(_time(run))
    return {name: statistics.median(t) for name, t in times.items()}


def _time(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _runner(algorithm, g, dtype, which, prepared):
    """A call without arguments that does the pass once."""
    backend, random = get_backend(CPU), np.random.default_rng(0)

    def draw(shape):
        array = backend.empty(shape, dtype, "channels_last")
        array[...] = random.standard_normal(shape, np.float32)
        return array

    with backend.quiet():
        if which == "forward":
            x, w, out = draw(g.x_shape), draw(g.w_shape), backend.empty(g.y_shape, dtype, "channels_last")
            bias, relu = backend.zeros((g.K,), dtype), Epilogue(relu=True)
            filters = algorithm.prepare(backend, g, w) if prepared and algorithm.prepares else None
            return lambda: convolve(algorithm, backend, g, x, w, bias, out, relu, filters)
        dy = draw(g.y_shape)
        if which == "grad_input":
            w, out = draw(g.w_shape), backend.empty(g.x_shape, dtype, "channels_last")
            return lambda: algorithm.grad_input(backend, g, dy, w, out)
        x, out = draw(g.x_shape), backend.empty(g.w_shape, dtype, "channels_last")
        return lambda: algorithm.grad_weight(backend, g, dy, x, out)
