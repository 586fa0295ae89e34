"""Which GPUs there are, which one is current, and how much of its memory is used: torch's names, and torch's manners without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..array import Device, get_backend
from ..array.device import current
from . import driver, memory


def is_available() -> bool:
    """Whether ``x.to("cuda")`` can work."""
    return device_count() > 0


def device_count() -> int:
    """How many GPUs this installation can compute on."""
    return driver.probe().count


def index_of(device) -> int:
    """A GPU by its number, ``"cuda:1"`` or Device; None is the current one.

    Raises:
        ValueError: for a device that is no GPU.
    """
    if device is None:
        return current.cuda
    if isinstance(device, int):
        return device
    device = Device(device)
    if device.type != "cuda":
        raise ValueError(f"expected a cuda device, but got: {device}")
    return device.index


class on_device:
    """Context: this GPU is the current one, for CuPy and for a bare ``"cuda"``. Torch's ``torch.cuda.device``; None changes nothing.

    Raises:
        RuntimeError: on entry, if there is no such GPU.
    """

    def __init__(self, device):
        self.index = index_of(device)

    def __enter__(self):
        self._gpu, self._before = driver.require(self.index).cuda.Device(self.index), current.cuda
        self._gpu.__enter__()
        current.cuda = self.index
        return self

    def __exit__(self, *error):
        current.cuda = self._before
        self._gpu.__exit__(*error)


def current_device() -> int:
    """The number of the GPU that a bare ``"cuda"`` means in this thread."""
    driver.require(current.cuda)
    return current.cuda


def set_device(device) -> None:
    """Let a bare ``"cuda"`` mean this GPU in this thread from now on.

    Raises:
        RuntimeError: if there is no such GPU.
    """
    index = index_of(device)
    driver.require(index).cuda.Device(index).use()
    current.cuda = index


class DeviceProperties(NamedTuple):
    """Facts of a GPU. ``total_memory``, ``L2_cache_size`` and ``shared_memory_per_block_optin`` in bytes, clocks in kHz, bus width in bits."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_multi_processor: int
    regs_per_multiprocessor: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    shared_memory_per_multiprocessor: int
    warp_size: int
    L2_cache_size: int
    clock_rate: int
    memory_clock_rate: int
    memory_bus_width: int


_FROM_CUDA = {
    "major": "major", "minor": "minor", "total_memory": "totalGlobalMem", "multi_processor_count": "multiProcessorCount",
    "max_threads_per_multi_processor": "maxThreadsPerMultiProcessor", "regs_per_multiprocessor": "regsPerMultiprocessor",
    "shared_memory_per_block": "sharedMemPerBlock", "shared_memory_per_block_optin": "sharedMemPerBlockOptin",
    "shared_memory_per_multiprocessor": "sharedMemPerMultiprocessor", "warp_size": "warpSize", "L2_cache_size": "l2CacheSize",
    "clock_rate": "clockRate", "memory_clock_rate": "memoryClockRate", "memory_bus_width": "memoryBusWidth",
}


def get_device_properties(device=None) -> DeviceProperties:
    """Facts of a GPU; 0 where its CUDA version no longer tells (the clocks, since CUDA 13)."""
    index = index_of(device)
    facts = driver.require(index).cuda.runtime.getDeviceProperties(index)
    name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
    return DeviceProperties(name, **{ours: int(facts.get(theirs, 0)) for ours, theirs in _FROM_CUDA.items()})


def get_device_name(device=None) -> str:
    """The GPU's name, such as "NVIDIA H100 80GB HBM3"."""
    return get_device_properties(device).name


def get_device_capability(device=None) -> tuple[int, int]:
    """Compute capability: (9, 0) for Hopper."""
    facts = get_device_properties(device)
    return facts.major, facts.minor


def synchronize(device=None) -> None:
    """Wait until everything queued on a GPU is done."""
    get_backend(Device("cuda", index_of(device))).synchronize()


def _of_pool(device, ask: Callable):
    """``ask(allocator)`` on a device; 0 as long as no GPU was used."""
    if memory.allocator() is None:
        return 0
    with on_device(device):
        return ask(memory.allocator())


def memory_allocated(device=None) -> int:
    """Bytes that live arrays occupy."""
    return _of_pool(device, lambda allocator: allocator.pool.used_bytes())


def max_memory_allocated(device=None) -> int:
    """The largest :func:`memory_allocated` since the last :func:`reset_peak_memory_stats`."""
    return _of_pool(device, lambda allocator: allocator.peak())


def memory_reserved(device=None) -> int:
    """Bytes that the pool holds, free ones among them."""
    return _of_pool(device, lambda allocator: allocator.pool.total_bytes())


def reset_peak_memory_stats(device=None) -> None:
    """Start :func:`max_memory_allocated` again at what is in use now."""
    _of_pool(device, lambda allocator: allocator.reset())


def empty_cache() -> None:
    """Give the pool's free memory back to the driver."""
    _of_pool(None, lambda allocator: allocator.pool.free_all_blocks())


def mem_get_info(device=None) -> tuple[int, int]:
    """(free, total) bytes of the whole GPU, as its driver sees them."""
    with on_device(device) as here:
        return driver.require(here.index).cuda.runtime.memGetInfo()


def manual_seed(seed: int) -> None:
    """Accepted for torch's sake, and without effect: ``scratchvgg.manual_seed`` seeds every device, with the same numbers on each."""


manual_seed_all = manual_seed
