"""What torch writes into a pickle about tensors: the allow-list, and storages and tensors as descriptions to be filled later.

    tensor    _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)     offset and stride count elements
    storage   a persistent id: ("storage", torch.FloatStorage, key, location, elements)   its bytes lie elsewhere in the file

A description costs a few words whatever it declares. It is compared with its storage when it is read, its storage with the
file before anything is allocated. Tensors that share a storage in the file share memory here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..array import as_dtype
from .pickle_machine import Name, PickleMachine, rebuild
from .source import Malformed, extent, window

LARGEST_PICKLE = 1 << 24  # bytes; one tensor takes about 200
_MOST_ELEMENTS = 1 << 62


@dataclass(eq=False, slots=True)
class Storage:
    """``count`` elements of type ``dtype`` (one of scratchvgg's) under ``key``; a view has a ``base``, where it begins at element ``start``."""

    key: str
    dtype: object
    count: int
    base: Storage | None = None
    start: int = 0

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return self.count * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class _Tensor:
    """A tensor, or a parameter, in its storage; ``stride`` counts elements."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


def read_pickle(content: bytes, start: int = 0, check: Callable[[Storage], None] | None = None):
    """(value, storages by key, byte after it) of a pickle of torch's; tensors and storages are descriptions.

    Args:
        check: called with each storage when it is first mentioned; raises Malformed if the file does not have it.

    Raises:
        Malformed: if the pickle needs anything but tensors and plain data, or declares a tensor outside its storage.
    """
    storages: dict[str, Storage] = {}

    def persistent(description) -> Storage:
        if type(description) is not tuple or len(description) not in (5, 6) or description[0] != "storage":
            raise Malformed("it refers to something outside its pickle that is no storage: refused")
        _, kind, key, location, count, *view = description
        if type(kind) is not Name or callable(kind.meaning):
            raise Malformed("it has a storage without an element type")
        if type(key) is not str or type(location) is not str or type(count) is not int or not 0 <= count < _MOST_ELEMENTS:
            raise Malformed("it has a storage whose key, location or length is of the wrong type")
        found = storages.get(key)
        if found is None:
            found = Storage(key, kind.meaning, count)
            if check is not None:
                check(found)
            storages[key] = found
        elif (found.dtype, found.count) != (kind.meaning, count):
            raise Malformed(f"it declares storage {key!r} twice, as {found.count:,} × {found.dtype.name} and as {count:,} × {kind.meaning.name}")
        return _view(found, view[0]) if view and view[0] is not None else found

    machine = PickleMachine(content, NAMES, builds={OrderedDict: _set_metadata}, persistent=persistent, start=start)
    return machine.run(), storages, machine.position


def fill(tree, flat: Callable[[Storage], np.ndarray], as_tensor: Callable):
    """``tree`` with arrays in place of the descriptions.

    Args:
        flat: the elements of a storage that is not a view, shape (count,); called once for each that is needed.
        as_tensor: called with each tensor's array, a view of its storage's.
    """
    memory: dict[str, np.ndarray] = {}

    def elements(storage: Storage) -> np.ndarray:
        if storage.base is not None:
            return elements(storage.base)[storage.start : storage.start + storage.count]
        if storage.key not in memory:
            memory[storage.key] = flat(storage)
        return memory[storage.key]

    def leaf(value):
        if type(value) is _Tensor:
            return as_tensor(window(elements(value.storage), value.offset, value.size, value.stride))
        if type(value) is Storage:
            return as_tensor(elements(value))
        raise Malformed(f"it holds the name {value.text!r} where a value belongs: refused")

    return rebuild(tree, leaf)


def _view(base: Storage, description) -> Storage:
    """The legacy format's storages inside others: (key, first element, elements)."""
    if type(description) is not tuple or len(description) != 3 or not all(type(n) is int and n >= 0 for n in description[1:]):
        raise Malformed("it has a view of a storage that is not described by key, offset and size")
    _, start, count = description
    if start + count > base.count:
        raise Malformed(f"it has a view of {count:,} elements from element {start:,} on in a storage of {base.count:,}")
    return Storage(base.key, base.dtype, count, base, start)


# ---- the plain functions behind torch's names ------------------------------------------------------------------------


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> _Tensor:
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple:
        raise Malformed("it has a tensor that is not described by a storage, an offset, a size and strides: refused")
    if hooks or metadata:
        raise Malformed("it has a tensor with hooks or a conjugate or negative bit: refused")
    _check_flags(requires_grad, hooks)
    if type(offset) is not int or offset < 0 or offset + extent(size, stride) > storage.count:
        raise Malformed(f"it has a tensor of size {size} and strides {stride} that reaches outside its storage of {storage.count:,} elements")
    return _Tensor(storage, offset, size, stride)


def _parameter(data, requires_grad=True, hooks=None) -> _Tensor:
    if type(data) is not _Tensor or hooks:
        raise Malformed("it has a parameter that is no plain tensor: refused")
    _check_flags(requires_grad, hooks)
    return data


def _check_flags(requires_grad, hooks) -> None:
    """What is not kept is looked at all the same: a file that torch cannot load is corrupt."""
    if type(requires_grad) is not bool or type(hooks) not in (type(None), dict, OrderedDict):
        raise Malformed("it has a tensor whose requires_grad or hooks are of the wrong type: refused")


def _ordered_dict(pairs=()) -> OrderedDict:
    """Empty, or from the list of pairs that Python 2 wrote."""
    if type(pairs) not in (list, tuple) or not all(type(p) in (list, tuple) and len(p) == 2 and type(p[0]) is str for p in pairs):
        raise Malformed("it has an OrderedDict that is not made of names and values: refused")
    return OrderedDict(pairs)


def _set_metadata(target: OrderedDict, state) -> None:
    if type(state) is not dict or set(state) - {"_metadata"}:
        raise Malformed("it sets attributes of an OrderedDict other than _metadata: refused")
    vars(target).update(state)


def _encode(text, encoding="utf-8") -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Malformed("it encodes something else than bytes: refused")
    return text.encode("latin-1")


def _size(numbers=()) -> tuple:
    if type(numbers) is not tuple or not all(type(n) is int for n in numbers):
        raise Malformed("it has a torch.Size that is not made of integers: refused")
    return numbers


_STORAGES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64", "ByteStorage": "uint8",
    "CharStorage": "int8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64", "BoolStorage": "bool",
}
NAMES = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",  # how Python 3 writes no bytes in protocol 2
    "torch.storage.UntypedStorage": as_dtype("uint8"),
    **{f"torch.{name}": as_dtype(dtype) for name, dtype in _STORAGES.items()},
}
