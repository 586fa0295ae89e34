"""A tree of Python values and arrays in one zip file, without pickle.

The file is an ``.npz`` (``numpy.load`` opens it) with one more member: every array is a stored ``.npy`` member named by its
place in the tree, and ``index.json`` says how they hang together. The index is JSON in which

=============================  ===============================================================
``null true 3 0.5 "x" [..]``   None, bool, int, finite float, str and list stand for themselves
``{"dict": {..}}``             a dict whose keys are strings, in order
``{"items": [[k, v], ..]}``    a dict with other keys
``{"tuple": [..]}``            a tuple
``{"float": "7ff8.."}``        NaN or an infinity, by its 64 bits
``{"array": member, ..}``      an array; ``axes`` is its memory order if not C, ``dtype`` a type that .npy cannot say,
                               ``tensor`` is true if it was a Tensor
=============================  ===============================================================

Zip keeps a CRC-32 of each member. Nothing that a file claims is believed before it has been compared with the file's real
length: a hostile file can make neither code run nor memory grow beyond its own size.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import zipfile
import zlib

import numpy as np

from ..array import as_dtype
from .atomic import atomic_write
from .errors import WeightsError

INDEX = "index.json"
FORMAT, VERSION = "scratchvgg", 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date: equal trees give equal files
_CHUNK = 1 << 22  # bytes written or read at once
_KINDS = "biufc"
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, RecursionError, ValueError, KeyError,
           TypeError, AttributeError, struct.error, OverflowError, MemoryError, OSError)


def save_tree(path, tree) -> None:
    """Write ``tree`` to ``path`` atomically.

    Args:
        path: the file; if it exists it is replaced in one step. Or an open binary file.
        tree: dicts, lists, tuples, None, bools, ints, floats, strings, NumPy arrays (of bools and numbers; NumPy scalars
            count as 0-dimensional) and Tensors, nested at will. Element types, bits and memory order are kept.

    Raises:
        TypeError: for anything else, with its place in the tree; nothing is written.
        OSError: if the folder cannot be written to.
    """
    arrays: dict[str, np.ndarray] = {}
    index = {"format": FORMAT, "version": VERSION, "tree": _encode(tree, (), arrays)}
    text = json.dumps(index, allow_nan=False, ensure_ascii=True).encode()
    target = contextlib.nullcontext(path) if hasattr(path, "write") else atomic_write(path)
    with target as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX, _EPOCH), text)
        for name, array in arrays.items():
            _write_array(archive, name, array)


def load_tree(path, as_tensor=None):
    """Read what :func:`save_tree` wrote.

    Args:
        path: the file, or an open binary file.
        as_tensor: called with each array that was a Tensor when saved; by default these stay arrays.

    Raises:
        WeightsError: if the file is truncated, corrupt, foreign or makes claims that its length belies.
        OSError: if it cannot be opened.
    """
    with contextlib.nullcontext(path) if hasattr(path, "read") else open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _checked_members(archive, file.seek(0, os.SEEK_END))
                index = json.loads(archive.read(members[INDEX]))
                if index["format"] != FORMAT or index["version"] != VERSION:
                    raise ValueError(f"it is {index['format']!r} version {index['version']!r}, expected {FORMAT!r} version {VERSION}")
                return _decode(index["tree"], lambda entry: _read_array(archive, members, entry, as_tensor))
        except _BROKEN as error:
            raise WeightsError(f"cannot read {getattr(file, 'name', 'the open file')}: {_reason(error)}") from error


def _reason(error) -> str:
    if isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error):
        return "it is truncated or no weights file at all (the end of a zip archive is missing)"
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error) or type(error).__name__


# ---- the tree --------------------------------------------------------------------------------------------------------


def _encode(value, place: tuple, arrays: dict):
    """The index entry of ``value``; arrays are added to ``arrays`` under their member's name."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, list):
        return [_encode(v, (*place, i), arrays) for i, v in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, (*place, i), arrays) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {"dict": {key: _encode(v, (*place, key), arrays) for key, v in value.items()}}
        return {"items": [[_encode(k, (*place, i, "key"), arrays), _encode(v, (*place, k), arrays)] for i, (k, v) in enumerate(value.items())]}
    if isinstance(value, (np.ndarray, np.generic)):
        return _encode_array(np.asarray(value), place, arrays)
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return _encode_array(value.detach().cpu().numpy(), place, arrays) | {"tensor": True}
    raise TypeError(f"save: cannot store a {type(value).__name__} at {_shown(place)}; "
                    "trees hold dicts, lists, tuples, None, numbers, strings and arrays")


def _encode_array(array: np.ndarray, place: tuple, arrays: dict) -> dict:
    entry = {}
    if array.dtype.kind not in _KINDS:
        if array.dtype.name != "bfloat16":
            raise TypeError(f"save: cannot store an array of {array.dtype} at {_shown(place)}; arrays hold bools and numbers")
        entry["dtype"], array = "bfloat16", array.view(np.uint16)
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    if not array.flags.c_contiguous and array.transpose(axes).flags.c_contiguous:
        entry["axes"] = axes
    name = "/".join(str(part).replace("/", "|") for part in place) or "value"
    while name + ".npy" in arrays:
        name += "_"
    arrays[name + ".npy"] = array
    return {"array": name + ".npy", **entry}


def _shown(place: tuple) -> str:
    return "".join(f"[{part!r}]" for part in place) or "the top of the tree"


def _decode(entry, read_array):
    if isinstance(entry, list):
        return [_decode(v, read_array) for v in entry]
    if not isinstance(entry, dict):
        return entry
    if "array" in entry:
        return read_array(entry)
    (kind, content), = entry.items()
    if kind == "dict":
        return {key: _decode(v, read_array) for key, v in content.items()}
    if kind == "items":
        return {_decode(k, read_array): _decode(v, read_array) for k, v in content}
    if kind == "tuple":
        return tuple(_decode(v, read_array) for v in content)
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    raise ValueError(f"the index holds an unknown kind of entry, {kind!r}")


# ---- the members -----------------------------------------------------------------------------------------------------


def _write_array(archive, name: str, array: np.ndarray) -> None:
    array = np.ascontiguousarray(array).reshape(array.shape)
    info = zipfile.ZipInfo(name, _EPOCH)
    with archive.open(info, "w", force_zip64=array.nbytes >= 1 << 31) as member:
        np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
        data = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(data), _CHUNK):
            member.write(data[start : start + _CHUNK])


def _checked_members(archive, length: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, after their claims were compared with the file's ``length`` in bytes."""
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("a member's name occurs twice")
    if INDEX not in members:
        raise ValueError(f"it has no {INDEX}: a zip file, but not written by scratchvgg")
    total = 0
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"member {info.filename!r} is compressed or encrypted; this format only stores")
        total += info.file_size
    if total > length:
        raise ValueError(f"its members claim {total} bytes, the file has {length}")
    return members


def _read_array(archive, members, entry: dict, as_tensor):
    name = entry["array"]
    info = members[name]
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise ValueError(f"member {name!r} has .npy version {version}, expected (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype.kind not in _KINDS or fortran or min(shape, default=0) < 0:
            raise ValueError(f"member {name!r} holds {dtype} of shape {shape}, expected an array of numbers in C order")
        size = math.prod(shape) * dtype.itemsize
        if size != info.file_size - member.tell():
            raise ValueError(f"member {name!r} claims {size} bytes of data and has {info.file_size - member.tell()}")
        array = np.empty(shape, dtype)
        data = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, size, _CHUNK):
            piece = member.read(min(_CHUNK, size - start))  # the last read checks the CRC
            data[start : start + len(piece)] = piece
            if len(piece) < min(_CHUNK, size - start):
                raise ValueError(f"member {name!r} ends early")
    if "dtype" in entry:
        array = array.view(as_dtype(entry["dtype"]).numpy)
    if "axes" in entry:
        array = _in_memory_order(array, entry["axes"])
    return as_tensor(array) if as_tensor is not None and entry.get("tensor") else array


def _in_memory_order(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """A copy of ``array`` whose memory runs through its axes in the order ``axes``."""
    if sorted(axes) != list(range(array.ndim)):
        raise ValueError(f"{axes} is no order of {array.ndim} axes")
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
