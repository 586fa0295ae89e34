"""NVRTC, NVIDIA's runtime compiler: CUDA C++ in, machine code (CUBIN) and PTX out. Bound with ctypes; it needs no GPU, no driver and no CuPy.

Source: the NVRTC User Guide, https://docs.nvidia.com/cuda/nvrtc/
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .libcuda import driver_version
from .toolkit import Part, find_nvrtc, missing


class NvrtcError(RuntimeError):
    """NVRTC refused a program.

    Attributes:
        log: what it says about it.
        ptx: the PTX it had made when the assembler refused; "" if the C++ was wrong.
    """

    def __init__(self, reason: str, log: str, ptx: str):
        super().__init__(f"{reason}\n{log}")
        self.reason, self.log, self.ptx = reason, log, ptx


@dataclass(frozen=True)
class Program:
    """A compiled program: machine code, the PTX it was made from, and the log."""

    cubin: bytes
    ptx: str
    log: str


class Nvrtc:
    """One NVRTC library. Programs may be compiled in several threads at once: the calls leave Python's lock.

    Args:
        part: the library.

    Raises:
        OSError: if it cannot be loaded.
    """

    def __init__(self, part: Part):
        self.part = part
        if part.path.is_absolute():
            for builtins in sorted(part.path.parent.glob("libnvrtc-builtins.so.*")):  # NVRTC asks for it by name: then it is there
                ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(str(part.path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @functools.cached_property
    def version(self) -> tuple[int, int]:
        """(major, minor) of CUDA."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    @functools.cached_property
    def architectures(self) -> list[int]:
        """What it compiles for: 75, 80, … for sm_75, sm_80, …"""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", numbers)
        return sorted(numbers)

    def compile(self, source: str, name: str, options: Sequence[str]) -> Program:
        """Compile the text ``source``, called ``name`` in messages and line tables.

        Raises:
            NvrtcError: if the compiler or the assembler refuse it.
        """
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        try:
            words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = self._library.nvrtcCompileProgram(program, len(options), words)
            log, ptx = (self._read(what, program).rstrip(b"\0").decode(errors="replace") for what in ("ProgramLog", "PTX"))
            if status:
                raise NvrtcError(self._library.nvrtcGetErrorString(status).decode(), log, ptx)
            return Program(self._read("CUBIN", program), ptx, log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, what: str, program) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *args) -> None:
        status = getattr(self._library, function)(*args)
        if status:
            raise RuntimeError(f"{function}: {self._library.nvrtcGetErrorString(status).decode()}")


@functools.cache
def load_nvrtc() -> Nvrtc:
    """The NVRTC of this process: the preferred one (:func:`~scratchvgg.cuda.toolkit.find_nvrtc`) whose code the driver, if there is one, can run.

    A driver runs the machine code of every CUDA of its own major version and of older ones.

    Raises:
        ImportError: if there is none; it says what to install.
    """
    return Nvrtc(choose_nvrtc(find_nvrtc(), driver_version()))


def choose_nvrtc(libraries: Sequence[Part], driver: tuple[int, int] | None) -> Part:
    """The first of ``libraries`` that is not newer than ``driver`` by a major version.

    Raises:
        ImportError: if there is none.
    """
    if not libraries:
        raise missing("nvrtc", "compiling CUDA kernels")
    fitting = [part for part in libraries if driver is None or _major(part.path) <= driver[0]]
    if not fitting:
        have = ", ".join(str(part.path) for part in libraries)
        raise ImportError(f"the driver runs CUDA {driver[0]}.{driver[1]}, but every NVRTC found is newer ({have}): update the driver, or "
                          f"pip install 'scratchvgg[gpu12]' 'nvidia-cuda-nvrtc-cu12' for the CUDA 12 compiler")
    return fitting[0]


def _major(library: Path) -> int:
    """13 from ``libnvrtc.so.13``."""
    return int(re.search(r"\.so\.(\d+)", library.name)[1])
