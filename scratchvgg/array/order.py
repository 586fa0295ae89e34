"""In which order an array's dimensions lie in memory. Shapes are N, C, H, W; memory may be anything."""

from __future__ import annotations


def memory_order(array) -> list[int]:
    """The axes by falling stride: transposed so, a dense array is contiguous."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def undo(axes) -> list[int]:
    """The transposition that takes back that of ``axes``."""
    return sorted(range(len(axes)), key=axes.__getitem__)


def empty_in_order(backend, array, dtype):
    """An uninitialised array of ``backend`` with the shape and memory order of ``array``, which may lie on another device."""
    axes = memory_order(array)
    return backend.empty([array.shape[axis] for axis in axes], dtype).transpose(undo(axes))
