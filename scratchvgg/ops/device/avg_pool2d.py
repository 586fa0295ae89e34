"""Average pooling by CUDA kernels."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import avg_pool as face
from ...cuda.faces.planes import channels_last
from ...cuda.launch_size import SUFFIX
from ..avg_pool2d import AvgPool2d
from ..windows import batched


@kernel_twin(AvgPool2d)
class DeviceAvgPool2d(Op):
    """Keeps only the geometry."""

    name = "avg_pool2d"

    @staticmethod
    def takes(ctx, x, windows, count_include_pad=True, divisor_override=None):
        """Floating arrays."""
        return x.dtype.name in SUFFIX

    @staticmethod
    def forward(ctx, x, windows, count_include_pad=True, divisor_override=None):
        ctx.windows, ctx.unbatched, ctx.count = windows, x.ndim == 3, (count_include_pad, divisor_override or 0)
        _, kernel, stride, padding, _, out = windows
        y = face.avg_pool(ctx.backend, channels_last(ctx.backend, batched(x)), kernel, stride, padding, out, *ctx.count)
        return y[0] if ctx.unbatched else y

    @staticmethod
    def backward(ctx, g):
        size, kernel, stride, padding, *_ = ctx.windows
        gx = face.avg_pool_backward(ctx.backend, channels_last(ctx.backend, batched(g)), size, kernel, stride, padding, *ctx.count)
        return gx[0] if ctx.unbatched else gx, None
