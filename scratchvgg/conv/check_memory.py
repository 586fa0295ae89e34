"""What :mod:`scratchvgg.conv.check` knows about memory: backends that count scratch, and operands laid out in several ways."""

from __future__ import annotations

import threading

import numpy as np

from ..array import CPU, NumpyBackend


class _Counted:
    """Remembers how much scratch each thread asked for.

    Attributes:
        asked: (thread, tag) → bytes.
    """

    asked: dict[tuple, int]

    def _count(self, tag, array):
        place = threading.get_ident(), tag
        self.asked[place] = max(self.asked.get(place, 0), array.nbytes)
        return array

    def most(self) -> int:
        """Bytes of the thread that holds most."""
        totals: dict[int, int] = {}
        for (thread, _), size in self.asked.items():
            totals[thread] = totals.get(thread, 0) + size
        return max(totals.values(), default=0)


class WatchedBackend(_Counted, NumpyBackend):
    """A CPU backend that counts scratch."""

    def __init__(self):
        super().__init__(CPU)
        self.asked = {}

    def workspace(self, tag, shape, dtype):
        return self._count(tag, super().workspace(tag, shape, dtype))


class WatchedDevice(_Counted):
    """The backend of a device that runs kernels, counting scratch."""

    def __init__(self, backend):
        self._backend, self.asked = backend, {}

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def workspace(self, tag, shape, dtype):
        """As the device's own."""
        return self._count(tag, self._backend.workspace(tag, shape, dtype))


def watched(backend):
    """A fresh backend of the same device that counts scratch."""
    return WatchedDevice(backend) if backend.runs_kernels else WatchedBackend()


def _strided(put, a):
    """Every second element of a larger array, whose other elements are NaN."""
    held = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    places = tuple(slice(1, None, 2) for _ in a.shape)
    held[places] = a
    return put(held)[places]


def _channels_last(put, a):
    return put(np.ascontiguousarray(a.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2) if a.ndim == 4 else put(a.copy())


LAYOUTS = {"contiguous": lambda put, a: put(a.copy()), "channels_last": _channels_last, "strided": _strided}
"""Name → ``arrange(put, a)``: the numbers of ``a`` in memory of that order; ``put`` brings a contiguous array to the device."""


def memory(backend, a) -> bytes:
    """All of the memory that ``a`` is a view of, gaps too, where that can be read."""
    while isinstance(a.base, backend.xp.ndarray):
        a = a.base
    return np.asarray(backend.to_numpy(a)).tobytes()
