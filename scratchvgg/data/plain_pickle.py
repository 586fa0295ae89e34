"""The pickles of the CIFAR files, read as data by :mod:`scratchvgg.weights.pickle_machine`: nothing in them can execute.

Besides plain values they hold one composite, an array of bytes as NumPy 1 wrote it:

    _reconstruct(ndarray, (0,), 'b')  then  BUILD (version, shape, dtype('u1'), fortran_order, content)

Those names are compared as text and the array is made from ``content`` here. Whatever else a pickle asks for is refused.
"""

from __future__ import annotations

import numpy as np

from ..weights.pickle_machine import PickleMachine, rebuild
from ..weights.source import Malformed, extent
from .errors import DataError


class _Array:
    """An array whose content is still to come."""

    array = None


class _Type(str):
    """The name of an array's element type."""


def _array(kind, shape, code) -> _Array:
    return _Array()


def _encode(text, encoding) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    if encoding != "latin1" or type(text) is not str:
        raise Malformed(f"it encodes as {encoding!r}: refused")
    return text.encode("latin-1")


def _fill(target: _Array, state) -> None:
    _, shape, dtype, fortran, content = state
    content = content.encode("latin-1") if type(content) is str else content
    if type(dtype) is not _Type or dtype not in ("u1", "|u1", "uint8"):
        raise Malformed("it holds an array of another type than unsigned bytes")
    if extent(shape) != len(content):
        raise Malformed(f"it declares an array of shape {shape} but holds {len(content):,} bytes for it")
    target.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


_NAMES = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.ndarray": None,
    "numpy.dtype": lambda name, align=False, copy=True: _Type(name),
    "_codecs.encode": _encode,
}
_BUILDS = {_Array: _fill, _Type: lambda dtype, state: None}  # byte order and flags of a one-byte type: nothing to keep


def loads(content: bytes) -> dict:
    """The dict in a CIFAR pickle, keys as ``str``, arrays as uint8.

    Raises:
        DataError: for a truncated or malformed pickle, or one that needs anything but plain data; the caller names the file.
    """
    try:
        machine = PickleMachine(content, _NAMES, builds=_BUILDS, encoding="latin-1", reader="picture files")
        value = rebuild(machine.run(), _leaf)
    except Malformed as error:
        raise DataError(str(error)) from None
    if not isinstance(value, dict):
        raise DataError(f"it holds a {type(value).__name__} instead of a dict")
    return {_key(key): item for key, item in value.items()}


def _leaf(value) -> np.ndarray:
    if type(value) is not _Array or value.array is None:
        raise Malformed("it holds an array without content")
    return value.array


def _key(key) -> str:
    return key.decode("ascii", "replace") if isinstance(key, bytes) else str(key)
