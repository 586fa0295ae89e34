"""Batch normalisation, ReLU and 2×2 max-pool by CUDA kernels."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import batch_norm as face
from ..batch_norm_act import BatchNormReLU
from .batch_norm import given, line_of, takes_norm, widened
from .matrix import as_matrix, from_matrix


@kernel_twin(BatchNormReLU)
class DeviceBatchNormReLU(Op):
    """Keeps x, the weight, the winners (two bits each) and five numbers a channel: where the result is above 0 follows from x."""

    name = "batch_norm_relu"

    @staticmethod
    def takes(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5, pool=False):
        """See :func:`~scratchvgg.ops.device.batch_norm.takes_norm`."""
        return takes_norm(x, running_mean)

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5, pool=False):
        backend, (n, c, h, w) = ctx.backend, x.shape
        matrix = as_matrix(backend, x)
        ctx.training, ctx.pool = training, pool
        ctx.line = line_of(ctx, matrix, weight, bias, running_mean, running_var, training, momentum, eps)
        winners = None
        if pool:
            y, winners = face.normalise_pool(backend, matrix.reshape(n, h, w, c), ctx.line, winners=any(ctx.needs_input_grad))
        else:
            y = face.normalise(backend, matrix, ctx.line, relu=True)
        ctx.save(x=x, weight=weight, winners=winners)
        return from_matrix(backend, y, (n, c, h // 2, w // 2) if pool else x.shape)

    @staticmethod
    def backward(ctx, g):
        backend, (x, weight, winners) = ctx.backend, ctx.saved
        n, c, h, w = x.shape
        matrix, slope = as_matrix(backend, x), as_matrix(backend, g)
        wanted = {"training": ctx.training, "needs_x": ctx.needs_input_grad[0]}
        if ctx.pool:
            arrays = matrix.reshape(n, h, w, c), slope.reshape(n, h // 2, w // 2, c), winners
            gx, gw, gb = face.batch_norm_pool_backward(backend, *arrays, ctx.line, widened(weight, x.dtype), **wanted)
        else:
            gx, gw, gb = face.batch_norm_backward(backend, matrix, slope, ctx.line, widened(weight, x.dtype), relu=True, **wanted)
        return given(ctx, None if gx is None else from_matrix(backend, gx, x.shape), gw, gb, weight)
