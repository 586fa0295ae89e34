"""The machine a time was measured on. A time without it says nothing."""

from __future__ import annotations

import os
import platform
import time

import numpy as np

from ..array import get_num_threads
from ..array.machine import blas, processor


def gemm_rate(size: int = 1024, repeats: int = 5) -> float:
    """GFLOP/s of float32 matrix products of ``size`` on the threads in use: the best of ``repeats``, after one to warm up (about 0.1 s)."""
    a = np.full((size, size), 0.5, np.float32)
    out = np.empty_like(a)
    best = np.inf
    for _ in range(repeats + 1):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def describe() -> dict:
    """Processor, cores, threads, BLAS, versions and the measured GEMM rate, as plain values."""
    return {
        "processor": processor(), "cores": os.cpu_count(), "threads": get_num_threads(), "system": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__, "blas": blas(), "gemm_gflops": round(gemm_rate(), 1),
    }
