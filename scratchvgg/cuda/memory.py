"""How much of a GPU's memory is in use. CuPy's pool knows the present; the peak is kept here, at the allocator."""

from __future__ import annotations

import threading

_BLOCK = 512  # the pool hands out multiples of this many bytes


class _Capture(threading.local):
    workspaces: dict | None = None
    moved: int | None = None


capture = _Capture()
"""While this thread records a CUDA graph: ``workspaces`` is that graph's own scratch memory, whose addresses must live as long as the graph, and
``moved`` the address of a 64-bit count of the random words used since, which dropout adds to its offsets."""


class CountingAllocator:
    """CuPy's memory pool with a peak for each device.

    Asking the pool how much is in use at every allocation would cost; it is asked only when the bytes allocated since the last question
    could have brought a new peak, so the peak is exact all the same.

    Args:
        pool: ``cupy.get_default_memory_pool()``, or anything with ``malloc``, ``used_bytes`` and ``total_bytes`` of the current device.
        current_device: returns the index of the current device.
    """

    def __init__(self, pool, current_device):
        self.pool, self._current = pool, current_device
        self._peak: dict[int, int] = {}
        self._unseen: dict[int, int] = {}  # bytes that may still be allocated before a new peak is possible
        self._lock = threading.Lock()

    def __call__(self, size: int):
        """Allocate ``size`` bytes (what ``cupy.cuda.set_allocator`` wants)."""
        memory, index = self.pool.malloc(size), self._current()
        with self._lock:
            left = self._unseen.get(index, 0) - -(-size // _BLOCK) * _BLOCK
            if left < 0:
                used = self.pool.used_bytes()
                self._peak[index] = max(self._peak.get(index, 0), used)
                left = self._peak[index] - used
            self._unseen[index] = left
        return memory

    def peak(self) -> int:
        """The largest number of bytes in use on the current device since the last :meth:`reset`."""
        with self._lock:
            return max(self._peak.get(self._current(), 0), self.pool.used_bytes())

    def reset(self) -> None:
        """Start the current device's peak at what is in use now."""
        with self._lock:
            self._peak[self._current()] = self.pool.used_bytes()
            self._unseen[self._current()] = 0

_allocator: CountingAllocator | None = None


def install_allocator(cupy) -> CountingAllocator:
    """Let CuPy allocate through one :class:`CountingAllocator` from now on; made once."""
    global _allocator
    if _allocator is None:
        _allocator = CountingAllocator(cupy.get_default_memory_pool(), cupy.cuda.runtime.getDevice)
        cupy.cuda.set_allocator(_allocator)
    return _allocator


def allocator() -> CountingAllocator | None:
    """The one that :func:`install_allocator` made, or None while no GPU was used."""
    return _allocator
