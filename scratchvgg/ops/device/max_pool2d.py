"""Max pooling by CUDA kernels."""

from __future__ import annotations

import math

from ...autograd import Op, kernel_twin
from ...cuda.faces import max_pool as face
from ...cuda.faces.planes import channels_last
from ...cuda.launch_size import SUFFIX
from ..max_pool2d import MaxPool2d, indices_in_plane
from ..windows import batched


@kernel_twin(MaxPool2d)
class DeviceMaxPool2d(Op):
    """Keeps the winning offset k = r · S + s of every window (uint8)."""

    name = "max_pool2d"

    @staticmethod
    def takes(ctx, x, windows, return_indices=False):
        """Floating arrays and windows of at most 256."""
        return x.dtype.name in SUFFIX and math.prod(windows.kernel) <= 256

    @staticmethod
    def forward(ctx, x, windows, return_indices=False):
        ctx.windows, ctx.unbatched = windows, x.ndim == 3
        x = channels_last(ctx.backend, batched(x))
        wanted = return_indices or ctx.needs_input_grad[0]
        y, winner = face.max_pool(ctx.backend, x, *windows[1:], winners=wanted)
        ctx.save(winner=winner)
        cut = 0 if ctx.unbatched else slice(None)
        return (y[cut], indices_in_plane(ctx.xp, windows, winner)[cut]) if return_indices else y[cut]

    @staticmethod
    def backward(ctx, g, *_):
        (winner,) = ctx.saved
        size, kernel, stride, padding, dilation, _ = ctx.windows
        g = channels_last(ctx.backend, batched(g))
        gx = face.max_pool_backward(ctx.backend, g, winner, size, kernel, stride, padding, dilation)
        return gx[0] if ctx.unbatched else gx, None
