"""ReLU by CUDA kernels."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import relu as face
from ...cuda.launch_size import SUFFIX
from ..relu import ReLU


@kernel_twin(ReLU)
class DeviceReLU(Op):
    """Keeps its output."""

    name = "relu"

    @staticmethod
    def takes(ctx, x, inplace=False):
        """Floating arrays without gaps."""
        return x.dtype.name in SUFFIX and face.dense(x)

    @staticmethod
    def forward(ctx, x, inplace=False):
        ctx.writes = inplace
        y = face.relu(ctx.backend, x, x if inplace else None)
        ctx.save(y=y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved
        if g.strides != y.strides:
            lying = ctx.xp.empty_like(y)
            lying[...] = g
            g = lying
        return face.relu_backward(ctx.backend, g, y)
