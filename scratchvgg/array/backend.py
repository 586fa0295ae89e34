"""The one door between array code and a device.

A :class:`Backend` knows a device's array module (``xp``), is the only place that allocates, launches kernels and holds
the stream. Operations receive it and never name NumPy themselves, so the same lines run where arrays live on a GPU.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from .device import Device
from .dtypes import as_dtype

_FACTORIES: dict[str, Callable[[Device], Backend]] = {}
_BACKENDS: dict[Device, Backend] = {}
_AVAILABLE: dict[str, Callable[[], bool]] = {}
_WAITING: list[Callable[[], object]] = []  # for the first backend that runs kernels
_VIEWS = 256  # of one scratch buffer that are remembered


class Backend(ABC):
    """What array code may ask of a device. Subclasses fill ``xp`` and the methods below."""

    xp = None
    stream = None
    runs_kernels = False  # whether launch() works

    def __init__(self, device: Device):
        self.device = device

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype, layout: str = "contiguous"):
        """An uninitialised array of ``shape``; ``layout="channels_last"`` lays (N, C, H, W) out in memory as N, H, W, C."""

    def zeros(self, shape: Sequence[int], dtype, layout: str = "contiguous"):
        """As :meth:`empty`, filled with zeros."""
        out = self.empty(shape, dtype, layout)
        out[...] = 0
        return out

    @abstractmethod
    def workspace(self, tag: str, shape: Sequence[int], dtype):
        """Scratch memory of the calling thread, reused by the next call with the same ``tag``; its content is undefined."""

    @abstractmethod
    def asarray(self, value, dtype=None):
        """``value`` as this device's array, copied only if it must be."""

    @abstractmethod
    def to_numpy(self, array) -> np.ndarray:
        """The array on the host (the same memory on the CPU)."""

    def launch(self, kernel: str, grid, block, args, shared_mem: int = 0) -> None:
        """Launch a CUDA kernel by its registry name."""
        raise RuntimeError(f"device {self.device} runs no CUDA kernels ({kernel!r} was asked for)")

    def quiet(self):
        """A context in which arithmetic makes NaN and Inf without a warning, as in torch (anomaly mode finds them)."""
        return np.errstate(all="ignore")

    @abstractmethod
    def address(self, array) -> int:
        """Where the array's first element lies in the device's memory."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything queued on the device is done."""


class NumpyBackend(Backend):
    """The CPU: NumPy and its BLAS."""

    xp = np

    def __init__(self, device: Device):
        super().__init__(device)
        self._scratch, self._views = threading.local(), threading.local()

    def empty(self, shape, dtype, layout="contiguous"):
        dtype = as_dtype(dtype).numpy
        if layout == "channels_last":
            n, c, h, w = shape
            return np.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)
        return np.empty(shape, dtype)

    def zeros(self, shape, dtype, layout="contiguous"):
        dtype = as_dtype(dtype).numpy
        if layout == "channels_last":
            n, c, h, w = shape
            return np.zeros((n, h, w, c), dtype).transpose(0, 3, 1, 2)
        return np.zeros(shape, dtype)

    def workspace(self, tag, shape, dtype):
        key, views = (tuple(shape), dtype), self._views.__dict__.setdefault(tag, {})
        if key in views:  # asked for thousands of times a second, by tiles
            return views[key]
        dtype, held = as_dtype(dtype).numpy, self._scratch.__dict__
        size = math.prod(shape) * dtype.itemsize
        buffer = held.get(tag)
        if buffer is None or buffer.nbytes < size or len(views) >= _VIEWS:
            views.clear()
        if buffer is None or buffer.nbytes < size:
            buffer = held[tag] = np.empty(size, np.uint8)
        views[key] = view = buffer[:size].view(dtype).reshape(shape)
        return view

    def asarray(self, value, dtype=None):
        return np.asarray(value, None if dtype is None else as_dtype(dtype).numpy)

    def to_numpy(self, array):
        return np.asarray(array)

    def address(self, array):
        return array.__array_interface__["data"][0]

    def synchronize(self):
        """Nothing is queued on the CPU."""


def register_backend(device_type: str, factory: Callable[[Device], Backend], available: Callable[[], bool] = lambda: True) -> None:
    """Make ``get_backend`` answer for ``device_type`` by calling ``factory(device)`` once per device.

    Args:
        available: whether this machine has such a device; asked only when somebody wants the list.
    """
    _FACTORIES[device_type], _AVAILABLE[device_type] = factory, available


def available_devices() -> list[str]:
    """The device types that this machine can compute on, sorted."""
    return sorted(name for name in _FACTORIES if _AVAILABLE[name]())


def get_backend(device: Device) -> Backend:
    """The backend of ``device`` (one object per device).

    Raises:
        RuntimeError: if this installation cannot run the device; the message says what is missing.
    """
    known = _BACKENDS.get(device)
    if known is not None:
        return known
    factory = _FACTORIES.get(device.type)
    if factory is None:
        raise RuntimeError(
            f"device {str(device)!r} is not available: this version of scratchvgg computes on {', '.join(available_devices())} only"
        )
    backend = _BACKENDS.setdefault(device, factory(device))
    if backend.runs_kernels:
        while _WAITING:
            _WAITING.pop()()
    return backend


def forget_backends(device_type: str) -> None:
    """Let ``get_backend`` make the backends of ``device_type`` anew, after another factory was registered. Tensors keep the old ones."""
    for device in [d for d in _BACKENDS if d.type == device_type]:
        del _BACKENDS[device]


def when_kernels(load: Callable[[], object]) -> None:
    """Call ``load()`` when the first backend that runs kernels is made: what only those need is not imported before."""
    _WAITING.append(load)


register_backend("cpu", NumpyBackend)
