"""``--sanitize``: what ``compute-sanitizer`` looks for on a GPU, here on the emulator, for every launch.

The kernel is compiled a second time so that every load and store calls ``kernels/emulator/shadow.cpp``; one block runs at a time. Each launch
runs three times on the same data, with threads and blocks forward, reversed and shuffled, and must write the same bits each time.

- memcheck: an access outside the arrays of this launch and the block's shared memory, or not aligned to its size; a write in a guard zone
- initcheck: reading global memory that nobody has written since ``backend.empty``, or shared memory that nobody has written in this block
- racecheck: two threads touch the same bytes, one writes, and no barrier (between blocks: fence and atomic) orders them
- synccheck: a barrier in divergent code, a deadlock, a warp operation whose lanes are missing
- ordercheck: the result depends on the order in which threads and blocks run
"""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import numpy as np

from . import symbols
from .settings import choose

ORDERS = 0, -1, 7
_one_at_a_time = threading.Lock()  # __shared__ arrays are plain variables in a sanitized library


class Region(ctypes.Structure):
    """``emu::Region`` of ``kernels/emulator/launch.h``."""

    _fields_ = [
        ("start", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("name", ctypes.c_char_p), ("kind", ctypes.c_int), ("granule", ctypes.c_int),
        ("unset", ctypes.c_int),
    ]


class Checks(ctypes.Structure):
    """``emu::Checks``."""

    _fields_ = [("regions", ctypes.POINTER(Region)), ("count", ctypes.c_int), ("image", ctypes.c_void_p), ("image_end", ctypes.c_void_p)]


def sanitize(enabled: bool = True):
    """A context in which every launch is checked (``SCRATCHVGG_EMULATOR_SANITIZE=1`` does it for a whole program).

    A finding is an :class:`~scratchvgg.cuda.emulator.launch.EmulatorError` whose message begins with the kind of the check and names kernel,
    block, thread, array, byte, and the line of the source.
    """
    return choose(sanitize=enabled)


def run(library: Path, loaded: ctypes.CDLL, record, arrays, call) -> str | None:
    """Launch ``record`` once for each order, with checks.

    Args:
        library, loaded: the sanitized library, on disk and in memory.
        record: the launch; its order, threads and checks are set here.
        arrays: pairs (parameter, array) of the pointers among its arguments.
        call: runs the record and returns whether it failed.

    Returns:
        The finding, or None. The arrays hold what the first order, forward, has written.
    """
    with _one_at_a_time:
        checks = _checks(library, loaded, record.kernel.decode(), arrays)
        record.checks, record.os_threads = ctypes.cast(ctypes.byref(checks), ctypes.c_void_p), 1
        views = {_bounds(a): (p, a) for p, a in arrays if a.size}
        memory = {bounds: _bytes(*bounds) for bounds in views}
        before, first = {b: m.copy() for b, m in memory.items()}, {}
        for order in ORDERS:
            record.order = order
            if order != ORDERS[0]:
                for bounds, view in memory.items():
                    view[:] = before[bounds]
            if call(record):
                return _with_lines(library, record)
            if order == ORDERS[0]:
                first = {b: m.copy() for b, m in memory.items()}
            for bounds, view in memory.items():
                changed = np.flatnonzero(view != first[bounds])
                view[:] = first[bounds]
                if changed.size:
                    parameter, array = views[bounds]
                    where = f"{changed.size} bytes of {parameter.name} ({array.dtype}{list(array.shape)}), the first at {changed[0]}"
                    return f"ordercheck: kernel {record.kernel.decode()}: {where}, depend on the order in which threads and blocks run"
    return None


def _checks(library, loaded, kernel, arrays) -> Checks:
    base = symbols.base_address(library, loaded, f"emulator_launch_{kernel}")
    regions, ends = [], [base]
    for symbol in symbols.variables(library):
        ends.append(base + symbol.offset + symbol.size)
        if symbol.kind == symbols.SHARED and symbol.owner != kernel and hasattr(loaded, f"emulator_launch_{symbol.owner}"):
            continue  # another kernel's array: on a GPU it would not be there
        regions.append(Region(base + symbol.offset, symbol.size, symbol.name.encode(), symbol.kind, 1, 0))
    seen = set()
    for parameter, array in arrays:
        low, high = _bounds(array)
        if (low, high) in seen or not array.size:
            continue
        seen.add((low, high))
        regions.append(Region(low, high - low, parameter.name.encode(), symbols.GLOBAL, min(4, array.itemsize & -array.itemsize), 1))
    table = (Region * len(regions))(*regions)
    checks = Checks(ctypes.cast(table, ctypes.POINTER(Region)), len(regions), base, max(ends))
    checks.keep = table
    return checks


def _bounds(array: np.ndarray) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(array)


def _bytes(low: int, high: int) -> np.ndarray:
    """The memory itself, writable."""
    return np.ctypeslib.as_array((ctypes.c_ubyte * (high - low)).from_address(low))


def _with_lines(library, record) -> str:
    """The message of a failed launch, kind first, with source lines where the runtime wrote {0} and {1}."""
    text = record.message.decode(errors="replace")
    for i in range(2):
        if f"{{{i}}}" in text:
            place = record.places[i]
            text = text.replace(f"{{{i}}}", f"({symbols.source_line(library, place) if place else 'by an asynchronous unit'})")
    return text
