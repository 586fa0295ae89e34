"""What the writers share: arrays out of Tensors, places for messages, and bytes of an array a buffer at a time."""

from __future__ import annotations

import numpy as np

from .source import Malformed

CHUNK = 1 << 22  # bytes handed to a file at once: saving needs this much memory beyond what is saved


def host_array(value) -> np.ndarray | None:
    """The array in CPU memory of an array, a NumPy scalar or a Tensor (detached; copied only from another device); None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return value.detach().cpu().numpy()
    return None


def shown(place: tuple) -> str:
    """The keys that lead to a value, as they would be written in Python."""
    return "".join(f"[{part!r}]" for part in place) or "the top of the tree"


def little_endian(array: np.ndarray) -> np.ndarray:
    """``array``, or a copy with its bytes swapped where they lie the other way round."""
    return array if array.dtype.kind == "V" else array.astype(array.dtype.newbyteorder("<"), copy=False)


def pieces(array: np.ndarray):
    """The elements of ``array`` in C order as memoryviews of at most ``CHUNK`` bytes; what is not contiguous is copied a piece at a time."""
    if array.flags.c_contiguous:
        data = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]
    elif array.ndim > 1 and array[0].nbytes > CHUNK:
        for row in array:
            yield from pieces(row)
    else:
        step = max(1, CHUNK // array[0].nbytes)
        for start in range(0, len(array), step):
            yield from pieces(np.ascontiguousarray(array[start : start + step]))


def unique(pairs: list) -> dict:
    """The dict of ``pairs``.

    Raises:
        Malformed: if a key occurs twice: readers differ in which of the two they take.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Malformed("its header names something twice")
    return result
