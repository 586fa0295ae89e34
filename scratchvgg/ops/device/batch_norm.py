"""Batch normalisation by CUDA kernels. The running statistics move on the device; the host is asked nothing."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import batch_norm as face
from ...cuda.launch_size import SUFFIX, accumulator
from ..batch_norm import BatchNorm
from .matrix import as_matrix, from_matrix


def takes_norm(x, running_mean) -> bool:
    """Floating arrays that are not empty, with running statistics in float32 (float64)."""
    return x.dtype.name in SUFFIX and x.size > 0 and (running_mean is None or running_mean.dtype == accumulator(x.dtype))


def widened(vector, dtype):
    """``vector`` (C,) in the wide type of ``dtype``, contiguous; None stays None."""
    return None if vector is None else vector.astype(accumulator(dtype), order="C", copy=False)


def line_of(ctx, matrix, weight, bias, running_mean, running_var, training, momentum, eps):
    """The :class:`~scratchvgg.cuda.faces.batch_norm.Line` of the batch (the running statistics move), or of the running statistics."""
    vectors = widened(weight, matrix.dtype), widened(bias, matrix.dtype)
    if training:
        return face.batch_statistics(ctx.backend, matrix, eps, *vectors, running_mean, running_var, momentum)
    return face.running_statistics(ctx.backend, running_mean, running_var, eps, matrix.dtype, *vectors)


def given(ctx, gx, gw, gb, weight):
    """The gradients that were asked for. That of the bias stays in the wide type: the tape gives it the bias's."""
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    gw = gw.astype(weight.dtype, copy=False) if needs_weight else None
    return gx if needs_x else None, gw, gb if needs_bias else None


@kernel_twin(BatchNorm)
class DeviceBatchNorm(Op):
    """Keeps x, the weight, and five numbers a channel."""

    name = "batch_norm"

    @staticmethod
    def takes(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5):
        """See :func:`takes_norm`."""
        return takes_norm(x, running_mean)

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5):
        matrix = as_matrix(ctx.backend, x)
        ctx.training, ctx.line = training, line_of(ctx, matrix, weight, bias, running_mean, running_var, training, momentum, eps)
        ctx.save(x=x, weight=weight)
        return from_matrix(ctx.backend, face.normalise(ctx.backend, matrix, ctx.line), x.shape)

    @staticmethod
    def backward(ctx, g):
        x, weight = ctx.saved
        matrix, slope = as_matrix(ctx.backend, x), as_matrix(ctx.backend, g)
        wanted = {"training": ctx.training, "needs_x": ctx.needs_input_grad[0]}
        gx, gw, gb = face.batch_norm_backward(ctx.backend, matrix, slope, ctx.line, widened(weight, x.dtype), **wanted)
        return given(ctx, None if gx is None else from_matrix(ctx.backend, gx, x.shape), gw, gb, weight)
