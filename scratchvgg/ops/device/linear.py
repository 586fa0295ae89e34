"""Fully connected layers by CUDA kernels, alone and with the ReLU and the dropout that follow them in VGG's classifier."""

from __future__ import annotations

import math

from ...array import default_generator
from ...autograd import Op, kernel_twin
from ...cuda.faces import dropout as dropouts
from ...cuda.launch_size import SUFFIX
from ...cuda.product import product
from ..linear import Linear


@kernel_twin(Linear)
class DeviceLinear(Op):
    """Keeps x if W needs a gradient, W if x does."""

    name = "linear"

    @staticmethod
    def takes(ctx, x, weight, bias=None):
        """Floating arrays, and a bias of one number for each output."""
        return x.dtype.name in SUFFIX and (bias is None or bias.shape == weight.shape[:1])

    @staticmethod
    def forward(ctx, x, weight, bias=None):
        return times_weight(ctx, x, weight, bias)

    @staticmethod
    def backward(ctx, g):
        return gradients(ctx, _rows(ctx.xp, g), *ctx.saved)[: len(ctx.needs_input_grad)]


class LinearReLU(Op):
    """y = dropout(relu(x Wᵀ + b)), without the dropout if p is 0: bias and ReLU while the sums are in registers, dropout in place.

    Keeps x, W and y: y > 0 says where the ReLU was open and the dropout kept, so there is no mask.
    """

    name = "linear_relu"

    @staticmethod
    def forward(ctx, x, weight, bias, p):
        y = times_weight(ctx, x, weight, bias, relu=True)
        if p:
            dropouts.dropout(ctx.backend, y, p, default_generator.take(y.size), out=y)
        ctx.p = p
        ctx.save(output=y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, weight, y = ctx.saved
        g = dropouts.relu_dropout_backward(ctx.backend, ctx.xp.ascontiguousarray(g), y, ctx.p)
        return *gradients(ctx, _rows(ctx.xp, g), x, weight), None


def times_weight(ctx, x, weight, bias, relu=False):
    """x Wᵀ + b (…, F), perhaps rectified; keeps what the gradients need."""
    needs_x, needs_weight = ctx.needs_input_grad[:2]
    ctx.shape = x.shape
    ctx.save(x=x if needs_weight else None, weight=weight if needs_x else None)
    bias = None if bias is None else ctx.xp.ascontiguousarray(bias)
    return product(ctx.backend, _rows(ctx.xp, x), weight.T, bias=bias, relu=relu).reshape(*x.shape[:-1], len(weight))


def gradients(ctx, g, x, weight):
    """(∂L/∂x, ∂L/∂W, ∂L/∂b), None for those not asked for; the sum over rows is a product with a row of ones.

    Args:
        g: (rows, F). x, weight: as kept by :func:`times_weight`.
    """
    gx = None if weight is None else product(ctx.backend, g, weight).reshape(ctx.shape)
    gw = None if x is None else product(ctx.backend, g.T, _rows(ctx.xp, x))
    needs_bias = len(ctx.needs_input_grad) > 2 and ctx.needs_input_grad[2]
    return gx, gw, product(ctx.backend, ctx.xp.ones((1, len(g)), g.dtype), g)[0] if needs_bias else None


def linear_relu(input, weight, bias=None, p: float = 0.0):
    """``dropout(relu(linear(input, weight, bias)), p)`` as one operation, on devices that run kernels; the mask is the one dropout would draw.

    Args:
        input: (…, in_features). weight: (out_features, in_features). bias: (out_features,) or None.
        p: probability of a zero; 0 draws nothing.
    """
    return LinearReLU.apply(input, weight, bias, float(p))


def _rows(xp, x):
    """x as a dense (rows, K) matrix."""
    return xp.ascontiguousarray(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
