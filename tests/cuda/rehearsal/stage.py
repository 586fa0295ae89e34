"""Puts the pretended CuPy in the place of the real one: the library's own ``CupyBackend`` runs on it, its kernels on the emulator."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from scratchvgg.array import backend as registry
from scratchvgg.array.device import current
from scratchvgg.cuda import cupy_backend, driver, memory
from scratchvgg.cuda.emulator.backend import find

from .arrays import DeviceArray, Refused, state, waits
from .module import Cupy


class RehearsalBackend(cupy_backend.CupyBackend):
    """The GPU's backend, except that a kernel is run by the emulator."""

    def _load(self, kernel):
        entry = find(kernel)

        def run(grid, block, args, shared_mem=0):
            for place, value in enumerate(args):
                if isinstance(value, DeviceArray) and value.device.id != state.device:
                    raise Refused(f"kernel {kernel}: argument {place} is on device {value.device.id}, the current device is {state.device}")
            entry(grid, block, tuple(a.held if isinstance(a, DeviceArray) else a for a in args), shared_mem)

        return _Function(run)


class _Function:
    max_dynamic_shared_size_bytes = 0

    def __init__(self, run):
        self._run = run

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > max(48 << 10, self.max_dynamic_shared_size_bytes):
            raise Refused(f"{shared_mem} bytes of shared memory were not asked for")
        self._run(grid, block, args, shared_mem)


@contextmanager
def rehearsal(gpus: int = 1):
    """Within, ``cuda:0`` … are there; yields the module that plays CuPy."""
    cupy = Cupy(gpus)
    factory, available = registry._FACTORIES["cuda"], registry._AVAILABLE["cuda"]
    probe, allocator = driver.probe, memory._allocator
    driver.probe, memory._allocator = lambda: driver.Probe(cupy, gpus, ""), None
    registry.register_backend("cuda", RehearsalBackend, lambda: True)
    registry.forget_backends("cuda")
    waits.clear()
    try:
        with np.errstate(all="ignore"):
            yield cupy
    finally:
        driver.probe, memory._allocator = probe, allocator
        registry.register_backend("cuda", factory, available)
        registry.forget_backends("cuda")
        state.device, state.forbidden, state.recording, current.cuda = 0, None, False, 0
