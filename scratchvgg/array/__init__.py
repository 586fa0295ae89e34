"""Floor 1: devices and their array modules, element types, random numbers, threads. No Tensor here."""

from .backend import Backend, NumpyBackend, available_devices, get_backend, register_backend, when_kernels
from .device import CPU, Device
from .dtypes import as_dtype, dtype, get_default_dtype, promote_types, set_default_dtype
from .generator import Generator, default_generator, initial_seed, manual_seed
from .memory import keep_freed_memory
from .threads import get_num_threads, parallel_for, ranges, set_num_threads, whole_tiles

__all__ = [
    "CPU", "Backend", "Device", "Generator", "NumpyBackend", "as_dtype", "available_devices", "default_generator", "dtype", "get_backend",
    "get_default_dtype", "get_num_threads", "initial_seed", "keep_freed_memory", "manual_seed", "parallel_for", "promote_types", "ranges",
    "register_backend", "set_default_dtype", "set_num_threads", "when_kernels", "whole_tiles",
]
