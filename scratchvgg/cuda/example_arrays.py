"""Arrays for examples of kernels: random, quickly made even where they are large, and their values for NumPy."""

from __future__ import annotations

import numpy as np

from ..array import as_dtype

_BLOCK = 1 << 20  # random numbers; larger arrays repeat them

TOLERANCE = {"float16": 5e-4, "bfloat16": 4e-3, "float32": 1e-6, "float64": 1e-14}
"""RMS error relative to the RMS of the values: rounding to 11 or 8 bits, and sums of some hundred numbers."""


def random_array(backend, rng: np.random.Generator, shape, dtype="float32", scale: float = 1.0):
    """A contiguous array of normal numbers of the backend."""
    out = backend.empty(shape, dtype)
    numbers = (scale * rng.standard_normal(min(_BLOCK, max(out.size, 1)))).astype(as_dtype(dtype).numpy)
    block, flat = backend.asarray(numbers), out.reshape(-1)
    for start in range(0, out.size, _BLOCK):
        flat[start : start + _BLOCK] = block[: out.size - start]
    return out


def exact(backend, array) -> np.ndarray:
    """The values of a backend's array in float64 on the host."""
    return backend.to_numpy(array).astype(np.float64)
