"""``sv.save`` and ``sv.load``: torch's names for the archive of :mod:`scratchvgg.weights.archive`."""

from __future__ import annotations

from .autograd import from_numpy
from .weights.archive import load_tree, save_tree


def save(obj, f) -> None:
    """Write a tree of dicts, lists, tuples, numbers, strings, arrays and Tensors (such as a state dict).

    ``f`` is a path, whose file is replaced atomically, or an open binary file. The file is an ``.npz`` with a CRC and without pickle; NumPy opens it.

    Raises:
        TypeError: for anything else in the tree, naming its place. OSError: if the folder cannot be written to.
    """
    save_tree(f, obj)


def load(f, map_location=None, *, weights_only: bool = True):
    """Read what :func:`save` wrote: Tensors come back as Tensors, arrays as arrays, bit for bit.

    Args:
        f: a path or an open binary file.
        map_location: the device of the Tensors; the CPU by default, whatever device saved them. (torch's functions and dicts, which say where
            to put what lay on a GPU, mean the CPU too: the file does not say where a Tensor lay.)
        weights_only: as in torch; the format can hold nothing but data, so it is always so.

    Raises:
        WeightsError: if the file is truncated, corrupt or foreign. OSError: if it cannot be opened.
    """
    device = "cpu" if map_location is None or callable(map_location) or isinstance(map_location, dict) else map_location
    return load_tree(f, as_tensor=lambda array: from_numpy(array).to(device))
