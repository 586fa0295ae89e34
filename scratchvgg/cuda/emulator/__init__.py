"""Runs the CUDA kernels on any CPU: g++ compiles the ``.cu`` files with ``kernels/emulator/cuda.h``, every CUDA thread is a fiber.

``load("my.cu").get_function("name")(grid, block, args, shared_mem=0)`` runs any kernel file; the device ``emulator`` runs the library's own.
The guide is ``docs/emulator.md``.
"""

from .backend import EmulatorBackend, substitute
from .build import BuildError
from .launch import EmulatorError, Kernel
from .module import Module, load
from .sanitize import sanitize
from .settings import choose, order

__all__ = ["BuildError", "EmulatorBackend", "EmulatorError", "Kernel", "Module", "choose", "load", "order", "sanitize", "substitute"]
