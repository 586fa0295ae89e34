"""conv_transpose2d: the gradient of a convolution, used forwards.

Take the convolution that maps (N, K_out, H', W') to (N, C_in, H, W) with this very weight. Its ``grad_input`` is our forward, its
forward our gradient of the input, and its ``grad_weight`` with the two images exchanged our gradient of the weight.
"""

from __future__ import annotations

from ..autograd import Op, ops
from ..conv import Problem
from .common import check_tensor, pair
from .conv2d import channel_sums, check_operands, forward_pass, input_gradient, weight_gradient


class ConvTranspose2d(Op):
    """Keeps the input and the weight."""

    name = "conv_transpose2d"

    @staticmethod
    def forward(ctx, x, w, bias, problem, size, algorithm):
        xp = ctx.xp
        ctx.problem, ctx.algorithm = problem, algorithm
        ctx.save(input=x if ctx.needs_input_grad[1] else None, weight=w)
        y = ctx.backend.zeros((problem.N, problem.C, *size), x.dtype, "channels_last")
        input_gradient(ctx, problem, x, w, algorithm, out=y[:, :, : problem.H, : problem.W])
        if bias is not None:
            xp.add(y, bias[:, None, None], out=y)
        return y

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved
        reached = g[:, :, : ctx.problem.H, : ctx.problem.W]  # output_padding beyond the padding touches no input
        dx = forward_pass(ctx, ctx.problem, reached, w, None, ctx.algorithm) if ctx.needs_input_grad[0] else None
        dw = weight_gradient(ctx, ctx.problem, x, reached, ctx.algorithm) if ctx.needs_input_grad[1] else None
        db = channel_sums(ctx.backend, g) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None, None


@ops.register
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, algorithm: str | None = None):
    """Transposed convolution, torch's ``conv_transpose2d``.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (C, K / groups, R, S).
        bias: (K,) or None.
        stride, padding, output_padding, dilation: an int or (vertical, horizontal).
        algorithm: the name of one in ``scratchvgg.conv.algorithms()``, for all three passes; None lets the library choose each.

    Returns:
        (N, K, H', W') with H' = (H − 1)·stride − 2·padding + dilation·(R − 1) + output_padding + 1, W' alike.

    Raises:
        RuntimeError: sizes or element types that do not fit; output_padding not below stride or dilation.
        ValueError: an unknown algorithm, or one that does not support the problem.
    """
    name = "conv_transpose2d"
    for argument, value in (("input", input), ("weight", weight), *((("bias", bias),) if bias is not None else ())):
        check_tensor(name, argument, value)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"{name}: expected input of shape (N, C, H, W) or (C, H, W), got {tuple(input.shape)}")
    if weight.ndim != 4:
        raise RuntimeError(f"{name}: expected weight of shape (in, out / groups, height, width), got {tuple(weight.shape)}")
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    n, c, *pixels = batched.shape
    wc, deep, *taps = weight.shape
    if groups < 1 or wc % max(groups, 1):
        raise RuntimeError(f"{name}: {wc} input channels cannot be cut into groups={groups}")
    if wc != c:
        raise RuntimeError(f"{name}: weight of shape {tuple(weight.shape)} expects {wc} input channels, got input {tuple(batched.shape)} with {c}")
    stride, padding = pair(name, "stride", stride), pair(name, "padding", padding)
    extra, dilation = pair(name, "output_padding", output_padding), pair(name, "dilation", dilation)
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or min(extra) < 0:
        raise RuntimeError(f"{name}: stride and dilation must be positive, paddings not negative; got {stride}, {dilation}, {padding}, {extra}")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(f"{name}: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}")
    check_operands(name, input, weight, bias, deep * groups)
    plain = [(i - 1) * s - 2 * p + d * (t - 1) + 1 for i, s, p, d, t in zip(pixels, stride, padding, dilation, taps, strict=True)]
    size = tuple(o + e for o, e in zip(plain, extra, strict=True))
    if min(size) < 1:
        raise RuntimeError(f"{name}: the output would have size {size}")
    shown = [min(e, p) for e, p in zip(extra, padding, strict=True)]  # output_padding takes back what padding cut off behind
    reached = [o + e for o, e in zip(plain, shown, strict=True)]
    around = tuple((p, p - e) for p, e in zip(padding, shown, strict=True))
    problem = Problem(n, deep * groups, *reached, c, *taps, stride, around, dilation, groups)
    y = ConvTranspose2d.apply(batched, weight, bias, problem, size, algorithm)
    return y if input.ndim == 4 else y.squeeze(0)
