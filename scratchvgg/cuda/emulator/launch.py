"""Calls a kernel of a built library: ``kernel(grid, block, args, shared_mem=0)``, with the rules of ``cupy.RawKernel``.

Arrays go by pointer, NumPy scalars (``np.int32(3)``) by value, a structured NumPy array of one element by value (a struct); a ``np.uint64``
for a pointer is an address (0: null). CuPy believes whatever it is given; here the kernel's own signature is known, so a wrong number of
arguments, an array of another element type or a scalar of another size is a TypeError that names the argument, where a GPU would silently
read something else.
"""

from __future__ import annotations

import ctypes
import math
import re
from dataclasses import dataclass

import numpy as np

from .build import Built
from .memory import damage
from .sanitize import run
from .settings import early_copies, launch_order, os_threads

MAX_THREADS, MAX_SHARED = 1024, 227 << 10
MAX_BLOCK, MAX_GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
_KINDS = {"f": "float", "h": "float16", "b": "bfloat16", "i": "int", "u": "unsigned", "?": "bool", "v": "void", "s": "struct"}


class EmulatorError(RuntimeError):
    """A kernel did something that the emulator's checks forbid; the message names kernel, block and thread."""


class LaunchRecord(ctypes.Structure):
    """``emu::Launch`` of ``kernels/emulator/launch.h``."""

    _fields_ = [
        ("kernel", ctypes.c_char_p), ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_size_t),
        ("order", ctypes.c_longlong), ("os_threads", ctypes.c_int), ("early", ctypes.c_int), ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("checks", ctypes.c_void_p), ("message", ctypes.c_char * 1024), ("places", ctypes.c_size_t * 2),
    ]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: ``kind`` is a letter of ``kernels/emulator/entry.h``, ``size`` the bytes of the value or of what it points to."""

    name: str
    kind: str
    size: int
    pointer: bool
    const: bool

    @property
    def spelling(self) -> str:
        """The type for messages: ``float32*``, ``int32``, ``struct of 60 bytes``."""
        if self.kind == "s":
            text = f"struct of {self.size} bytes"
        else:
            text = _KINDS[self.kind] if self.kind in "hb?v" else f"{_KINDS[self.kind]}{8 * self.size}"
        return text + "*" if self.pointer else text


class Kernel:
    """One entry of a library. Call it as a ``cupy.RawKernel``.

    Args:
        built, library: the library on disk and in memory.
        name: the entry.
    """

    def __init__(self, built: Built, library: ctypes.CDLL, name: str):
        self.name, self._built, self._library = name, built, library
        self._function = getattr(library, f"emulator_launch_{name}")
        types = getattr(library, f"emulator_types_{name}")
        types.restype = ctypes.c_char_p
        self.parameters = [_parameter(n, t) for n, t in zip(built.entries[name], types().decode().split(), strict=True)]

    def __call__(self, grid, block, args, shared_mem: int = 0) -> None:
        """Run the kernel to its end.

        Args:
            grid, block: up to three sizes each.
            args: one value per parameter.
            shared_mem: bytes of dynamic shared memory.

        Raises:
            TypeError: if the arguments are not the kernel's.
            ValueError: if no GPU could run a launch of this size.
            EmulatorError: if a check finds a fault while it runs.
        """
        grid, block = _sizes(self.name, "grid", grid, MAX_GRID), _sizes(self.name, "block", block, MAX_BLOCK)
        if math.prod(block) > MAX_THREADS:
            raise ValueError(f"{self.name}: a block has at most {MAX_THREADS} threads, got {block} = {math.prod(block)}")
        if not 0 <= shared_mem <= MAX_SHARED:
            raise ValueError(f"{self.name}: a block has at most {MAX_SHARED} bytes of shared memory, got {shared_mem}")
        values = self.values(args)
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(v.ctypes.data for v in values))
        record = LaunchRecord(
            self.name.encode(), grid, block, shared_mem, launch_order(), os_threads(), early_copies(),
            ctypes.cast(pointers, ctypes.POINTER(ctypes.c_void_p)),
        )
        arrays = [(p, a) for p, a in zip(self.parameters, args, strict=True) if isinstance(a, np.ndarray) and p.pointer]
        finding = self._run(record, arrays) or self._damage(arrays)
        if finding:
            raise EmulatorError(_kind_first(finding))

    def _run(self, record, arrays) -> str | None:
        if self._built.sanitized:
            return run(self._built.path, self._library, record, arrays, lambda r: self._function(ctypes.byref(r)))
        return record.message.decode(errors="replace") if self._function(ctypes.byref(record)) else None

    def _damage(self, arrays) -> str | None:
        for parameter, array in arrays:
            words = damage(array)
            if words:
                return f"memcheck: kernel {self.name} has written outside of {parameter.name} ({array.dtype}{list(array.shape)}): {words}"
        return None

    def values(self, args) -> list[np.ndarray]:
        """``args`` as the bytes that the kernel's parameters are made of.

        Raises:
            TypeError: naming the kernel and the argument.
        """
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments ({', '.join(p.name for p in self.parameters)}), got {len(args)}")
        return [self._value(p, a) for p, a in zip(self.parameters, args, strict=True)]

    def _value(self, parameter: Parameter, value) -> np.ndarray:
        if parameter.pointer:
            if isinstance(value, np.ndarray) and _points_to(parameter, value.dtype):
                return np.array([value.ctypes.data if value.size else 0], np.uint64)  # an empty array is a null pointer, as in CuPy
            if isinstance(value, np.uint64) and value == 0:  # a null pointer
                return np.array([value])
        elif parameter.kind == "s":
            if isinstance(value, (np.ndarray, np.void)) and value.dtype.kind == "V" and value.size == 1 and value.dtype.itemsize == parameter.size:
                return np.ascontiguousarray(value).reshape(1)
        elif isinstance(value, np.generic) and _same_kind(parameter, value.dtype):
            return np.array([value])
        raise TypeError(f"{self.name}: argument {parameter.name} must be {_wanted(parameter)}, got {_came(value)}")


def _parameter(name: str, text: str) -> Parameter:
    """From entry.h's word for a type: ``c*f4`` is a ``const float*``."""
    prefix = text[: text.find("*") + 1]
    return Parameter(name, text[len(prefix)], int(text[len(prefix) + 1 :]), bool(prefix), prefix == "c*")


def _points_to(parameter: Parameter, dtype: np.dtype) -> bool:
    """Whether an array of ``dtype`` may stand behind the pointer. Raw bits are taken for 16-bit floats, and either sign for integers."""
    if parameter.kind in "vs":
        return True
    if parameter.size == 1 and parameter.kind in "iu?":
        return dtype.itemsize == 1
    return _same_kind(parameter, dtype) or (parameter.size == 2 and dtype.itemsize == 2 and (dtype == np.uint16 or parameter.kind == "u"))


def _same_kind(parameter: Parameter, dtype: np.dtype) -> bool:
    if parameter.kind == "h":
        return dtype == np.float16
    if parameter.kind == "b":
        return dtype.name == "bfloat16"
    kinds = {"f": "f", "i": "iu", "u": "iu", "?": "b"}[parameter.kind]
    return dtype.kind in kinds and dtype.itemsize == parameter.size


def _wanted(parameter: Parameter) -> str:
    if parameter.pointer:
        return f"an array for {parameter.spelling} (or a np.uint64 that is an address, 0 for a null pointer)"
    if parameter.kind == "s":
        return f"a structured NumPy array of one element of {parameter.size} bytes"
    return f"a NumPy scalar for {parameter.spelling}, such as np.{parameter.spelling.replace('unsigned', 'uint').replace('bool', 'bool_')}(…)"


def _came(value) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}" + (f" with {value.dtype.itemsize} bytes and {value.size} elements" if value.dtype.names else "")
    return f"{type(value).__name__} {value!r}"


def _kind_first(finding: str) -> str:
    """``kernel k, …: racecheck: …`` becomes ``racecheck: kernel k, …: …``."""
    match = re.match(r"(kernel .*?): (memcheck|initcheck|racecheck|synccheck): ", finding, re.DOTALL)
    return f"{match[2]}: {match[1]}: {finding[match.end() :]}" if match else finding


def _sizes(kernel: str, what: str, sizes, limits) -> tuple[int, int, int]:
    sizes = tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"{kernel}: {what} must have 1 to 3 sizes, got {sizes}")
    full = tuple(int(s) for s in sizes) + (1,) * (3 - len(sizes))
    if any(not 1 <= s <= limit for s, limit in zip(full, limits, strict=True)):
        raise ValueError(f"{kernel}: {what} must lie between (1, 1, 1) and {limits}, got {full}")
    return full
