"""The device ``emulator``: NumPy arrays, and launches that run the CUDA kernels on the CPU."""

from __future__ import annotations

import functools

from ...array import NumpyBackend
from ..sources import kernel_folder, kernel_sources
from .launch import Kernel
from .module import load


class EmulatorBackend(NumpyBackend):
    """A CPU that runs CUDA kernels: what has no kernel is NumPy's."""

    runs_kernels = True

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
