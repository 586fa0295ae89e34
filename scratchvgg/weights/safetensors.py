"""The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.

    {"__metadata__": {"key": "value"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}

Offsets count from the end of the header; the tensors tile the rest of the file without gap or overlap. The format has no checksum: no reader
notices a flipped bit in the data. Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import contextlib
import json
import math
import os

import numpy as np

from ..array import as_dtype
from .atomic import atomic_write
from .reading import reading
from .source import Malformed, Source, open_source
from .trees import host_array, little_endian, pieces, unique

DTYPES = {
    "U64": "uint64", "I64": "int64", "F64": "float64", "F32": "float32", "U32": "uint32", "I32": "int32", "BF16": "bfloat16", "F16": "float16",
    "U16": "uint16", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip  # by falling alignment: the order in which the safetensors library lays tensors out
_NAMES = {name: code for code, name in DTYPES.items()}
_METADATA = "__metadata__"
_LONGEST_HEADER = 1 << 21  # bytes; a net of 10,000 tensors needs half of it
_MOST_AXES = 32
_ENTRY = {"dtype", "shape", "data_offsets"}


def matches(source: Source) -> bool:
    """Whether the file begins like one: a length below 2²⁴, then the brace that opens the header."""
    return source.size >= 9 and source.bytes(3, 6) == b"\0\0\0\0\0{"


def read(source: Source, as_tensor, verify: bool = True) -> dict:
    """The tensors by name, in the order of the file; mapped where the source is.

    Args:
        as_tensor: called with each array; None leaves arrays.
        verify: nothing to do: the format has no checksum. The header is always checked in full.

    Raises:
        Malformed: if the header is not one, or its tensors do not tile the file. ImportError: for BF16 without the extra ``bfloat16``.
    """
    entries, _, start = _header(source)
    tensors = {}
    for name, (dtype, shape, begin, _) in entries.items():
        array = source.array(start + begin, _numpy(dtype), shape)
        tensors[name] = as_tensor(array) if as_tensor else array
    return tensors


def metadata(f) -> dict[str, str]:
    """The strings under ``__metadata__`` of a file (a path or an open binary file); empty if there are none.

    Raises:
        WeightsError: if it is no well-formed safetensors file. OSError: if it cannot be opened.
    """
    with reading(f) as source:
        return _header(source)[1]


def write(path, tree, metadata: dict[str, str] | None = None) -> None:
    """Write a flat dict of arrays or Tensors.

    The file has the bytes that the safetensors library writes for the same contiguous tensors: ordered by alignment, then name. Arrays that are not
    contiguous are copied a piece at a time, tied ones are written each, and the header is read back before the file takes its name.

    Args:
        path: the file, replaced atomically, or an open binary file.
        tree: names to arrays of the types in ``DTYPES``.
        metadata: strings to strings.

    Raises:
        TypeError: for anything else, naming the key; nothing is written. OSError: if the folder cannot be written to.
    """
    arrays = _flat(tree)
    names = sorted(arrays, key=lambda name: (list(_NAMES).index(arrays[name].dtype.name), name.encode()))
    header, place = {_METADATA: dict(metadata)} if metadata else {}, 0
    for name in names:
        array = arrays[name]
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_HEADER:
        raise ValueError(f"save: names, shapes and metadata take {len(text):,} bytes, a safetensors header of at most {_LONGEST_HEADER:,} is read")
    with contextlib.nullcontext(path) if hasattr(path, "write") else atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for piece in pieces(little_endian(arrays[name])):
                file.write(piece)
        if not hasattr(path, "write"):
            file.flush()
            _verify(file.name, header, 8 + len(text) + place)


def _flat(tree) -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        raise TypeError(f"save: a safetensors file holds a flat dict of tensors, got a {type(tree).__name__}; .npz and .pth hold any tree")
    arrays = {}
    for name, value in tree.items():
        array = host_array(value)
        if not isinstance(name, str) or name == _METADATA:
            raise TypeError(f"save: {name!r} cannot name a tensor of a safetensors file; names are strings other than {_METADATA}")
        if array is None:
            raise TypeError(f"save: a safetensors file holds a flat dict of tensors, [{name!r}] is a {type(value).__name__}; "
                            ".npz and .pth hold any tree")
        if array.dtype.name not in _NAMES:
            raise TypeError(f"save: safetensors has no element type for the {array.dtype} array at [{name!r}]")
        arrays[name] = array
    return arrays


def _verify(path, header: dict, size: int) -> None:
    with open_source(path) as source:
        entries, _, _ = _header(source)
        meant = {name: (e["dtype"], tuple(e["shape"]), *e["data_offsets"]) for name, e in header.items() if name != _METADATA}
        if entries != meant or source.size != size:
            raise OSError(f"save: {os.fspath(path)} reads back otherwise than it was written")


# ---- the header ------------------------------------------------------------------------------------------------------


def _header(source: Source) -> tuple[dict[str, tuple], dict[str, str], int]:
    """(name → (dtype, shape, begin, end) in the order of the data, metadata, first byte of the data)."""
    length = int.from_bytes(source.bytes(0, 8), "little")
    if length > source.size - 8:
        raise Malformed(f"it is truncated or corrupt: its header should have {length:,} bytes, the file has {source.size - 8:,} after the length")
    if length > _LONGEST_HEADER:
        raise Malformed(f"its header declares {length:,} bytes, at most {_LONGEST_HEADER:,} are read")
    text = source.bytes(8, length)
    if not text.startswith(b"{"):
        raise Malformed("its header does not begin with a brace")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=_refuse_constant)
    extra = header.pop(_METADATA, {})
    if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
        raise Malformed(f"{_METADATA} holds something other than strings")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    place = 0
    for name, (_, _, begin, end) in entries.items():
        if begin != place:
            raise Malformed(f"tensor {name!r} begins at byte {begin:,} of the data, expected {place:,}: a gap or an overlap")
        place = end
    if 8 + length + place != source.size:
        raise Malformed(f"it is truncated or corrupt: its tensors take {place:,} bytes, the file has {source.size - 8 - length:,}")
    return entries, extra, 8 + length


def _entry(name: str, entry) -> tuple[str, tuple[int, ...], int, int]:
    name.encode()  # refuses lone surrogates
    if not isinstance(entry, dict) or set(entry) != _ENTRY:
        raise Malformed(f"the header's entry for {name!r} should hold {', '.join(sorted(_ENTRY))}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPES:
        raise Malformed(f"tensor {name!r} has the element type {dtype!r}, which NumPy does not have; read are {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise Malformed(f"tensor {name!r} has a shape or offsets that are not whole numbers from 0 on")
    if len(shape) > _MOST_AXES:
        raise Malformed(f"tensor {name!r} has {len(shape):,} axes, at most {_MOST_AXES} are read")
    size = math.prod(shape) * _itemsize(dtype)
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise Malformed(f"tensor {name!r} of {dtype} and shape {shape} needs {size:,} bytes, its data_offsets are {offsets}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _refuse_constant(name: str):
    raise Malformed(f"its header holds {name}, which JSON does not have")


def _itemsize(code: str) -> int:
    return 2 if code == "BF16" else np.dtype(DTYPES[code]).itemsize


def _numpy(code: str) -> np.dtype:
    return as_dtype("bfloat16").numpy if code == "BF16" else np.dtype(DTYPES[code]).newbyteorder("<")
