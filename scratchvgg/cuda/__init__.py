"""Floor 2: GPUs under torch's names (``sv.cuda``), and what finds, compiles and launches the files in ``kernels/``. Nothing is probed at import."""

from importlib import import_module

from ..array import register_backend
from .devices import (
    current_device,
    device_count,
    empty_cache,
    get_device_capability,
    get_device_name,
    get_device_properties,
    is_available,
    manual_seed,
    manual_seed_all,
    max_memory_allocated,
    mem_get_info,
    memory_allocated,
    memory_reserved,
    reset_peak_memory_stats,
    set_device,
    synchronize,
)
from .devices import on_device as device
from .graphs import CUDAGraph, graph
from .sources import kernel_folder, kernel_source, kernel_sources
from .streams import Event, Stream, current_stream, default_stream, stream

__all__ = [
    "CUDAGraph", "Event", "Stream", "current_device", "current_stream", "default_stream", "device", "device_count", "empty_cache",
    "get_device_capability", "get_device_name", "get_device_properties", "graph", "is_available", "kernel_folder", "kernel_source",
    "kernel_sources", "manual_seed", "manual_seed_all", "max_memory_allocated", "mem_get_info", "memory_allocated", "memory_reserved",
    "reset_peak_memory_stats", "set_device", "stream", "synchronize",
]


def __getattr__(name):
    if name == "amp":  # torch's older spelling; it lies floors above this one
        return import_module("scratchvgg.amp.cuda")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _gpu(device):
    from .cupy_backend import CupyBackend

    return CupyBackend(device)


def _emulator(device):
    from .emulator import EmulatorBackend

    return EmulatorBackend(device)


register_backend("cuda", _gpu, available=is_available)
register_backend("emulator", _emulator)
