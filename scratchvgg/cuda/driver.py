"""Is there a GPU, and if not, what is missing. Nothing is imported or asked before somebody wants to know."""

from __future__ import annotations

import functools
from typing import NamedTuple


class Probe(NamedTuple):
    """What was found: CuPy's module (or None), the number of GPUs, and why there are none."""

    cupy: object | None
    count: int
    reason: str


@functools.cache
def probe() -> Probe:
    """Look for CuPy and a GPU, once a process."""
    try:
        import cupy
    except ImportError as error:
        if error.name == "cupy":
            return Probe(None, 0, "CuPy is not installed: pip install 'scratchvgg[gpu13]' (or 'scratchvgg[gpu12]' for a CUDA 12 driver)")
        return Probe(None, 0, f"CuPy is installed but cannot be imported: {error}")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return Probe(cupy, 0, f"CuPy {cupy.__version__} is installed, but it found no NVIDIA driver or GPU ({error})")
    return Probe(cupy, count, "" if count else f"CuPy {cupy.__version__} is installed, but this machine shows it no NVIDIA GPU")


def require(index: int = 0):
    """CuPy's module, if GPU ``index`` is there.

    Raises:
        RuntimeError: saying what to install, or what else is missing, and what works without a GPU.
    """
    found = probe()
    if found.count == 0:
        raise RuntimeError(f"device 'cuda:{index}' is not available: {found.reason}. The same kernels run on this processor with device=\"emulator\"")
    if index >= found.count:
        have = "one GPU, cuda:0" if found.count == 1 else f"{found.count} GPUs, cuda:0 to cuda:{found.count - 1}"
        raise RuntimeError(f"device 'cuda:{index}' is not available: this machine has {have}")
    return found.cupy
