"""The machine of a measurement, with the two rates that bound every time: GEMM and copying."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from ..array import get_num_threads, parallel_for, ranges
from ..array.dtypes import as_dtype, float32, promote_types
from ..train import machine as basic

BUSY = ": THE MACHINE WAS BUSY, the times are not clean"
COPIED = 1 << 27  # bytes: several times the largest cache in use


def describe(dtype: str = "float32") -> dict:
    """Plain values: what ``train.machine.describe`` gives, and ``gemm_peak`` (GFLOP/s), ``copy_rate`` (GB/s) and ``commit``."""
    return basic.describe() | {"gemm_peak": gemm_peak(dtype), "copy_rate": copy_rate(), "commit": commit()}


def gemm_peak(dtype: str = "float32", sizes=(1024, 2048), repeats: int = 4) -> float:
    """GFLOP/s of the fastest square matrix product on all threads, in ``dtype`` (float32 for shorter types: that is what they are computed in)."""
    numpy_dtype, best = promote_types(as_dtype(dtype), float32).numpy, 0.0
    for size in sizes:
        a = np.full((size, size), 0.5, numpy_dtype)
        out = np.empty_like(a)
        best = max(best, 2 * size**3 / _fastest(lambda a=a, out=out: np.matmul(a, a, out=out), repeats) / 1e9)
    return best


def copy_rate(size: int = COPIED, repeats: int = 4) -> float:
    """GB/s, bytes read plus bytes written, of copying a block of ``size`` bytes on all threads."""
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)

    def copy(piece):
        target[piece[0] : piece[1]] = source[piece[0] : piece[1]]

    return 2 * size / _fastest(lambda: parallel_for(copy, ranges(size, -(-size // get_num_threads()))), repeats) / 1e9


def commit() -> str | None:
    """The commit of the library's repository, with ``+`` if files differ from it; None where there is none."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        def git(*words):
            return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    return None


class Others:
    """How much of the machine other processes took since this was made: a time beside their work is not clean."""

    def __init__(self):
        self._start = self._now()

    @staticmethod
    def _now():
        try:
            words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]  # user nice system idle iowait irq softirq steal, in ticks
        except OSError:
            return None
        ticks = [int(word) for word in words]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]), time.perf_counter()

    def share(self) -> float | None:
        """Of all cores, 0 to 1; None where the system does not tell (not Linux)."""
        now = self._now()
        if now is None or self._start is None:
            return None
        busy, own, elapsed = (b - a for a, b in zip(self._start, now, strict=True))
        return min(1.0, max(0.0, (busy - own) / max(elapsed * (os.cpu_count() or 1), 1e-9)))


def headline(machine: dict, dtype: str = "float32") -> str:
    """Two or three lines for the foot of a table."""
    about = f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores; NumPy {machine['numpy']}; BLAS {'; '.join(machine['blas'])}"
    lines = [about, f"measured: GEMM {machine['gemm_peak']:.0f} GFLOP/s ({dtype}, all threads), copy {machine['copy_rate']:.1f} GB/s; "
             f"commit {machine['commit'] or '?'}"]
    if machine.get("others") is not None:
        lines.append(f"other processes took {100 * machine['others']:.0f} % of the cores meanwhile" + (BUSY if machine["others"] > 0.1 else ""))
    return "\n".join(lines)


def _fastest(call, repeats):
    best = np.inf
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best
