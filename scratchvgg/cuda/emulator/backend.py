"""The device ``emulator``: NumPy arrays, and launches that run the CUDA kernels on the CPU."""

from __future__ import annotations

import functools

import numpy as np

from ...array import NumpyBackend, as_dtype
from ..sources import kernel_folder, kernel_sources
from .launch import Kernel
from .memory import allocate, is_guarded
from .module import load


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


def find(kernel: str) -> Kernel:
    """The entry ``kernel`` of whichever file of the kernel folder has it.

    Raises:
        KeyError: if none has.
    """
    sources = kernel_sources()
    return load(sources[_file_of(kernel, tuple(sources))]).get_function(kernel)


@functools.cache
def _file_of(kernel: str, stems: tuple[str, ...]) -> str:
    """The file that spells the name out, or is called like its beginning (entries may be stamped out by macros), or else any that has it."""
    sources = kernel_sources()
    for stem in sorted(stems, key=lambda s: (f" {kernel}(" not in sources[s].read_text(encoding="utf-8"), not kernel.startswith(s), -len(s))):
        if kernel in load(sources[stem]).names:
            return stem
    raise KeyError(f"no kernel {kernel!r} in {kernel_folder()}")
