"""Mean squared and mean absolute error: d = x − t, ℓ = d² or |d|; ∂ℓ/∂x = 2d or sign d, ∂ℓ/∂t = −∂ℓ/∂x."""

from __future__ import annotations

import warnings

from ..autograd import Op, ops
from .common import check_tensor, promote, sum_to
from .precision import check_floating, widen
from .reduction import loss_reduction, reduced


class MSELoss(Op):
    """Keeps d."""

    name = "mse_loss"

    @staticmethod
    def forward(ctx, x, target, reduction="mean"):
        d = _difference(ctx, x, target, reduction)
        return reduced(ctx.xp, ctx.xp.square(d), reduction, ctx.count, x.dtype)

    @staticmethod
    def backward(ctx, g):
        (d,) = ctx.saved
        return _gradients(ctx, 2 * d * _share(ctx, g), g.dtype)


class L1Loss(Op):
    """Keeps d."""

    name = "l1_loss"

    @staticmethod
    def forward(ctx, x, target, reduction="mean"):
        d = _difference(ctx, x, target, reduction)
        return reduced(ctx.xp, ctx.xp.abs(d), reduction, ctx.count, x.dtype)

    @staticmethod
    def backward(ctx, g):
        (d,) = ctx.saved
        return _gradients(ctx, ctx.xp.sign(d) * _share(ctx, g), g.dtype)


def _difference(ctx, x, target, reduction):
    d = widen(ctx.xp, x) - widen(ctx.xp, target)
    ctx.shapes, ctx.count, ctx.reduction = (x.shape, target.shape), d.size or float("nan"), reduction
    ctx.save(d=d)
    return d


def _share(ctx, g):
    return g / ctx.count if ctx.reduction == "mean" else g


def _gradients(ctx, local, dtype):
    gx, gt = (
        sum_to(ctx.xp, value, shape).astype(dtype, copy=False) if needed else None
        for value, shape, needed in zip((local, -local), ctx.shapes, ctx.needs_input_grad, strict=True)
    )
    return gx, gt


def _prepare(name, input, target, size_average, reduce, reduction):
    for argument, value in (("input", input), ("target", target)):
        check_tensor(name, argument, value)
    reduction = loss_reduction(name, reduction, size_average, reduce)
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: target of shape {tuple(target.shape)} differs from input of shape {tuple(input.shape)}; they are broadcast",
            UserWarning,
            stacklevel=3,
        )
    input, target = promote(name, input, target)
    check_floating(name, input)
    try:
        input.backend.xp.broadcast_shapes(tuple(input.shape), tuple(target.shape))
    except ValueError:
        raise RuntimeError(f"{name}: shapes {tuple(input.shape)} and {tuple(target.shape)} cannot be broadcast together") from None
    return input, target, reduction


@ops.register
def mse_loss(input, target, size_average=None, reduce=None, reduction: str = "mean"):
    """(input − target)², elementwise with broadcasting, then reduced.

    Args:
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        RuntimeError: shapes that do not broadcast. NotImplementedError: integer tensors. ValueError: another reduction.
    """
    input, target, reduction = _prepare("mse_loss", input, target, size_average, reduce, reduction)
    return MSELoss.apply(input, target, reduction=reduction)


@ops.register
def l1_loss(input, target, size_average=None, reduce=None, reduction: str = "mean"):
    """|input − target|, elementwise with broadcasting, then reduced.

    Args:
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        RuntimeError: shapes that do not broadcast. NotImplementedError: integer tensors. ValueError: another reduction.
    """
    input, target, reduction = _prepare("l1_loss", input, target, size_average, reduce, reduction)
    return L1Loss.apply(input, target, reduction=reduction)
