"""Reads the pickles of the CIFAR files as data: no class is looked up, nothing is called, nothing can execute.

A pickle is a program for a small stack machine. ``pickletools.genops`` decodes its instructions; the machine here knows
only those that build numbers, strings, lists, tuples and dicts, and one composite, an array of bytes as NumPy 1 wrote it:

    _reconstruct(ndarray, (0,), 'b')  then  BUILD (version, shape, dtype('u1'), fortran_order, content)

Those names are compared as text and the array is made from ``content`` here. Whatever else a pickle asks for is refused.
"""

from __future__ import annotations

import math
import pickletools

import numpy as np

from .errors import DataError

_RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_NAMES = _RECONSTRUCT | {"numpy ndarray", "numpy dtype", "_codecs encode"}
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
           "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class _Name:
    """A global that the pickle mentions."""

    def __init__(self, text: str):
        if text not in _NAMES:
            raise DataError(f"it asks for {text.replace(' ', '.')!r}, which is not part of a picture file: refused")
        self.text = text


class _Array:
    """An array whose content is still to come, or a dtype (``array`` stays None)."""

    def __init__(self, dtype: str | None = None):
        self.dtype, self.array = dtype, None

    def build(self, state) -> None:
        if self.dtype is not None:
            return  # byte order and flags of a one-byte type: nothing to keep
        _, shape, dtype, fortran, content = state
        content = content.encode("latin-1") if isinstance(content, str) else content
        if not isinstance(dtype, _Array) or dtype.dtype not in ("u1", "|u1", "uint8"):
            raise DataError("it holds an array of another type than unsigned bytes")
        if math.prod(shape) != len(content) or min(shape, default=0) < 0:
            raise DataError(f"it declares an array of shape {shape} but holds {len(content):,} bytes for it")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def loads(content: bytes) -> dict:
    """The dict in a CIFAR pickle, keys as ``str``, arrays as uint8.

    Raises:
        DataError: for a truncated or malformed pickle, or one that needs anything but plain data; the caller names the file.
    """
    try:
        value = _finish(_run(content))
    except DataError:
        raise
    except Exception as error:  # whatever a hostile or cut file provokes in decoding
        raise DataError(f"it is not a readable pickle ({type(error).__name__}: {error})") from None
    if not isinstance(value, dict):
        raise DataError(f"it holds a {type(value).__name__} instead of a dict")
    return value


def _run(content: bytes):
    stack, memo = [], {}

    def above_mark() -> list:
        place = len(stack) - 1 - stack[::-1].index(_MARK)
        items = stack[place + 1 :]
        del stack[place:]
        return items

    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name in ("TUPLE", "LIST"):
            stack.append({"TUPLE": tuple, "LIST": list}[name](above_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "APPENDS":
            items = above_mark()
            stack[-1].extend(items)
        elif name == "SETITEM":
            key, item = stack[-2:]
            del stack[-2:]
            stack[-1][_key(key)] = item
        elif name == "SETITEMS":
            items = above_mark()
            stack[-1].update(zip(map(_key, items[0::2]), items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_Name(argument))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_Name(" ".join(stack[-2:]))]
        elif name == "REDUCE":
            stack[-2:] = [_call(*stack[-2:])]
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].build(state)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise DataError(f"it uses the pickle instruction {name}, which no picture file needs: refused")
    raise DataError("it is cut short")


def _call(function, arguments):
    if not isinstance(function, _Name):
        raise DataError(f"it calls a {type(function).__name__}: refused")
    if function.text in _RECONSTRUCT:
        return _Array()
    if function.text == "numpy dtype":
        return _Array(dtype=arguments[0])
    if function.text == "_codecs encode" and arguments[1] == "latin1":  # how Python 3 writes bytes into an old pickle
        return arguments[0].encode("latin-1")
    raise DataError(f"it calls {function.text.replace(' ', '.')}: refused")


def _key(key) -> str:
    return key.decode("ascii") if isinstance(key, bytes) else str(key)


def _finish(value):
    """Top level of the result with arrays in place of the machine's own objects."""
    if not isinstance(value, dict):
        return value
    return {key: item.array if isinstance(item, _Array) else item for key, item in value.items()}
