"""What this machine can do at best: the two rates that every layer's time is held against."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..array import get_num_threads


@dataclass(frozen=True)
class Peaks:
    """Measured rates.

    Attributes:
        gemm: GFLOP/s of the fastest square matrix product on all threads.
        copy: GB/s, read plus written, of copying a block much larger than the caches.
        dtype: of the product. threads: used.
    """

    gemm: float
    copy: float
    dtype: str
    threads: int

    @property
    def ridge(self) -> float:
        """FLOP a byte above which the product's rate is the limit, and not the copy's (the roofline's ridge)."""
        return self.gemm / self.copy


def machine_peaks(dtype: str = "float32") -> Peaks:
    """The peaks of this machine's CPU, measured once a process (about a second): see :mod:`scratchvgg.bench.machine`."""
    return _measured(str(dtype), get_num_threads())


@functools.cache
def _measured(dtype, threads):
    from ..bench import machine

    return Peaks(machine.gemm_peak(dtype), machine.copy_rate(), dtype, threads)
