"""Comparing times on a GPU: events around each call, all sides in turn, the second-level cache emptied in between.

The host runs ahead of the GPU while that is busy emptying its cache, so that between the two events there is the kernels' own time, and not
the time that Python takes to launch them. Where launching takes longer than emptying the cache once, it is emptied several times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from .. import cuda
from .timing import LEAST, MOST, Timing, Timings

WARM_UP = 3  # calls of each side that are not counted: compilation, choices, clocks
EMPTYINGS = 50  # at most so many before a sample
FLUSH = 512 << 20  # bytes: several times any GPU's second-level cache, and some hundred microseconds of writing


def time_calls(backend, sides: Mapping[str, Callable[[], object]], seconds: float = 0.3, *, rounds: int | None = None, flush: int = FLUSH,
               progress: Callable[[str], None] = lambda text: None) -> Timings:
    """Time several ways of doing a thing on one GPU, A B A B …

    Args:
        backend: of the GPU (``cuda:i``).
        sides: name → a call that queues work on the current stream; PyTorch's default stream is the same one.
        seconds: about how long each side is sampled; at least 3 rounds and at most 100.
        rounds: so many rounds instead.
        flush: bytes to write before each sample, to empty the cache; 0 leaves it warm, and the host's time counts.

    Returns:
        Timings, one sample a round, in seconds. Ctrl-C ends the measurement and keeps what there is.

    Raises:
        ValueError: for no side, or fewer than one round.
    """
    if not sides or (rounds is not None and rounds < 1):
        raise ValueError(f"time_calls: expected at least one side and one round, got {list(sides)} and {rounds}")
    result, names = Timings({name: Timing() for name in sides}), list(sides)
    dirt = backend.empty((flush,), "uint8") if flush else None
    try:
        once, times = {}, {}
        for name, call in sides.items():
            progress(f"{name}, warming up")
            for _ in range(WARM_UP):
                call()
            times[name] = _emptyings(backend, call, dirt)
            once[name] = _sample(backend, call, dirt, times[name])
        if rounds is None:
            rounds = min(MOST, max(LEAST, round(seconds * len(sides) / max(sum(once.values()), 1e-6))))
        for number in range(rounds):
            turn = number % len(names)  # nobody always follows the same neighbour
            for name in names[turn:] + names[:turn]:
                progress(f"{name}, round {number + 1} of {rounds}")
                result[name].samples.append(_sample(backend, sides[name], dirt, times[name]))
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _emptyings(backend, call, dirt) -> int:
    """How often the cache must be emptied to keep the GPU busy while the host launches ``call``."""
    if dirt is None:
        return 0
    once = _sample(backend, lambda: dirt.fill(1), None, 0)
    backend.synchronize()
    begun = time.perf_counter()
    call()
    host = time.perf_counter() - begun
    backend.synchronize()
    return min(EMPTYINGS, 1 + math.ceil(1.5 * host / once)) if once > 0 else 1


def _sample(backend, call, dirt, times) -> float:
    """Seconds of one call, after the cache was emptied so many times."""
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    with backend.quiet():
        for _ in range(times):
            dirt.fill(1)
        start.record()
        call()
        end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3
