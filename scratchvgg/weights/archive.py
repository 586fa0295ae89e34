"""A tree of Python values and arrays in one zip file, without pickle; and NumPy's own ``.npz``.

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
length: a hostile file can make neither code run nor memory grow beyond its own size. Compressed members (``numpy.savez_compressed``)
are refused: they cannot be mapped, and what they expand to is bounded only by deflate's factor of 1,032.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import re
import struct

import numpy as np

from ..array import as_dtype
from .atomic import atomic_write
from .reading import reading
from .source import Malformed, Source
from .trees import host_array, pieces, shown, unique
from .zip_reader import START, ZipReader
from .zip_writer import ZipWriter

INDEX = "index.json"
FORMAT, VERSION = "scratchvgg", 1
_KINDS = "biufc"
_LONGEST_INDEX, _MOST_VALUES = 1 << 24, 1 << 19  # bytes, and commas and brackets in them: what the parsed index needs stays below 200 MB
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(r"\{'descr': (?:'(?P<descr>[^']*)'|\[.*\]), 'fortran_order': (?P<fortran>True|False), "
                     r"'shape': \((?P<shape>[-\d, ]{0,1000})\),? *\} *\n?")  # as all writers write it; NumPy's own parser lets some of Python through
_NUMBERS = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f2|f4|f8|f12|f16|c8|c16|c24|c32)")
_UNSAFE = re.compile(r"[^0-9A-Za-z_.\- |]")  # in the names of members


def matches(source: Source) -> bool:
    """Whether the file is a zip archive whose first member is our index or a ``.npy``."""
    if source.size < 30 or source.bytes(0, 4) != START:
        return False
    name = source.bytes(30, min(int.from_bytes(source.bytes(26, 2), "little"), source.size - 30))
    return name == INDEX.encode() or name.endswith(b".npy")


def write(path, tree) -> None:
    """Write ``tree`` to ``path`` atomically.

    Args:
        path: the file; if it exists it is replaced in one step. Or an open binary file.
        tree: dicts, lists, tuples, None, bools, ints, floats, strings, NumPy arrays (of bools and numbers; NumPy scalars
            count as 0-dimensional) and Tensors, nested at will. Element types, bits and memory order are kept.

    Raises:
        TypeError: for anything else, with its place in the tree; nothing is written.
        ValueError: for a tree with more than half a million values that are not in arrays. OSError: if the folder cannot be written to.
    """
    arrays: dict[str, np.ndarray] = {}
    index = {"format": FORMAT, "version": VERSION, "tree": _encode(tree, (), arrays)}
    text = json.dumps(index, allow_nan=False, ensure_ascii=True).encode()
    if _too_large(text):
        raise ValueError(f"save: the tree holds more than the {_MOST_VALUES:,} values (or text of {_LONGEST_INDEX:,} bytes) that are read back; "
                         "put numbers into arrays")
    target = contextlib.nullcontext(path) if hasattr(path, "write") else atomic_write(path)
    with target as file, ZipWriter(file) as archive:
        archive.add(INDEX, len(text), [text])
        for name, array in arrays.items():
            _write_array(archive, name, array)


def read(source: Source, as_tensor, verify: bool = True):
    """Read what :func:`write` or ``numpy.savez`` wrote (the latter as a dict of arrays).

    Args:
        as_tensor: called with each array that was a Tensor when saved, and with all of NumPy's own files; None leaves arrays.
        verify: compare every member's CRC-32 first.

    Raises:
        Malformed, ValueError, KeyError, TypeError, RecursionError: if the file is corrupt, foreign or makes claims that its length belies.
    """
    archive = ZipReader(source)
    if verify:
        archive.check_all()
    if INDEX not in archive.members:
        return _read_plain(source, archive, as_tensor)
    text = archive.bytes(INDEX, _LONGEST_INDEX)
    if _too_large(text):
        raise Malformed(f"its index holds more than {_MOST_VALUES:,} values")
    index = json.loads(text.decode(), object_pairs_hook=unique)  # from bytes, json would guess at UTF-16 and UTF-32
    if index["format"] != FORMAT or index["version"] != VERSION:
        raise Malformed(f"it is {index['format']!r} version {index['version']!r}, expected {FORMAT!r} version {VERSION}")
    return _decode(index["tree"], lambda entry: _read_entry(source, archive, entry, as_tensor))


def save_tree(path, tree) -> None:
    """:func:`write` under the name that goes with :func:`load_tree`."""
    write(path, tree)


def load_tree(path, as_tensor=None, *, mmap: bool = False):
    """Read what :func:`save_tree` wrote, verified; into memory of its own, so that nothing that happens to the file later matters.

    Args:
        path: the file, or an open binary file.
        as_tensor: called with each array that was a Tensor when saved; by default these stay arrays.
        mmap: map the file instead (see :func:`scratchvgg.load`).

    Raises:
        WeightsError: if the file is truncated, corrupt, foreign or makes claims that its length belies.
        OSError: if it cannot be opened.
    """
    with reading(path, mmap) as source:
        if not matches(source):
            raise Malformed("it is truncated or no weights file of scratchvgg at all (it does not begin like one)")
        return read(source, as_tensor)


def _too_large(text: bytes) -> bool:
    return len(text) > _LONGEST_INDEX or sum(text.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES


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
    if (array := host_array(value)) is not None:
        entry = _encode_array(array, place, arrays)
        return entry if isinstance(value, (np.ndarray, np.generic)) else entry | {"tensor": True}
    raise TypeError(f"save: cannot store a {type(value).__name__} at {shown(place)}; "
                    "trees hold dicts, lists, tuples, None, numbers, strings and arrays")


def _encode_array(array: np.ndarray, place: tuple, arrays: dict) -> dict:
    entry = {}
    if array.dtype.kind not in _KINDS:
        if array.dtype.name != "bfloat16":
            raise TypeError(f"save: cannot store an array of {array.dtype} at {shown(place)}; arrays hold bools and numbers")
        entry["dtype"], array = "bfloat16", array.view(np.uint16)
    axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    if not array.flags.c_contiguous and array.transpose(axes).flags.c_contiguous:
        entry["axes"] = axes
    name = "/".join(_UNSAFE.sub("|", str(part)).strip(".")[:60] or "|" for part in place)[:900] or "value"
    while name + ".npy" in arrays:
        name += "_"
    arrays[name + ".npy"] = array
    return {"array": name + ".npy", **entry}


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
        return unique([(_decode(k, read_array), _decode(v, read_array)) for k, v in content])
    if kind == "tuple":
        return tuple(_decode(v, read_array) for v in content)
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    raise Malformed(f"the index holds an unknown kind of entry, {kind!r}")


# ---- the members -----------------------------------------------------------------------------------------------------


def _write_array(archive: ZipWriter, name: str, array: np.ndarray) -> None:
    header = io.BytesIO()
    plain = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, plain)
    text = header.getvalue()
    archive.add(name, len(text) + array.nbytes, itertools.chain([text], pieces(array)))


def _read_plain(source: Source, archive: ZipReader, as_tensor) -> dict:
    foreign = next((name for name in archive.members if not name.endswith(".npy")), None)
    if foreign is not None:
        raise Malformed(f"it has no {INDEX}, and {foreign!r} is no array: a zip file, but not written by scratchvgg or numpy.savez")
    tree = {}
    for name in archive.members:
        array = _read_array(source, archive, name)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        tree[name.removesuffix(".npy")] = as_tensor(array) if as_tensor is not None else array
    return tree


def _read_entry(source: Source, archive: ZipReader, entry: dict, as_tensor):
    array = _read_array(source, archive, entry["array"])
    if "dtype" in entry:
        if entry["dtype"] != "bfloat16" or array.dtype != np.uint16:
            raise Malformed(f"its index says that the {array.dtype} array {entry['array']!r} holds {entry['dtype']!r}")
        array = array.view(as_dtype("bfloat16").numpy)
    if "axes" in entry:
        array = _in_memory_order(array, entry["axes"])
    return as_tensor(array) if as_tensor is not None and entry.get("tensor") else array


def _read_array(source: Source, archive: ZipReader, name: str) -> np.ndarray:
    """The array of a ``.npy`` member; mapped where the source is."""
    member = archive.members[name]
    head = source.bytes(member.start, min(member.size, len(_MAGIC) + 2))
    if not head.startswith(_MAGIC) or len(head) < len(_MAGIC) + 2:
        raise Malformed(f"member {name!r} does not begin as .npy version (1, 0) does")
    start = len(head) + int.from_bytes(head[-2:], "little")
    if start > member.size:
        raise Malformed(f"member {name!r} is cut inside its header")
    header = _HEADER.fullmatch(source.bytes(member.start + len(head), start - len(head)).decode("latin1"))
    if header is None:
        raise Malformed(f"member {name!r} has a malformed header")
    if header["descr"] is None or not _NUMBERS.fullmatch(header["descr"]):
        raise Malformed(f"member {name!r} holds {(header['descr'] or 'records')!r}, expected an array of numbers")
    dtype, fortran = np.dtype(header["descr"]), header["fortran"] == "True"
    shape = tuple(int(length) for length in header["shape"].split(",") if length.strip())
    size = math.prod(shape) * dtype.itemsize
    if size != member.size - start:
        raise Malformed(f"member {name!r} claims {size} bytes of data and has {member.size - start}")
    start += member.start
    return source.array(start, dtype, shape[::-1]).T if fortran else source.array(start, dtype, shape)


def _in_memory_order(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """A copy of ``array`` whose memory runs through its axes in the order ``axes``."""
    if sorted(axes) != list(range(array.ndim)):
        raise Malformed(f"{axes} is no order of {array.ndim} axes")
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
