"""What the faces of elementwise kernels share: suffixes of names, and how many blocks a loop over elements wants."""

from __future__ import annotations

import numpy as np

SUFFIX = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}
THREADS = 256
MOST_BLOCKS = 132 * 16  # more threads than the largest GPU holds at once would only wait
NULL = np.uint64(0)
"""A null pointer as a kernel's argument."""


def blocks_for(items: int) -> int:
    """Blocks of :data:`THREADS` threads for a grid-stride loop over ``items``."""
    return max(1, min(-(-items // THREADS), MOST_BLOCKS))


def suffix(name: str, array) -> str:
    """The end of a kernel's name for an array's element type.

    Raises:
        TypeError: for a type that kernels do not take.
    """
    if array.dtype.name not in SUFFIX:
        raise TypeError(f"{name}: expected {', '.join(SUFFIX)}, got {array.dtype}")
    return SUFFIX[array.dtype.name]


def empty_like(backend, array):
    """A new array of the same shape, type and memory order, dense: the emulator watches it, as it cannot watch ``xp.empty_like``'s."""
    order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    return backend.empty(tuple(array.shape[i] for i in order), array.dtype).transpose([order.index(i) for i in range(array.ndim)])


def accumulator(dtype) -> np.dtype:
    """The type that sums of ``dtype`` are kept in: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def check_dense(name: str, **arrays) -> None:
    """Raise ValueError unless each array (or None) is contiguous in C order."""
    for argument, array in arrays.items():
        if array is not None and not array.flags.c_contiguous:
            raise ValueError(f"{name}: {argument} must be contiguous, got shape {array.shape} with strides {array.strides}")


def check_like(name: str, first, **others) -> None:
    """Raise ValueError unless all arrays have the shape and element type of ``first``."""
    for argument, array in others.items():
        if array.shape != first.shape or array.dtype != first.dtype:
            raise ValueError(f"{name}: {argument} must be {first.dtype} of shape {first.shape}, got {array.dtype} of shape {array.shape}")
