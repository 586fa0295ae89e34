"""Dropout by CUDA kernels, which make the mask's random numbers where they use them: forward and backward each read and write once."""

from __future__ import annotations

import math

from ...array import default_generator
from ...autograd import Op, kernel_twin
from ...cuda.faces import dropout as face
from ...cuda.launch_size import SUFFIX
from ..dropout import Dropout


@kernel_twin(Dropout)
class DeviceDropout(Op):
    """Keeps three integers, from which the mask is made anew."""

    name = "dropout"

    @staticmethod
    def takes(ctx, x, p, mask_shape, inplace=False):
        """Floating arrays, one word an element or one a channel; in place only in dense memory."""
        whole = mask_shape == x.shape or mask_shape[2:] == (1,) * (x.ndim - 2)
        return x.dtype.name in SUFFIX and whole and (not inplace or _lies(x) is not None)

    @staticmethod
    def forward(ctx, x, p, mask_shape, inplace=False):
        ctx.writes = inplace
        ctx.p, ctx.per_channel, ctx.place = p, mask_shape != x.shape, default_generator.take(math.prod(mask_shape))
        return _drop(ctx, x, x if inplace else None)

    @staticmethod
    def backward(ctx, g):
        return _drop(ctx, g, None), None, None


def _drop(ctx, x, out):
    lies = _lies(x)
    if lies is None:
        x, lies = ctx.xp.ascontiguousarray(x), "contiguous"
    if lies == "contiguous" and not ctx.per_channel:
        return face.dropout(ctx.backend, x, ctx.p, ctx.place, out=out)
    options = {"channels_last": lies == "channels_last", "per_channel": ctx.per_channel}
    return face.dropout_places(ctx.backend, x, ctx.p, ctx.place, **options, out=out)


def _lies(x):
    """How a dense array lies in memory, or None."""
    if x.flags.c_contiguous:
        return "contiguous"
    return "channels_last" if x.ndim > 2 and x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous else None
