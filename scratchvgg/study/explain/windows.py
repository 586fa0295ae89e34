"""Where a window lies: the pixels under it, and the windows over a pixel. Convolutions and pools share it.

Along one axis the window of output p reads the inputs p·stride − padding + r·dilation, r = 0 … taps − 1.
"""

from __future__ import annotations

import numpy as np


def under(output: int, taps: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """(taps,): the inputs along one axis that the window of an output reads; negative ones and those behind the end are padding."""
    return output * stride - padding + np.arange(taps) * dilation


def over(place: int, outputs: int, taps: int, stride: int, padding: int, dilation: int) -> list[tuple[int, int]]:
    """All (output, tap) along one axis that read the input at ``place``."""
    found = []
    for tap in range(taps):
        output, rest = divmod(place + padding - tap * dilation, stride)
        if rest == 0 and 0 <= output < outputs:
            found.append((output, tap))
    return found


def patch_of(maps: np.ndarray, rows: np.ndarray, columns: np.ndarray, outside=0) -> np.ndarray:
    """(C, R, S): the pixels of (C, H, W) at rows × columns, ``outside`` in the padding."""
    inside = lies_inside(maps.shape[1:], rows, columns)
    taken = maps[:, np.clip(rows, 0, maps.shape[1] - 1)[:, None], np.clip(columns, 0, maps.shape[2] - 1)]
    return np.where(inside, taken, np.asarray(outside, maps.dtype))


def lies_inside(size: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(R, S): where rows × columns lie in an image of that size."""
    return ((rows >= 0) & (rows < size[0]))[:, None] & ((columns >= 0) & (columns < size[1]))
