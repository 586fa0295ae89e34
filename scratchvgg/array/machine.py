"""What this process computes on: the processor and the BLAS."""

from __future__ import annotations

import functools
import platform


@functools.cache
def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas(threads: bool = True) -> list[str]:
    """The BLAS libraries loaded, each as "name version, architecture", with their number of threads if asked for."""
    from threadpoolctl import threadpool_info

    def line(info):
        name = f"{info['internal_api']} {info.get('version') or '?'}, {info.get('architecture') or '?'}"
        return f"{name}, {info['num_threads']} threads" if threads else name

    return [line(i) for i in threadpool_info() if i["user_api"] == "blas"]
