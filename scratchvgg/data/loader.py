"""Batches, in an order and with random numbers that depend on (seed, epoch, batch number) and nothing else.

So a training that stopped after batch k of epoch e goes on with exactly the batch it would have had next. The batches are
made by one background thread a few steps ahead; it draws nothing from shared generators and uses no pool, so its timing
changes no bit of anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..array import Generator, as_dtype, default_generator
from ..array.threads import stay_in_place
from ..autograd import Tensor, from_numpy
from .batch_info import BatchInfo, order_of
from .dataset import read_batch


class DataLoader:
    """Iterates over a data set in batches of Tensors.

    Args:
        dataset: anything with a length and items by index; its ``batch(indices)`` is used where it has one, and before that its
            ``random_batch(indices, info)``, which draws from the batch's own generator.
        batch_size: items in a batch; the last may have fewer.
        shuffle: a new order every epoch, else the data set's own.
        seed: of order and augmentation; by default drawn from ``generator``, or from the library's default generator.
        generator: where the seed is drawn from if none is given.
        drop_last: leave an incomplete last batch out.
        transform: called as ``transform(images, info)`` with the batch's first array and its :class:`BatchInfo`.
        prefetch: batches made ahead by a background thread; 0 makes each one when it is asked for.
        dtype: cast the first array to this type after the transform.
        num_workers: torch's name for it; 0 is ``prefetch=0``, more is the background thread.
        pin_memory: torch's; batches here live where they are used already.

    Attributes:
        epoch: the epoch that the next iteration will run; each iteration that starts moves it on by one.

    Raises:
        ValueError: for a batch size below 1, or a negative ``prefetch`` or ``num_workers``.
    """

    def __init__(self, dataset, batch_size: int = 1, shuffle: bool = False, *, seed: int | None = None,
                 generator: Generator | None = None, drop_last: bool = False, transform: Callable | None = None,
                 prefetch: int = 2, dtype=None, num_workers: int | None = None, pin_memory: bool = False):
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0), ("num_workers", num_workers or 0, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"DataLoader: {name} should be an integer of {least} or more, got {value!r}")
        self.dataset, self.batch_size, self.shuffle = dataset, int(batch_size), shuffle
        self.drop_last, self.transform, self.prefetch = drop_last, transform, 0 if num_workers == 0 else int(prefetch)
        self.dtype = None if dtype is None else as_dtype(dtype)
        self.seed = int((generator or default_generator).integers(0, 1 << 63, ())) if seed is None else _seed(seed)
        self.epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return self.iterate()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs."""
        if isinstance(epoch, bool) or not isinstance(epoch, (int, np.integer)) or not 0 <= epoch < 1 << 30:
            raise ValueError(f"DataLoader: epoch must be an integer from 0 to 2³⁰ − 1, got {epoch!r}")
        self.epoch = int(epoch)

    def iterate(self, start_batch: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Run the epoch ``self.epoch`` from batch ``start_batch`` on; the batches are those an unbroken epoch has there.

        Raises:
            ValueError: if ``start_batch`` lies outside the epoch (its end is allowed and gives no batch).
        """
        if not 0 <= start_batch <= len(self):
            raise ValueError(f"DataLoader: start_batch must lie in 0 to {len(self)}, got {start_batch!r}")
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._run(epoch, start_batch)

    def state_dict(self) -> dict[str, int]:
        """``{"seed", "epoch"}``: with the number of batches taken, all that is needed to go on."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Return to a state that :meth:`state_dict` gave."""
        seed = _seed(state["seed"])
        self.set_epoch(state["epoch"])
        self.seed = seed

    def _run(self, epoch: int, start: int):
        count, size, seed, stop = len(self.dataset), self.batch_size, self.seed, len(self)
        order = order_of(seed, epoch, count) if self.shuffle else np.arange(count, dtype=np.int64)

        def make(number: int) -> tuple[np.ndarray, ...]:
            indices = order[number * size : (number + 1) * size]
            info = BatchInfo.of(seed, epoch, number, indices)
            first, *others = read_batch(self.dataset, indices, info)
            if self.transform is not None:
                first = self.transform(first, info)
            if self.dtype is not None:
                first = first.astype(self.dtype.numpy, copy=False)
            return first, *others

        arrays = _ahead(make, range(start, stop), self.prefetch) if self.prefetch else map(make, range(start, stop))
        for batch in arrays:
            yield tuple(from_numpy(array) for array in batch)

    def __repr__(self):
        return (f"DataLoader({self.dataset!r}, batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}, "
                f"drop_last={self.drop_last}, epoch={self.epoch})")


def _ahead(make: Callable, numbers, depth: int):
    """``map(make, numbers)`` by one thread that works up to ``depth`` results ahead.

    An exception in ``make`` appears here with its traceback. However the consumer ends — last item, ``break``, an
    exception, Ctrl-C — the generator's end waits for the item under way and ends the thread.
    """
    pool, waiting = ThreadPoolExecutor(1, "scratchvgg-data", initializer=stay_in_place), deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _seed(value) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << 64:
        raise ValueError(f"DataLoader: seed must be an integer from 0 to 2⁶⁴ − 1, got {value!r}")
    return int(value)
