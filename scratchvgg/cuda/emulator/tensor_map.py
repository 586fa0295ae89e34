"""Tensor maps for the emulated TMA: what ``cuTensorMapEncodeTiled`` writes into a ``CUtensorMap`` for a GPU."""

from __future__ import annotations

import numpy as np

TENSOR_MAP = np.dtype([
    ("base", np.uint64), ("stride", np.int64, 5), ("size", np.uint32, 5), ("box", np.uint32, 5),
    ("rank", np.uint32), ("element_bytes", np.uint32), ("swizzle", np.uint32), ("padding", np.uint32),
])  # fmt: skip
"""``emu::TensorMap`` of ``kernels/emulator/hopper.h``."""


def tensor_map(array: np.ndarray, box, swizzle: int = 128) -> np.ndarray:
    """A kernel argument that lets ``tma_load`` copy boxes of ``array``.

    Args:
        array: at most 5 dimensions; the innermost without gaps, the others' strides multiples of 16 bytes.
        box: the sizes of a box, outermost first as in the array's shape; at most 256 each.
        swizzle: 128, for boxes whose rows have 128 bytes, or 0.

    Returns:
        A structured array of one element, passed by value. ``array`` must live as long as it is used.

    Raises:
        ValueError: for an array or box that the hardware cannot copy.
    """
    box, rank = tuple(box), array.ndim
    if not 1 <= rank <= 5 or len(box) != rank:
        raise ValueError(f"tensor_map: array must have 1 to 5 dimensions and box as many, got shape {array.shape} and box {box}")
    if any(not 1 <= b <= 256 for b in box):
        raise ValueError(f"tensor_map: box must have sizes from 1 to 256, got {box}")
    if array.strides[-1] != array.itemsize or any(s % 16 or s <= 0 for s in array.strides[:-1]) or array.ctypes.data % 16:
        raise ValueError(f"tensor_map: the innermost dimension must be dense and the others aligned to 16 bytes, got strides {array.strides}")
    if swizzle not in (0, 128) or (swizzle and box[-1] * array.itemsize != 128):
        raise ValueError(f"tensor_map: swizzle must be 0, or 128 with rows of 128 bytes, got {swizzle} with rows of {box[-1] * array.itemsize}")
    out = np.zeros(1, TENSOR_MAP)
    out["base"], out["rank"], out["element_bytes"], out["swizzle"] = array.ctypes.data, rank, array.itemsize, swizzle
    out["stride"][0, :rank], out["size"][0, :rank], out["box"][0, :rank] = array.strides[::-1], array.shape[::-1], box[::-1]
    return out
