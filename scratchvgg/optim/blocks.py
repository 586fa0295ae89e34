"""Elementwise updates in blocks that stay in the cache.

An update such as Adam's is a dozen passes over its arrays. Done block by block it reads and writes main memory once, needs scratch for
a block only (VGG-16's first linear layer alone has 392 MiB), and blocks run in parallel. No element depends on how they were cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..array import parallel_for, ranges

BLOCK = 1 << 18  # elements; of smaller blocks the array operations are so short that threads wait for each other


def blocks(arrays, size: int = BLOCK) -> Iterator[tuple]:
    """Cut arrays of one shape into matching writable views of about ``size`` elements, in the memory order of the first."""
    first = arrays[0]
    order = sorted(range(first.ndim), key=lambda axis: -abs(first.strides[axis]))
    views = [a.transpose(order) for a in arrays]
    if all(v.flags.c_contiguous for v in views):
        views = [v.reshape(-1) for v in views]
    elif not first.size:
        return
    rows = len(views[0])
    for start, stop in ranges(rows, size * rows // max(first.size, 1)):
        yield tuple(v[start:stop] for v in views)


class BlockRunner:
    """Collects updates, each a rule and the arrays it works on, and runs their blocks in parallel."""

    def __init__(self):
        self._tasks = []

    def add(self, backend, rule: Callable, arrays) -> None:
        """Plan ``rule(scratch, *blocks)`` for every block of ``arrays``.

        ``scratch(i)`` gives the rule an array of undefined content like the first block; a device other than the CPU gets one block.
        """
        cut = blocks(arrays) if backend.device.type == "cpu" else [tuple(arrays)]
        self._tasks += [(backend, rule, block) for block in cut]

    def run(self) -> None:
        """Do what was planned and forget it. A device's work is queued by the calling thread, in whose current stream it belongs."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task[0].device.type != "cpu":
                _run(task)
        parallel_for(_run, [task for task in tasks if task[0].device.type == "cpu"])


def _run(task):
    backend, rule, block = task
    with backend.quiet():
        rule(lambda i: backend.workspace(f"optim.{i}", block[0].shape, block[0].dtype), *block)
