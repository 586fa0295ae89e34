"""A data set that lives on the device: batches are gathered, augmented and normalised there, by one kernel, and never cross the bus.

The random numbers are those of :mod:`scratchvgg.data.transforms`, so the images are the same, bit for bit, as the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..array import Device, as_dtype, default_generator, get_backend
from ..autograd import Tensor
from ..cuda.faces.augment import ALTERNATING_FLIP, AUGMENTATION, RANDOM_FLIP, augment
from .batch_info import IMAGE, BatchInfo, order_of
from .dataset import read_batch
from .loader import DataLoader
from .transforms import AlternatingFlip, Compose, Cutout, Normalize, RandomCrop, RandomHorizontalFlip, RandomTranslate, ToFloat

_ORDER = (RandomCrop, RandomTranslate), (RandomHorizontalFlip, AlternatingFlip), (Cutout,), (Normalize, ToFloat)
_PART = 1 << 12  # images read at a time


class DeviceAugmentation:
    """A transform of batches as one kernel.

    Args:
        transform: at most one each of crop or translation, flip and cutout, in this order, then ``Normalize`` or ``ToFloat``; or a ``Compose``.
        device: one that runs kernels.
        dtype: of the result: float16, bfloat16 or float32.

    Raises:
        ValueError: for other transforms or another order; they run on the CPU. RuntimeError: for a device that runs no kernels.
    """

    def __init__(self, transform: Callable, device, dtype="float32"):
        self.backend, self.dtype = get_backend(Device(device)), as_dtype(dtype)
        if not self.backend.runs_kernels:
            raise RuntimeError(f"device: augmentation by kernels needs a device that runs them, got {self.backend.device}")
        self.steps = _flattened(transform)
        places = [next((i for i, kinds in enumerate(_ORDER) if type(step) in kinds), None) for step in self.steps]
        if None in places or places != sorted(set(places)) or places[-1:] != [len(_ORDER) - 1]:
            shown = ", ".join(type(step).__name__ for step in self.steps)
            raise ValueError(f"transform: on a device it must be [crop or translation], [flip], [cutout], normalisation, in this order; got {shown}")
        self._table = None

    def __call__(self, images, indices, info=None):
        """The batch at ``indices``.

        Args:
            images: uint8 (count, H, W, C) on the device, contiguous. indices: int64 (N,) on the device.
            info: the :class:`BatchInfo`, a ``Generator``, or None for the default generator.

        Returns:
            (N, C, P, Q) over channels-last memory.

        Raises:
            TypeError: for ``AlternatingFlip`` without a :class:`BatchInfo`. ValueError: for arrays that do not fit.
        """
        if self._table is None:
            self._table = self.backend.asarray(_table(self.steps[-1], images.shape[3]))
        with self.backend.quiet():
            return augment(self.backend, images, indices, self._table, self._options(len(indices), images.shape[1:3], info), self.dtype)

    def _options(self, n, size, info):
        """The kernel's argument; the words that each step draws are taken from the generator, in the transforms' order."""
        rng = info.rng if isinstance(info, BatchInfo) else info or default_generator
        options = np.zeros(1, AUGMENTATION)
        (options["P"], options["Q"]), options["seed"], options["stream"] = size, rng.initial_seed(), rng.stream
        for step in self.steps:
            if isinstance(step, (RandomCrop, RandomTranslate)):
                options["top"], options["left"] = _take(rng, n), _take(rng, n)
                options["reflect"] = step.mode == "reflect"
                options["padding"] = step.padding if isinstance(step, RandomCrop) else step.pixels
                if isinstance(step, RandomCrop):
                    options["P"] = options["Q"] = step.size
            elif isinstance(step, RandomHorizontalFlip):
                options["flip_kind"], options["flip"], options["flip_below"] = RANDOM_FLIP, _take(rng, n), step.p
            elif isinstance(step, AlternatingFlip):
                if not isinstance(info, BatchInfo):
                    raise TypeError(f"AlternatingFlip: expected a BatchInfo (a DataLoader gives one), got {type(info).__name__}")
                options["flip_kind"], options["flip_stream"], options["odd_epoch"] = ALTERNATING_FLIP, IMAGE, info.epoch % 2
            elif isinstance(step, Cutout):
                options["row"], options["column"] = _take(rng, n), _take(rng, n)
                options["cut"], options["fill"] = step.size, step.fill
        return options


class DeviceLoader(DataLoader):
    """A :class:`DataLoader` whose data set lies on the device as bytes: the same batches in the same order, as Tensors of that device.

    CIFAR-10 takes 150 MB. Nothing is prefetched: a batch is one kernel, queued before the step that uses it.

    Args:
        dataset: uint8 images (C, H, W) first in every item, all of one size.
        device: one that runs kernels.
        transform: as for :class:`DeviceAugmentation`.
        (others): as for :class:`DataLoader`, without ``prefetch`` and ``num_workers``.

    Raises:
        ValueError, RuntimeError: as :class:`DeviceAugmentation`. TypeError: if images are not uint8 (C, H, W).
    """

    def __init__(self, dataset, batch_size: int = 1, shuffle: bool = False, *, device, transform: Callable, seed: int | None = None,
                 generator=None, drop_last: bool = False, dtype=None):
        super().__init__(
            dataset, batch_size, shuffle, seed=seed, generator=generator, drop_last=drop_last, transform=transform, prefetch=0, dtype=dtype
        )
        self.augmentation = DeviceAugmentation(transform, device, self.dtype or "float32")
        self._arrays = None

    def _run(self, epoch: int, start: int):
        backend, count, size = self.augmentation.backend, len(self.dataset), self.batch_size
        if self._arrays is None:
            self._arrays = _resident(backend, self.dataset)
        images, *others = self._arrays
        order = order_of(self.seed, epoch, count) if self.shuffle else np.arange(count, dtype=np.int64)
        on_device, seed = backend.asarray(order), self.seed
        for number in range(start, len(self)):
            here = slice(number * size, (number + 1) * size)
            indices = on_device[here]
            first = self.augmentation(images, indices, BatchInfo.of(seed, epoch, number, order[here]))
            with backend.quiet():
                rest = [array[indices] for array in others]
            yield tuple(Tensor.wrap(backend, array) for array in (first, *rest))


def _flattened(transform) -> list:
    return [step for part in transform.transforms for step in _flattened(part)] if isinstance(transform, Compose) else [transform]


def _take(rng, words: int) -> int:
    """The place of the first of ``words`` words, which are used up."""
    return rng.take(words)[2]


def _table(step, channels: int) -> np.ndarray:
    """(C, 256) float32: what ``Normalize`` or ``ToFloat`` makes of each byte."""
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, channels, 1, 256))
    return np.ascontiguousarray(step(levels)[0, :, 0])


def _resident(backend, dataset) -> list:
    """The whole data set as arrays of the device, images as (count, H, W, C)."""
    parts = [read_batch(dataset, np.arange(start, min(start + _PART, len(dataset)))) for start in range(0, len(dataset), _PART)]
    images, *others = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise TypeError(f"dataset: images must be uint8 (C, H, W) to live on the device, got {images.dtype} {images.shape[1:]}")
    return [backend.asarray(np.ascontiguousarray(array)) for array in (images.transpose(0, 2, 3, 1), *others)]
