"""The matrix product of devices: by our kernels, on tensor cores or without, or by the array library."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar

from .faces.gemm import checked, gemm
from .faces.gemm_tensor_core import gemm_tensor_core, takes
from .launch_size import accumulator

_library: ContextVar[bool | None] = ContextVar("gemm_library", default=None)


@contextmanager
def library_gemm(mode: bool):
    """Multiply by the array library (cuBLAS on a GPU, TF32 off; NumPy's BLAS on the emulator) in this ``with`` block, or (False) by our kernels.

    Outside, the environment decides: ``SCRATCHVGG_GEMM=library``; our kernels unless it says so.
    """
    before = _library.set(bool(mode))
    try:
        yield
    finally:
        _library.reset(before)


def uses_library() -> bool:
    """Whether :func:`product` goes to the array library now."""
    mode = _library.get()
    return os.environ.get("SCRATCHVGG_GEMM", "kernels") == "library" if mode is None else mode


def product(backend, a, b, *, bias=None, relu: bool = False, out=None):
    """relu(a b + bias): arguments, result and errors of :func:`~scratchvgg.cuda.faces.gemm.gemm`.

    16-bit products of more than a few rows run on tensor cores where the arrays lie as these want them.
    """
    if uses_library():
        return _by_library(backend, a, b, bias, relu, out)
    if takes(backend, a, b, out):
        return gemm_tensor_core(backend, a, b, bias=bias, relu=relu, out=out)
    return gemm(backend, a, b, bias=bias, relu=relu, out=out)


def _by_library(backend, a, b, bias, relu, out):
    """16-bit numbers are multiplied as float32 and rounded once."""
    out, xp, wide = checked(backend, a, b, bias, out, False), backend.xp, accumulator(a.dtype)
    result = xp.matmul(a.astype(wide, copy=False), b.astype(wide, copy=False))
    if bias is not None:
        result += bias
    if relu:
        xp.maximum(result, 0, out=result)
    out[...] = result
    return out
