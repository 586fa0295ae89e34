"""What a data set is: a length, items by index, and whole batches of plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..array import get_default_dtype
from ..autograd import Tensor
from .batch_info import BatchInfo


class Dataset:
    """Base of the data sets. A subclass gives ``__len__`` and ``__getitem__``, and may make :meth:`batch` faster.

    The loader takes any object with a length and items by index; deriving from this class is not needed.
    """

    def __getitem__(self, index: int):
        raise TypeError(f"{type(self).__name__} does not define __getitem__")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} does not define __len__")

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """The items at ``indices`` (int64, (n,)) stacked: one array of length n for each part of an item."""
        return collate([self[int(index)] for index in indices])


class ArrayDataset(Dataset):
    """Images and labels held in memory; base of :class:`CIFAR10` and :class:`SampleShapes`.

    Attributes:
        images: uint8 (N, 3, H, W). labels: int64 (N,). classes: list of names. transform: called with each single image.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], transform: Callable | None = None):
        self.images, self.labels, self.classes, self.transform = images, labels, list(classes), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image, label = self.images[index], int(self.labels[index])
        return (image if self.transform is None else self.transform(image)), label

    def batch(self, indices):
        if self.transform is not None:
            return super().batch(indices)
        return self.images[indices], self.labels[indices]


class TensorDataset(Dataset):
    """Item i is the tuple of the i-th rows of some arrays or Tensors of equal length.

    Raises:
        ValueError: without arrays, for a 0-dimensional one, or if the lengths differ.
    """

    def __init__(self, *arrays):
        self.arrays = tuple(np.asarray(_plain(array)) for array in arrays)
        if not arrays or any(array.ndim == 0 for array in self.arrays):
            raise ValueError("TensorDataset: expected one or more arrays with at least one dimension")
        if len({len(array) for array in self.arrays}) != 1:
            raise ValueError(f"TensorDataset: size mismatch between arrays, got lengths {[len(a) for a in self.arrays]}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(array[index] for array in self.arrays)

    def batch(self, indices):
        return tuple(array[indices] for array in self.arrays)


class Subset(Dataset):
    """The items of ``dataset`` at ``indices``, in that order; ``classes``, ``mean`` and ``std`` are those of ``dataset``.

    Raises:
        IndexError: if an index lies outside the data set.
    """

    def __init__(self, dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64).reshape(-1)
        outside = self.indices[(self.indices < 0) | (self.indices >= len(dataset))]
        if outside.size:
            raise IndexError(f"Subset: index {outside[0]} is outside a data set of {len(dataset)} items")
        for name in ("classes", "mean", "std"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))

    @property
    def labels(self) -> np.ndarray:
        """Labels of the chosen items (int64)."""
        return np.asarray(self.dataset.labels)[self.indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[int(self.indices[index])]

    def batch(self, indices):
        return read_batch(self.dataset, self.indices[indices])


def read_batch(dataset, indices: np.ndarray, info: BatchInfo | None = None) -> tuple[np.ndarray, ...]:
    """Items of any data set as stacked arrays: by its own ``batch``, or item by item. With ``info``, a data set that draws its items at random
    is asked for ``random_batch(indices, info)``."""
    if info is not None and hasattr(dataset, "random_batch"):
        return dataset.random_batch(indices, info)
    if hasattr(dataset, "batch"):
        return dataset.batch(indices)
    return collate([dataset[int(index)] for index in indices])


def collate(items: Sequence) -> tuple[np.ndarray, ...]:
    """Stack items: a list of n tuples becomes a tuple of arrays of length n.

    Arrays keep their element type; Python integers become int64, Python floats the default type (never float64 unasked).

    Raises:
        RuntimeError: if arrays differ in shape (torch's class of error).
    """
    if not isinstance(items[0], (tuple, list)):
        items = [(item,) for item in items]
    return tuple(_stack([_plain(part) for part in parts], place) for place, parts in enumerate(zip(*items, strict=True)))


def _stack(parts: list, place: int) -> np.ndarray:
    if isinstance(parts[0], float):
        return np.asarray(parts, get_default_dtype().numpy)
    if isinstance(parts[0], int) and not isinstance(parts[0], bool):
        return np.asarray(parts, np.int64)
    shapes = {np.shape(part) for part in parts}
    if len(shapes) > 1:
        shown = ", ".join(map(str, sorted(shapes)[:4]))
        raise RuntimeError(f"a batch needs items of one shape, part {place} of them has {shown}; resize them or use batch_size=1")
    return np.stack([np.asarray(part) for part in parts])


def _plain(value):
    """A Tensor's array; anything else unchanged."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
