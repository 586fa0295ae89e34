"""Cross-entropy by CUDA kernels: one makes the losses and their gradient, one adds up, one scales the gradient in backward."""

from __future__ import annotations

import numpy as np

from ...autograd import Op, kernel_twin
from ...cuda.faces import softmax_cross_entropy as face
from ...cuda.launch_size import SUFFIX
from ..cross_entropy import CrossEntropyClasses
from ..nll_loss import ClassTargets


@kernel_twin(CrossEntropyClasses)
class DeviceCrossEntropy(Op):
    """Keeps the gradient of each row's loss, float32 or float64, and the targets.

    A GPU is not asked whether the targets are classes, because the answer would have to be waited for: where one is not, loss and gradient
    are NaN. On the emulator it is an IndexError, as on the CPU.
    """

    name = "cross_entropy"

    @staticmethod
    def takes(ctx, z, target, weight=None, **options):
        """Floating logits (N, C) that are not empty, int64 targets."""
        return z.ndim == 2 and z.size > 0 and z.dtype.name in SUFFIX and target.dtype == np.int64

    @staticmethod
    def forward(ctx, z, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0):
        backend, xp = ctx.backend, ctx.xp
        if backend.device.type != "cuda":
            ClassTargets("cross_entropy", xp, target, z.shape[1], weight, ignore_index, z.dtype)
        ctx.target, ctx.ignore_index, ctx.divisor = xp.ascontiguousarray(target), ignore_index, None
        weight = None if weight is None else xp.ascontiguousarray(weight)
        options = {"ignore_index": ignore_index, "smoothing": smoothing, "gradient": ctx.needs_input_grad[0]}
        losses, counted, slope = face.cross_entropy(backend, xp.ascontiguousarray(z), ctx.target, weight, **options)
        ctx.save(slope=slope)
        if reduction == "none":
            return losses.astype(z.dtype, copy=False)
        total, divisor = face.reduce_losses(backend, losses, counted, z.dtype, reduction == "mean")
        ctx.divisor = divisor if reduction == "mean" else None
        return total

    @staticmethod
    def backward(ctx, g):
        (slope,) = ctx.saved
        gz = face.scale_slope(ctx.backend, slope, ctx.xp.ascontiguousarray(g).reshape(g.shape), ctx.divisor, ctx.target, ctx.ignore_index)
        return gz, *(None,) * (len(ctx.needs_input_grad) - 1)
