"""Convolution, ReLU and 2×2 max-pool on a device: the convolution's own epilogue where it has one, else one pass over its output."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...conv import Epilogue, choose
from ...cuda.faces import bias_relu_pool as face
from ...cuda.faces.planes import channels_last
from ...cuda.launch_size import SUFFIX
from ..conv2d import forward_pass, input_gradient, weight_gradient
from ..conv2d_act import Conv2dReLU, fold_norm
from .batch_norm import widened


@kernel_twin(Conv2dReLU)
class DeviceConv2dReLU(Op):
    """Keeps the input, the weight, the (pooled) output and the winners: two bits each, or a byte if the convolution pools by itself."""

    name = "conv2d_relu"

    @staticmethod
    def takes(ctx, x, w, bias, problem, algorithm, version=None, pool=False, norm=None):
        """Floating arrays that are not empty."""
        return x.dtype.name in SUFFIX and x.size > 0

    @staticmethod
    def forward(ctx, x, w, bias, problem, algorithm, version=None, pool=False, norm=None):
        backend, recorded, scale = ctx.backend, any(ctx.needs_input_grad), None
        if norm is not None:
            scale, bias = fold_norm(ctx.xp, bias, *norm)
        if choose(problem, x.dtype, algorithm, kernels=True).fuses:
            epilogue = Epilogue(scale, True, pool)
            winners = backend.empty(epilogue.shape(problem), "uint8", "channels_last") if pool and recorded else None
            y = forward_pass(ctx, problem, x, w, bias, algorithm, version, Epilogue(scale, True, pool, winners))
            winners = None if winners is None else winners.transpose(0, 2, 3, 1)
        else:
            y = channels_last(backend, forward_pass(ctx, problem, x, w, bias if norm is None else None, algorithm, version))
            after, winners = (None, None) if norm is None else (widened(scale, y.dtype), widened(bias, y.dtype)), None
            if pool:
                y, winners = face.bias_relu_pool(backend, y, *after, winners=recorded)
            else:
                y = face.bias_relu(backend, y, *after, out=y)
        if recorded:
            needs_x, needs_w = ctx.needs_input_grad[:2]
            ctx.problem, ctx.algorithm, ctx.pool = problem, algorithm, pool
            ctx.save(input=x if needs_w else None, weight=w if needs_x else None, output=y, winners=winners)
        return y

    @staticmethod
    def backward(ctx, g):
        backend, problem, (x, w, y, winners) = ctx.backend, ctx.problem, ctx.saved
        g, y = channels_last(backend, g), channels_last(backend, y)
        if ctx.pool:
            dy, db = face.bias_relu_pool_backward(backend, g, y, winners, problem.y_shape)
        else:
            dy, db = face.bias_relu_backward(backend, g, y)
        needs_x, needs_w, needs_bias = ctx.needs_input_grad[:3]
        dx = input_gradient(ctx, problem, dy, w, ctx.algorithm) if needs_x else None
        dw = weight_gradient(ctx, problem, dy, x, ctx.algorithm) if needs_w else None
        return dx, dw, db if needs_bias else None, None, None
