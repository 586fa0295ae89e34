"""Adaptive average pooling by CUDA kernels."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import adaptive_pool as face
from ...cuda.faces.planes import channels_last
from ...cuda.launch_size import SUFFIX
from ..adaptive_avg_pool2d import AdaptiveAvgPool2d
from ..windows import batched


@kernel_twin(AdaptiveAvgPool2d)
class DeviceAdaptiveAvgPool2d(Op):
    """Keeps only shapes."""

    name = "adaptive_avg_pool2d"

    @staticmethod
    def takes(ctx, x, size):
        """Floating arrays and at least one output."""
        return x.dtype.name in SUFFIX and min(size) > 0

    @staticmethod
    def forward(ctx, x, size):
        ctx.shape = x.shape
        y = face.adaptive_avg_pool(ctx.backend, channels_last(ctx.backend, batched(x)), size)
        return y[0] if x.ndim == 3 else y

    @staticmethod
    def backward(ctx, g):
        gx = face.adaptive_avg_pool_backward(ctx.backend, channels_last(ctx.backend, batched(g)), ctx.shape[-2:])
        return gx[0] if len(ctx.shape) == 3 else gx, None
