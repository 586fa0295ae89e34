"""``sv.save`` and ``sv.load``: torch's names for :mod:`scratchvgg.weights.formats`, with Tensors."""

from __future__ import annotations

import numpy as np

from .array import as_dtype
from .autograd import from_numpy
from .weights import formats


def save(obj, f) -> None:
    """Write a tree of dicts, lists, tuples, numbers, strings, arrays and Tensors (such as a state dict) in the format of ``f``'s suffix.

    ================  ==================================================================================================================
    ``.npz``          (also any other suffix, and open files) the whole tree, without pickle, a CRC-32 for each array; NumPy opens it
    ``.pth`` ``.pt``  torch's zip format: ``torch.load`` opens it, with ``weights_only`` and ``mmap`` too; arrays become tensors; CRC-32s
    ``.safetensors``  a flat dict of arrays and Tensors only; the safetensors library opens it; no checksum
    ================  ==================================================================================================================

    Args:
        obj: Tensors are written from wherever they lie; their bits are kept, that they require gradients is not.
        f: a path, whose file is replaced atomically, or an open binary file. Memory: a buffer of 4 MiB beyond ``obj``
            (and a copy in CPU memory of what lies on another device).

    Raises:
        TypeError: for what the format cannot hold, naming its place; nothing is written.
        ValueError: for suffixes of formats that are only read (Keras's). OSError: if the folder cannot be written to.
    """
    formats.save(f, obj)


def load(f, map_location=None, *, weights_only: bool = True, mmap: bool = True, verify: bool = True):
    """Read a file of weights of any kind; nothing that is in it is ever run.

    What the file is shows in its content, not in its name: our ``.npz`` and NumPy's, torch's ``.pth`` (zip and the legacy format),
    safetensors, and Keras's HDF5 (with h5py, the extra ``keras``). Tensors come back as Tensors, bit for bit; element types that Tensors do not have
    (uint16, complex …) as arrays. In our ``.npz`` what was an array when saved is an array. ``model.load_state_dict`` takes the result as it is.

    Args:
        f: a path or an open binary file.
        map_location: the device of the Tensors; the CPU by default, whatever device saved them. (torch's functions and dicts, which say where
            to put what lay on a GPU, mean the CPU too: where a Tensor lay is not kept.)
        weights_only: as in torch; nothing but data is ever read, so it is always so.
        mmap: map the file: a Tensor's bytes are read when they are first touched, and take no memory that the system cannot take back
            until they are written to (which never changes the file). While such Tensors live the file may be deleted or replaced by
            another (as ``save`` does), but must not be changed in place: changes would show in the Tensors, and cutting it shorter would end the
            process (a bus error); Windows refuses to replace a file that is mapped. False reads everything now. Open files that are no
            plain files are always read.
        verify: compare the checksums that npz and torch's zip format have, which reads the file once. safetensors, Keras's and torch's legacy
            files have none: there a flipped bit goes unnoticed. Structure, sizes and offsets are checked in any case.

    Raises:
        WeightsError: naming the file and the reason, if it is truncated, corrupt, foreign or hostile, before memory is taken on its word.
        ImportError: naming the extra that the file needs. OSError: if it cannot be opened (FileNotFoundError if there is none).
        RuntimeError: if ``map_location`` is not available.
    """
    device = "cpu" if map_location is None or callable(map_location) or isinstance(map_location, dict) else map_location

    def as_tensor(array: np.ndarray):
        try:
            as_dtype(array.dtype)
        except TypeError:
            return array
        return from_numpy(array).to(device)

    return formats.load(f, as_tensor, verify=verify, mmap=mmap)
