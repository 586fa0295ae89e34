"""The machine a time was measured on. A time without it says nothing."""

from __future__ import annotations

import os
import platform
import time

import numpy as np

from ..array import get_num_threads


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


def blas() -> list[str]:
    """The BLAS libraries loaded, each as "name version, architecture, threads"."""
    from threadpoolctl import threadpool_info

    found = [i for i in threadpool_info() if i["user_api"] == "blas"]
    return [f"{i['internal_api']} {i.get('version') or '?'}, {i.get('architecture') or '?'}, {i['num_threads']} threads" for i in found]


def describe() -> dict:
    """Processor, cores, threads, BLAS, versions and the measured GEMM rate, as plain values."""
    return {
        "processor": _processor(), "cores": os.cpu_count(), "threads": get_num_threads(), "system": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__, "blas": blas(), "gemm_gflops": round(gemm_rate(), 1),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
