"""The geometry of a pool as its kernels take it: a ``ConvShape`` with as many channels out as in."""

from __future__ import annotations

import numpy as np

from ..structs import CONV_SHAPE


def pool_shape(n, c, size, out, kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1)) -> np.ndarray:
    """One element of :data:`~scratchvgg.cuda.structs.CONV_SHAPE`.

    Args:
        n, c: images and channels.
        size, out: (H, W) of the input, (P, Q) of the output.
        kernel, stride, padding, dilation: (vertical, horizontal).
    """
    return np.array([(n, c, *size, c, *kernel, *out, *stride, *padding, *dilation, c)], CONV_SHAPE)
