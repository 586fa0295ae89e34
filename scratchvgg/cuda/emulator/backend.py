"""The device ``emulator``: NumPy arrays, and launches that run the CUDA kernels on the CPU."""

from __future__ import annotations

import contextlib
import functools
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from ...array import NumpyBackend, as_dtype
from .. import registry
from ..sources import kernel_sources
from .launch import Kernel
from .memory import allocate, forget, is_guarded
from .module import load
from .settings import SANITIZE, switched_on

_substitutes: ContextVar[dict[str, Path]] = ContextVar("scratchvgg.emulator.substitutes")


class EmulatorBackend(NumpyBackend):
    """A CPU that runs CUDA kernels: what has no kernel is NumPy's."""

    runs_kernels = True

    def empty(self, shape, dtype, layout="contiguous"):
        """As on the CPU, but between guard zones, and NaN until it is written."""
        dtype = as_dtype(dtype).numpy
        if layout == "channels_last":
            n, c, h, w = shape
            return allocate((n, h, w, c), dtype).transpose(0, 3, 1, 2)
        return allocate(shape, dtype)

    def zeros(self, shape, dtype, layout="contiguous"):
        out = self.empty(shape, dtype, layout)
        out[...] = 0
        return out

    def workspace(self, tag, shape, dtype):
        """As on the CPU; while sanitizing, what the last user left in it is gone."""
        out = super().workspace(tag, shape, dtype)
        if switched_on(SANITIZE):
            forget(out)
        return out

    def asarray(self, value, dtype=None):
        """This device's own arrays stay; anything else is copied into guarded memory, in its memory order, as it would be to a GPU."""
        value = np.asarray(value)
        dtype = value.dtype if dtype is None else as_dtype(dtype).numpy
        if is_guarded(value) and value.dtype == dtype:
            return value
        order = np.argsort([-abs(s) for s in value.strides], kind="stable")
        out = allocate([value.shape[i] for i in order], dtype).transpose(np.argsort(order))
        out[...] = value
        return out

    def to_numpy(self, array):
        """A copy, as it would be from a GPU."""
        return np.array(array, order="K")

    def launch(self, kernel, grid, block, args, shared_mem=0):
        """Run the kernel ``kernel`` of ``kernels/`` to its end; see :class:`~scratchvgg.cuda.emulator.launch.Kernel` for the arguments."""
        find(kernel)(grid, block, args, shared_mem)


@contextlib.contextmanager
def substitute(name: str, file):
    """A context in which the entries of ``kernels/<name>.cu`` are taken from another file: an edited copy, say, to see what a change does.

    Raises:
        KeyError: if there is no kernel file of that name.
    """
    if name not in kernel_sources():
        raise KeyError(f"no kernel file {name!r}; there are {', '.join(kernel_sources())}")
    token = _substitutes.set(_substitutes.get({}) | {name: Path(file)})
    try:
        yield
    finally:
        _substitutes.reset(token)


def find(kernel: str) -> Kernel:
    """The entry ``kernel`` of the file that the registry names.

    Raises:
        KeyError: if there is none of that name.
    """
    file = _file_of(kernel)
    return load(_substitutes.get({}).get(file.stem, file)).get_function(kernel)


@functools.lru_cache(4096)
def _file_of(kernel: str) -> Path:
    return registry.get(kernel).file
