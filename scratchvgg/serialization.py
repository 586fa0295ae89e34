"""``sv.save`` and ``sv.load``: torch's names for the archive of :mod:`scratchvgg.weights.archive`."""

from __future__ import annotations

from .autograd import from_numpy
from .weights.archive import load_tree, save_tree


def save(obj, path) -> None:
    """Write a tree of dicts, lists, tuples, numbers, strings, arrays and Tensors (such as a state dict) to a file, atomically.

    The file is an ``.npz`` with a CRC and without pickle; NumPy opens it.

    Raises:
        TypeError: for anything else in the tree, naming its place. OSError: if the folder cannot be written to.
    """
    save_tree(path, obj)


def load(path):
    """Read what :func:`save` wrote: Tensors come back as Tensors, arrays as arrays, bit for bit.

    Raises:
        WeightsError: if the file is truncated, corrupt or foreign. OSError: if it cannot be opened.
    """
    return load_tree(path, as_tensor=from_numpy)
