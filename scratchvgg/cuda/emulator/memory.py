"""Arrays with guard zones: what a kernel writes before or after one is found when the kernel has ended.

All of an allocation first holds :data:`UNWRITTEN`, which is NaN in every floating type: what nobody wrote shows, and so does what is read
outside. ``kernels/emulator/shadow.h`` knows the same pattern.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

UNWRITTEN = 0xFFFE
GUARD, ALIGNMENT = 1024, 256  # bytes on each side; of the first element, as cudaMalloc's

_allocations: dict[int, tuple[weakref.ref, int, int]] = {}  # id of the owner of the memory → the owner, first byte, bytes


def allocate(shape, dtype) -> np.ndarray:
    """An array of ``shape`` between two guard zones, every two bytes of it :data:`UNWRITTEN`."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    owner = np.full((2 * GUARD + ALIGNMENT + size + 1) // 2, UNWRITTEN, np.uint16)
    first = GUARD + -(owner.ctypes.data + GUARD) % ALIGNMENT
    key = id(owner)
    _allocations[key] = weakref.ref(owner, lambda _: _allocations.pop(key, None)), first, size
    return owner.view(np.uint8)[: owner.nbytes][first : first + size].view(dtype).reshape(shape)


def forget(array: np.ndarray) -> None:
    """Fill a contiguous array with :data:`UNWRITTEN`, as if it were new."""
    array.reshape(-1).view(np.uint8)[...] = np.resize(np.array([UNWRITTEN], np.uint16).view(np.uint8), array.nbytes)


def is_guarded(array: np.ndarray) -> bool:
    """Whether ``array`` lies in memory of :func:`allocate`."""
    return id(_owner(array)) in _allocations


def damage(array: np.ndarray) -> str | None:
    """What is written in the guard zones of ``array``'s memory, in words, or None. The zones are restored."""
    owner = _owner(array)
    if id(owner) not in _allocations:
        return None
    _, first, size = _allocations[id(owner)]
    memory = owner.view(np.uint8)
    before, after = memory[:first].view(np.uint16), memory[first + size + size % 2 :].view(np.uint16)
    if (before == UNWRITTEN).all() and (after == UNWRITTEN).all() and (size % 2 == 0 or memory[first + size] == UNWRITTEN >> 8):
        return None
    expected = np.full_like(owner, UNWRITTEN).view(np.uint8)
    changed = np.flatnonzero(memory != expected)
    below, above = changed[changed < first], changed[changed >= first + size]
    memory[:first], memory[first + size :] = expected[:first], expected[first + size :]
    words = []
    if below.size:
        words.append(f"{below.size} bytes before its start, the nearest at −{first - below[-1]}")
    if above.size:
        words.append(f"{above.size} bytes past its end, the nearest at +{above[0] - first - size}")
    return " and ".join(words)


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
