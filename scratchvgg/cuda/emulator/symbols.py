"""What a kernel library has inside: its ``__shared__`` arrays by name, and the source line of an instruction (binutils' nm and addr2line)."""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

GLOBAL, SHARED, OTHER = range(3)  # kinds of memory, as in kernels/emulator/launch.h
_EMULATOR = re.compile(r"/emulator/\w+\.h$")


class Symbol(NamedTuple):
    """A variable of a library: its offset from the library's start, its bytes, its name, its kind of memory, and for a ``__shared__`` array the
    function that declares it (``""`` unless it is ``extern "C"``, as entries are)."""

    offset: int
    size: int
    name: str
    kind: int
    owner: str


@functools.cache
def variables(library: Path) -> tuple[Symbol, ...]:
    """Every variable of ``library``. Static variables of kernels and device functions are ``__shared__`` arrays."""
    found = []
    for line in _tool("nm", "-S", "--defined-only", str(library)).splitlines():
        parts = line.split()
        if len(parts) != 4 or parts[2] not in "bBdDrRuVvsS":
            continue
        offset, size, letter, mangled = int(parts[0], 16), int(parts[1], 16), parts[2], parts[3]
        shared = mangled.startswith("_ZZ") and not mangled.startswith("_ZZN3emu") and letter in "bBuV"
        function = re.match(r"_ZZ(\d+)(\w+)", mangled)
        owner = function[2][: int(function[1])] if function else ""
        found.append(Symbol(offset, size, _plain(mangled) if shared else mangled, SHARED if shared else OTHER, owner))
    return tuple(found)


@functools.cache
def offset_of(library: Path, name: str) -> int:
    """The offset of a function from the library's start."""
    return next(int(line.split()[0], 16) for line in _tool("nm", "--defined-only", str(library)).splitlines() if line.endswith(f" {name}"))


def base_address(library: Path, loaded: ctypes.CDLL, name: str) -> int:
    """Where the library lies in memory, by one of its functions."""
    return ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value - offset_of(library, name)


def source_line(library: Path, offset: int) -> str:
    """``gemm.cu:40``: the innermost line of the kernel's own source at this instruction."""
    lines = _tool("addr2line", "-i", "-e", str(library), hex(offset)).split("\n")
    places = [re.sub(r" \(.*\)$", "", line) for line in lines if line and not line.startswith("??")]
    place = next((p for p in places if not _EMULATOR.search(p.rpartition(":")[0])), places[0] if places else "an unknown line")
    return Path(place).name


def _plain(mangled: str) -> str:
    """``_ZZ4gemmE2As`` and ``_ZZ4gemmILi64EEvPfE2As_0`` are the arrays As."""
    return re.sub(r".*\)::", "", _tool("c++filt", mangled).strip()).rpartition("::")[2]


def _tool(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise RuntimeError(f"sanitizing needs {command[0]!r} of binutils, which comes with g++, on the PATH") from None
