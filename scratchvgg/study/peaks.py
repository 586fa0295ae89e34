"""What this machine can do at best: the two rates that every layer's time is held against. Of a GPU, the GPU's; of the emulator, none."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import numpy as np

from ..array import get_num_threads
from ..array.dtypes import as_dtype


@dataclass(frozen=True)
class Peaks:
    """Measured rates.

    Attributes:
        gemm: GFLOP/s of the fastest square matrix product, on all threads.
        copy: GB/s, read plus written, of copying a block much larger than the caches.
        dtype: of the product. threads: used; 0 on a GPU.
    """

    gemm: float
    copy: float
    dtype: str
    threads: int

    @property
    def ridge(self) -> float:
        """FLOP a byte above which the product's rate is the limit, and not the copy's (the roofline's ridge)."""
        return self.gemm / self.copy


def device_peaks(backend, dtype: str = "float32") -> Peaks | None:
    """The peaks of a backend's device, measured once a process (about a second): of the CPU, see :mod:`scratchvgg.bench.machine`; of a GPU, with
    its own library's product in ``dtype``. None for the emulator, whose times say nothing about a machine.
    """
    if backend.device.type == "cpu":
        return machine_peaks(dtype)
    return _of_gpu(backend, str(dtype)) if backend.device.type == "cuda" else None


def machine_peaks(dtype: str = "float32") -> Peaks:
    """The peaks of this machine's CPU, measured once a process (about a second): see :mod:`scratchvgg.bench.machine`."""
    return _measured(str(dtype), get_num_threads())


@functools.cache
def _measured(dtype, threads):
    from ..bench import machine

    return Peaks(machine.gemm_peak(dtype), machine.copy_rate(), dtype, threads)


@functools.cache
def _of_gpu(backend, dtype, side: int = 4096, block: int = 1 << 28, repeats: int = 5):
    xp, kind = backend.xp, as_dtype(dtype).numpy
    a, b = xp.full((side, side), 0.5, kind), xp.full((side, side), 0.5, kind)
    source, target = xp.ones(block, np.uint8), xp.empty(block, np.uint8)

    def fastest(call):
        times = []
        for _ in range(repeats + 1):
            backend.synchronize()
            start = time.perf_counter()
            call()
            backend.synchronize()
            times.append(time.perf_counter() - start)
        return min(times)

    gemm = 2e-9 * side**3 / fastest(lambda: xp.matmul(a, b))
    return Peaks(gemm, 2e-9 * block / fastest(lambda: xp.copyto(target, source)), dtype, 0)
