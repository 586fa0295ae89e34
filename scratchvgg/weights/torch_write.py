"""Writes PyTorch's zip format without PyTorch.

The archive holds ``data.pkl`` (a protocol-2 pickle of the tree in which every tensor is a call of ``_rebuild_tensor_v2`` on a storage), one record
``data/N`` for the bytes of each storage, and the small records that ``torch.save`` of 2.13 adds. The pickle is emitted opcode by opcode; it names
nothing but ``OrderedDict``, ``_rebuild_tensor_v2``, the dense storage classes and ``_codecs.encode`` (bytes), so ``torch.load(weights_only=True)``
takes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from .atomic import atomic_write
from .trees import host_array, little_endian, pieces, shown
from .zip_writer import ALIGNMENT, ZipWriter

STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage", "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage", "complex128": "ComplexDoubleStorage",
}  # fmt: skip


def write(path, tree) -> None:
    """Write ``tree`` as ``torch.save`` would; ``torch.load`` reads it, with ``mmap=True`` and ``weights_only=True`` too.

    Args:
        path: the file, replaced atomically, or an open binary file.
        tree: dicts (OrderedDicts stay such), lists, tuples, None, bools, ints, floats, strings, bytes, and arrays or Tensors of the types in
            ``STORAGES``, nested at will. Every array becomes a CPU tensor without gradient. Arrays whose memory overlaps (tied weights) share one
            storage; memory orders without gaps (channels last) are kept, others become contiguous.

    Raises:
        TypeError: for anything else, with its place in the tree; nothing is written. OSError: if the folder cannot be written to.
    """
    pickle, storages = _pickled(tree)
    target = contextlib.nullcontext(path) if hasattr(path, "write") else atomic_write(path)
    with target as file, ZipWriter(file) as archive:
        digest = hashlib.sha256()

        def add(name, size, content):
            digest.update(struct.pack("<I", archive.add(f"archive/{name}", size, content)))

        add("data.pkl", len(pickle), [pickle])
        for name, text in ((".format_version", b"1"), (".storage_alignment", b"%d" % ALIGNMENT), ("byteorder", b"little")):
            add(name, len(text), [text])
        for number, storage in enumerate(storages):
            add(f"data/{number}", storage.nbytes, pieces(storage))
        add("version", 2, [b"3\n"])
        number = b"%040d" % (int(digest.hexdigest(), 16) % 10**40)  # torch's too is 40 digits made of the records' checksums
        archive.add("archive/.data/serialization_id", 40, [number])


# ---- the pickle ------------------------------------------------------------------------------------------------------


def _pickled(tree) -> tuple[bytes, list[np.ndarray]]:
    """The bytes of ``data.pkl`` and the storages' contents in the order of their numbers."""
    parts, arrays = [b"\x80\x02"], []  # parts: bytes, or the index of the array whose rebuilding stands there
    _emit(tree, (), parts, arrays)
    parts.append(b".")
    views = _share(arrays)
    numbers, storages = {}, []
    for i, part in enumerate(parts):
        if isinstance(part, int):
            view = views[part]
            if id(view.storage) not in numbers:
                numbers[id(view.storage)] = len(storages)
                storages.append(view.storage)
            parts[i] = _tensor(view, numbers[id(view.storage)])
    return b"".join(parts), storages


def _emit(value, place: tuple, parts: list, arrays: list) -> None:
    array = host_array(value)
    if array is not None:
        if array.dtype.name not in STORAGES:
            raise TypeError(f"save: torch's format has no element type for the {array.dtype} array at {shown(place)}")
        parts.append(len(arrays))
        arrays.append(little_endian(array))
        return
    for cls in type(value).__mro__:
        if cls in _SCALARS:
            try:
                parts.append(_SCALARS[cls](value))
            except OverflowError:
                raise TypeError(f"save: torch's format has no integer as large as the one at {shown(place)}") from None
            return
        if cls in _CONTAINERS:
            opening, closing, keyed = _CONTAINERS[cls]
            parts.append(opening)
            for i, item in enumerate(value.items() if keyed else value):
                if keyed:
                    _emit(item[0], (*place, i, "key"), parts, arrays)
                _emit(item[1] if keyed else item, (*place, item[0] if keyed else i), parts, arrays)
            parts.append(closing)
            return
    raise TypeError(f"save: cannot store a {type(value).__name__} at {shown(place)}; "
                    "trees hold dicts, lists, tuples, None, numbers, strings, bytes and arrays")


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if 0 <= value < 1 << 8:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(min(value.bit_length() // 8 + 1, 255), "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _bytes(value: bytes) -> bytes:
    return _global("_codecs", "encode") + _text(value.decode("latin1")) + _text("latin1") + b"\x86R"


def _integers(values) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"


_ORDERED_DICT = _global("collections", "OrderedDict") + b")R"
_SCALARS = {
    type(None): lambda value: b"N", bool: lambda value: b"\x88" if value else b"\x89", int: _integer,
    float: lambda value: b"G" + struct.pack(">d", value), str: _text, bytes: _bytes,
}  # fmt: skip
_CONTAINERS = {  # what goes before the items, after them, and whether there are keys
    OrderedDict: (_ORDERED_DICT + b"(", b"u", True), dict: (b"}(", b"u", True), list: (b"](", b"e", False), tuple: (b"(", b"t", False),
}  # fmt: skip


def _tensor(view: _View, number: int) -> bytes:
    storage = (b"(" + _text("storage") + _global("torch", STORAGES[view.storage.dtype.name]) + _text(str(number)) + _text("cpu")
               + _integer(view.storage.size) + b"tQ")
    return (_global("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + _integer(view.offset) + _integers(view.shape) + _integers(view.strides)
            + b"\x89" + _ORDERED_DICT + b"tR")


# ---- the storages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    storage: np.ndarray  # of any shape: written in C order
    offset: int  # elements
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


def _share(arrays: list[np.ndarray]) -> list[_View]:
    """For each array its storage, and its place there.

    Arrays without gaps (dense ones, in whatever memory order) whose memory overlaps get one storage that covers them all. An array with gaps
    is a view of such a storage if it lies in one, otherwise it gets a contiguous storage of its own: what is in its gaps is never written.
    """
    dense = [i for i, array in enumerate(arrays) if _is_dense(array)]
    dense.sort(key=lambda i: (*_family(arrays[i]), _address(arrays[i])))
    runs: list[list] = []  # family, first and last address, the array at the first
    for i in dense:
        array, start = arrays[i], _address(arrays[i])
        if runs and runs[-1][0] == _family(array) and start < runs[-1][2]:
            runs[-1][2] = max(runs[-1][2], start + array.nbytes)
        else:
            runs.append([_family(array), start, start + array.nbytes, array])
    flat = [(family, start, stop, np.lib.stride_tricks.as_strided(first, ((stop - start) // first.itemsize,), (first.itemsize,), writeable=False))
            for family, start, stop, first in runs]
    return [_place(array, flat) for array in arrays]


def _place(array: np.ndarray, runs: list) -> _View:
    if array.size and runs:
        low, high = np.lib.array_utils.byte_bounds(array)
        family, start, stop, storage = runs[max(0, bisect_right(runs, (_family(array), low), key=lambda run: run[:2]) - 1)]
        if family == _family(array) and start <= low and high <= stop and min(array.strides, default=0) >= 0:
            return _View(storage, (low - start) // array.itemsize, array.shape, _strides(array))
    contiguous = tuple(int(np.prod([max(1, n) for n in array.shape[axis + 1 :]], dtype=np.int64)) for axis in range(array.ndim))
    return _View(array, 0, array.shape, contiguous)


def _is_dense(array: np.ndarray) -> bool:
    if not array.size:
        return False
    expected = array.itemsize
    for stride, size in sorted((s, n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _family(array: np.ndarray) -> tuple:
    """Arrays of one family can be elements of one storage."""
    return array.dtype.name, _address(array) % array.itemsize


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _strides(array: np.ndarray) -> tuple[int, ...]:
    return tuple(stride // array.itemsize if size > 1 else 1 for stride, size in zip(array.strides, array.shape, strict=True))
