"""One pool of threads for the whole library.

NumPy's loops and BLAS release the GIL, so plain Python threads run tiles in parallel. Two rules keep the result the
same on every run: the caller cuts the work into tiles without looking at the number of threads, and tiles never share
an accumulator. While tiles run, BLAS is held to one thread each (threadpoolctl); two layers of threads would fight for the cores.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable

import numpy as np


class _Helper(threading.Thread):
    """A thread that waits for work on a bare lock: woken in a tenth of the time that an executor of the standard library takes, which for the
    short regions of a small net is as long as the work."""

    def __init__(self, number: int):
        super().__init__(name=f"scratchvgg-{number}", daemon=True)
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._job: Callable | None = None
        self.start()

    def run(self):
        """Do jobs until one is None."""
        np.seterr(all="ignore")
        while True:
            self._go.acquire()
            if self._job is None:
                return
            self._job()
            self._job = None
            self._done.release()

    def begin(self, job: Callable | None) -> None:
        """Start ``job()``, which must not raise; None ends the thread."""
        self._job = job
        self._go.release()

    def wait(self) -> BaseException | None:
        """Until the job is done; returns what interrupted the waiting (Ctrl-C)."""
        interruption = None
        while True:
            try:
                self._done.acquire()
                return interruption
            except BaseException as error:
                interruption = error


_lock = threading.Lock()
_inside = threading.local()
_helpers: list[_Helper] = []
_threads: int | None = None
_blas = None


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def get_num_threads() -> int:
    """Threads used for tiles: ``SCRATCHVGG_THREADS`` if set, else the cores this process may use."""
    global _threads
    if _threads is None:
        wanted = os.environ.get("SCRATCHVGG_THREADS")
        _threads = max(1, int(wanted)) if wanted else _usable_cores()
        if wanted:
            _blas_controller().limit(limits=_threads, user_api="blas")
    return _threads


def set_num_threads(n: int) -> None:
    """Use ``n`` threads from now on, for tiles and for BLAS.

    Raises:
        ValueError: if ``n`` is not a positive integer.
    """
    global _threads
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"set_num_threads: expected a positive integer, got {n!r}")
    with _lock:
        while _helpers:
            helper = _helpers.pop()
            helper.begin(None)
            helper.join()
        _threads = n
        _blas_controller().limit(limits=n, user_api="blas")


def _blas_controller():
    global _blas
    if _blas is None:
        from threadpoolctl import ThreadpoolController

        _blas = ThreadpoolController()
    return _blas


def blas_architectures() -> set[str]:
    """The kernels that the loaded BLAS libraries chose for this processor, as threadpoolctl names them ("Haswell", "SkylakeX" …)."""
    return {info.get("architecture", "") for info in _blas_controller().info() if info["user_api"] == "blas"}


def parallel_for(task: Callable, items: Iterable) -> None:
    """Call ``task(item)`` for every item, on the pool; returns when all are done.

    The first exception (in the order of ``items``) is raised in the caller after every started task has ended.
    Calls from inside a task, single items and a pool of one thread run in place.
    """
    items = list(items)
    if len(items) < 2 or get_num_threads() == 1 or getattr(_inside, "tile", False) or getattr(_inside, "whole", False):
        for item in items:
            task(item)
        return
    if not _lock.acquire(blocking=False):  # another thread's region holds the pool and BLAS: same result, in place
        for item in items:
            task(item)
        return
    try:
        failures = _run_region(task, items)
    finally:
        _lock.release()
    if failures:
        raise min(failures, key=lambda pair: pair[0])[1]


def stay_in_place() -> None:
    """From now on :func:`parallel_for` works in place when this thread calls it.

    For background threads: they must not take the pool, nor BLAS's threads, from the thread that computes.
    """
    _inside.tile = True


class whole_tiles:
    """Inside, on this thread, :func:`ranges` cuts nothing and :func:`parallel_for` runs in place: a GPU wants one large launch where the
    CPU's caches and cores want tiles. ``whole_tiles(False)`` cuts again, for work on the host in between."""

    __slots__ = ("_on", "_before")

    def __init__(self, on: bool = True):
        self._on = on

    def __enter__(self):
        self._before, _inside.whole = getattr(_inside, "whole", False), self._on

    def __exit__(self, *_):
        _inside.whole = self._before


def _run_region(task, items) -> list[tuple[int, BaseException]]:
    """Run the items on the pool and the calling thread; the failures, each with its place in ``items``."""
    queue, take = iter(list(enumerate(items))), threading.Lock()
    failures: list[tuple[int, BaseException]] = []

    def work():
        _inside.tile = True
        try:
            while not failures:
                with take:
                    number, item = next(queue, (None, None))
                if number is None:
                    return
                try:
                    task(item)
                except BaseException as error:
                    failures.append((number, error))
        finally:
            _inside.tile = False

    _forget_helpers_in_children()
    while len(_helpers) < get_num_threads() - 1:
        _helpers.append(_Helper(len(_helpers) + 1))
    with _blas_controller().limit(limits=1, user_api="blas"):
        busy = _helpers[: len(items) - 1]
        for helper in busy:
            helper.begin(work)
        try:
            work()
        finally:
            interruptions = [helper.wait() for helper in busy]
    for error in filter(None, interruptions):
        raise error
    return failures


@functools.cache
def _forget_helpers_in_children():
    """A forked process has no threads but the one that forked."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_helpers.clear)


def ranges(total: int, step: int) -> list[tuple[int, int]]:
    """Cut ``range(total)`` into half-open pieces of at most ``step``; inside :class:`whole_tiles` there is one piece."""
    step = max(1, total if getattr(_inside, "whole", False) else int(step))
    return [(start, min(total, start + step)) for start in range(0, total, step)]
