"""Convolution, ReLU and 2×2 max-pool as one operation: y = pool(relu(x ⋆ w + b)).

The convolution's output is rectified and pooled tile by tile while it is in cache and never written out whole. Forward keeps y, which
the next layer keeps anyway, and one byte a window: which of its four pixels won. With g = ∂L/∂y, the gradient of the convolution's output is

    dy[winner of window i] = g[i] where y[i] > 0, and 0 elsewhere                  (without the pool every pixel is a window)

in one pass over memory that adds up ∂L/∂b on the way; ∂L/∂x and ∂L/∂w follow from dy as in ``conv2d``.
"""

from __future__ import annotations

from ..array import parallel_for
from ..autograd import Op
from ..conv import Epilogue
from ..conv.epilogue import pieces
from .conv2d import conv_operands, forward_pass, input_gradient, weight_gradient
from .masked import masked
from .precision import column_sums


class Conv2dReLU(Op):
    """Keeps the input, the weight, the (pooled) output and the winners (uint8).

    ``norm`` is (running mean, running variance, weight, bias, eps) of a batch normalisation in evaluation between convolution and ReLU:
    a factor and a summand per channel. It has no backward.
    """

    name = "conv2d_relu"

    @staticmethod
    def forward(ctx, x, w, bias, problem, algorithm, version=None, pool=False, norm=None):
        recorded = any(ctx.needs_input_grad)
        shape = Epilogue(pool=pool).shape(problem)
        winners = ctx.backend.empty(shape, "uint8", "channels_last") if pool and recorded else None
        scale = None
        if norm is not None:
            scale, bias = fold_norm(ctx.xp, bias, *norm)
        y = forward_pass(ctx, problem, x, w, bias, algorithm, version, Epilogue(scale, True, pool, winners))
        if recorded:
            needs_x, needs_w = ctx.needs_input_grad[:2]
            ctx.problem, ctx.algorithm = problem, algorithm
            ctx.save(input=x if needs_w else None, weight=w if needs_x else None, output=y, winners=winners)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w, y, winners = ctx.saved
        dy, db = output_gradient(ctx.backend, ctx.problem.y_shape, g, y, winners)
        dx = input_gradient(ctx, ctx.problem, dy, w, ctx.algorithm) if ctx.needs_input_grad[0] else None
        dw = weight_gradient(ctx, ctx.problem, dy, x, ctx.algorithm) if ctx.needs_input_grad[1] else None
        return dx, dw, db if ctx.needs_input_grad[2] else None, None, None


def fold_norm(xp, bias, mean, var, weight, shift, eps):
    """(scale, bias) with relu(scale · (x ⋆ w) + bias) = relu(batch_norm(x ⋆ w + bias)), computed in float64."""
    dtype = mean.dtype
    scale = 1 / xp.sqrt(var.astype(xp.float64) + eps)
    if weight is not None:
        scale = scale * weight
    total = -scale * mean if bias is None else scale * (bias - mean.astype(xp.float64))
    return scale.astype(dtype), (total if shift is None else total + shift).astype(dtype)


def output_gradient(backend, shape, g, y, winners=None):
    """The gradient dy (N, K, P, Q) of a convolution's output, and its sum over n, p and q.

    Args:
        g, y: gradient and value after ReLU (and pool).
        winners: place of each window's maximum if there was a pool: windows are 2 × 2, rows and columns left over get 0.
    """
    xp, size = backend.xp, 1 if winners is None else 2
    n, k, p, q = shape
    dy = backend.empty(shape, g.dtype, "channels_last")
    if p % size:
        dy[:, :, -1] = 0
    if q % size:
        dy[..., -1] = 0
    work = pieces(n, p // size, q * size * k)
    sums = xp.zeros((len(work), k), xp.float64)

    def tile(item):
        number, (n0, n1, p0, p1) = item
        here = slice(n0, n1), slice(None), slice(p0, p1)
        there = dy[n0:n1, :, p0 * size : p1 * size, : q // size * size].transpose(0, 2, 3, 1)
        part, value = (a[here].transpose(0, 2, 3, 1) for a in (g, y))
        if winners is None:
            kept = there
            masked(xp, part, value > 0, kept)
        else:
            kept = backend.workspace("conv2d_act", part.shape, g.dtype)
            masked(xp, part, value > 0, kept)
            unpool(xp, kept, winners[here].transpose(0, 2, 3, 1), there)
        sums[number] = column_sums(xp, kept.reshape(-1, k))

    parallel_for(tile, enumerate(work))
    return dy, sums.sum(0).astype(g.dtype)


def unpool(xp, g, winners, out):
    """Write g (N, P, Q, K) to the winners' places of ``out`` (N, 2P, 2Q, K), 0 to the others."""
    for place in range(4):
        masked(xp, g, winners == place, out[:, place // 2 :: 2, place % 2 :: 2], gaps=True)


def conv2d_relu(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, pool: bool = False, *, algorithm: str | None = None):
    """``relu(conv2d(...))``, and then ``max_pool2d(·, 2)`` if ``pool``, as one operation that keeps less and passes over memory less often.

    Args:
        input: (N, C, H, W) or (C, H, W).
        pool: also take the maximum of every 2 × 2 pixels.
        (others): as for ``conv2d``.

    Returns:
        (N, K, P, Q), or (N, K, ⌊P / 2⌋, ⌊Q / 2⌋) with ``pool``.

    Raises:
        RuntimeError, ValueError, TypeError: as ``conv2d`` and ``max_pool2d``.
    """
    batched, problem = checked(input, weight, bias, stride, padding, dilation, groups, pool)
    y = Conv2dReLU.apply(batched, weight, bias, problem, algorithm, version=weight.version, pool=pool)
    return y if input.ndim == 4 else y.squeeze(0)


def conv2d_norm_relu(conv, norm, pool: bool = False, algorithm: str | None = None):
    """``conv2d_relu`` with a batch normalisation in evaluation after the convolution; nothing is recorded.

    Args:
        conv: (input, weight, bias, stride, padding, dilation, groups) of the convolution; input (N, C, H, W).
        norm: (running_mean, running_var, weight, bias, eps); weight and bias may be None.
    """
    input, problem = checked(*conv, pool)
    *vectors, eps = norm
    arrays = (*(None if v is None else v.array for v in vectors), eps)
    return Conv2dReLU.apply(*(input, *conv[1:3]), problem, algorithm, version=conv[1].version, pool=pool, norm=arrays)


def checked(input, weight, bias, stride, padding, dilation, groups, pool):
    """(input as a batch, problem), or the error of ``conv2d`` or ``max_pool2d``."""
    batched, problem = conv_operands("conv2d", input, weight, bias, stride, padding, dilation, groups)
    if pool and min(problem.P, problem.Q) < 2:
        raise RuntimeError(f"max_pool2d: input of {problem.P}x{problem.Q} leaves no room for one window of 2x2")
    return batched, problem
