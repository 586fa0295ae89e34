"""NumPy twins of the structs that kernels take by value: one element of a structured array, field for field."""

from __future__ import annotations

import numpy as np

CONV_SHAPE = np.dtype(
    [(name, np.int32) for name in ("N", "C", "H", "W", "K", "R", "S", "P", "Q")]
    + [(name, np.int32) for name in ("stride_h", "stride_w", "pad_top", "pad_left", "dilation_h", "dilation_w", "groups")]
)
"""``struct ConvShape`` of ``kernels/conv_shape.cuh``."""


def conv_shape(problem) -> np.ndarray:
    """``problem`` as the kernels read it.

    Args:
        problem: anything with the attributes of :class:`scratchvgg.conv.Problem`: N, C, H, W, K, R, S, P, Q, stride, padding, dilation, groups.
            Of the padding only top and left are told: bottom and right follow from P and Q.

    Returns:
        A (1,) array of :data:`CONV_SHAPE`.
    """
    g = problem
    (top, _), (left, _) = g.padding
    return np.array([(g.N, g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, *g.stride, top, left, *g.dilation, g.groups)], CONV_SHAPE)
