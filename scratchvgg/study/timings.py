"""Times of each operation of a net: the same trace several times, medians and quartiles.

Layers are run one by one, each with the device synchronised before and after; the first run is left out (memory is fetched, filters are packed,
caches are cold). Beside them the whole net is timed as it runs when nobody watches, with its layers fused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn import functional as F
from ..train.layer_statistics import restored
from .trace import Trace, top, trace


@dataclass(frozen=True)
class Spread:
    """Seconds: median and quartiles of ``runs`` samples."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, samples) -> Spread | None:
        """Of a list of seconds; None of nothing."""
        samples = [s for s in samples if s is not None]
        if not samples:
            return None
        low, middle, high = (float(q) for q in np.percentile(samples, (25, 50, 75)))
        return cls(middle, low, high, len(samples))


@dataclass(frozen=True)
class Timings:
    """Samples of every operation.

    Attributes:
        forward, backward: [run][call] → seconds; None where an operation has no backward.
        whole_forward, whole_step: of the net with its layers fused: forward without recording; forward with recording and backward.
        others: share of all cores that other processes took meanwhile, 0 to 1; None where the system does not tell.
    """

    forward: list[list[float]]
    backward: list[list[float | None]]
    whole_forward: Spread | None = None
    whole_step: Spread | None = None
    others: float | None = None

    def of_calls(self, calls, backward: bool = False) -> Spread | None:
        """The sum over some calls, in each run; None if none of them was timed."""
        runs = self.backward if backward else self.forward
        sums = [[run[i] for i in calls if run[i] is not None] for run in runs]
        return Spread.of([sum(s) for s in sums if s])


def measure(model: Module, x: Tensor, target: Tensor | None = None, *, backward: bool = False, repeats: int = 5,
            loss: Callable = F.cross_entropy, progress: Callable[[str], None] = lambda text: None) -> tuple[Trace, Timings]:
    """Trace ``model`` ``repeats`` times after one run that is not counted; the model is left as it was.

    Args:
        model, x, target, backward, loss: as for :func:`~scratchvgg.study.trace.trace`.
        repeats: runs that count.
        progress: told what is going on.

    Returns:
        The last trace, and the times.

    Raises:
        ValueError: for fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected 1 or more, got {repeats}")
    from ..bench.machine import Others

    forward, back, run, others = [], [], None, Others()
    for number in range(repeats + 1):
        progress(f"layer by layer, run {number} of {repeats}" if number else "layer by layer, warming up")
        run = None  # its arrays go before the next ones come
        run = trace(model, x, target, backward=backward, record=True, loss=loss)
        if number:
            forward.append([call.forward_seconds for call in run.calls])
            back.append([call.backward_seconds for call in run.calls])
    progress("the whole net, fused")
    whole = _whole(model, x, target, backward, repeats, loss)
    return run, Timings(forward, back, *whole, others.share())


def _whole(model, x, target, backward, repeats, loss):
    """Spreads of the fused net: forward alone, and with backward if that was asked for."""

    def infer():
        with no_grad():
            return model(x)

    def step():
        output = model(x)
        (top(output) if target is None else loss(output, target)).backward()
        for parameter in model.parameters():
            parameter.grad = None

    with restored(model):
        spreads = [_timed(infer, x.backend, repeats), _timed(step, x.backend, repeats) if backward else None]
    return spreads


def _timed(call, backend, repeats):
    call()
    samples = []
    for _ in range(repeats):
        backend.synchronize()
        start = time.perf_counter()
        call()
        backend.synchronize()
        samples.append(time.perf_counter() - start)
    return Spread.of(samples)
