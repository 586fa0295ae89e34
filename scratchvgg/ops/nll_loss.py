"""Negative log-likelihood: ℓ = −w[t] · x[t] for a target class t; the mean divides by Σ w[t] over targets not ignored."""

from __future__ import annotations

from ..autograd import Op, is_grad_enabled, ops, unifies
from .common import check_tensor
from .precision import check_floating, widen
from .reduction import loss_reduction, reduced


class ClassTargets:
    """Class numbers beside scores whose classes are the last axis: what an index loss needs to know of them.

    Attributes:
        valid: where the target is not ``ignore_index``.
        index: targets with the ignored ones set to 0, with a last axis of 1, ready for ``take_along_axis``.
        weight: w[t] for every target (1 without weights), 0 where ignored.
    """

    def __init__(self, name, xp, target, classes, weight, ignore_index, dtype):
        self.valid = target != ignore_index
        safe = xp.where(self.valid, target, 0)
        if safe.size and (safe.min() < 0 or safe.max() >= classes):
            wrong = safe[(safe < 0) | (safe >= classes)].flat[0]
            raise IndexError(f"{name}: target {wrong} is out of bounds: there are {classes} classes (0 to {classes - 1})")
        self.index = safe.astype(xp.int64)[..., None]
        picked = xp.ones(target.shape, dtype) if weight is None else weight.astype(dtype)[safe]
        self.weight = picked * self.valid


class NLLLoss(Op):
    """Keeps the targets and their weights."""

    name = "nll_loss"

    @staticmethod
    def forward(ctx, x, target, weight=None, ignore_index=-100, reduction="mean"):
        xp, ctx.shape, ctx.reduction = ctx.xp, x.shape, reduction
        scores = classes_last(xp, x)
        dtype = widen(xp, x[:0]).dtype
        ctx.targets = t = ClassTargets("nll_loss", xp, target, scores.shape[-1], weight, ignore_index, dtype)
        picked = xp.take_along_axis(scores, t.index, -1)[..., 0]
        losses = xp.where(t.valid, -t.weight * picked, 0)
        ctx.divisor = t.weight.sum()
        return reduced(xp, losses, reduction, ctx.divisor, x.dtype)

    @staticmethod
    def backward(ctx, g):
        xp, t = ctx.xp, ctx.targets
        gx = xp.zeros_like(g, shape=ctx.shape)
        share = g / ctx.divisor if ctx.reduction == "mean" else g
        xp.put_along_axis(classes_last(xp, gx), t.index, xp.where(t.valid, -share * t.weight, 0).astype(g.dtype)[..., None], -1)
        return gx, *(None,) * (len(ctx.needs_input_grad) - 1)


def classes_last(xp, x):
    """A view of (C,) or (N, C, …) with the classes as last axis."""
    return x if x.ndim == 1 else xp.moveaxis(x, 1, -1)


def check_classes(name, input, target, weight):
    """Raise unless ``input`` is floating (C,), (N, C) or (N, C, d1, …), ``target`` the same without C, and ``weight`` None or (C,).

    Raises:
        ValueError: batch sizes differ, or no classes. NotImplementedError: integer scores. RuntimeError: other shapes or element types.
    """
    check_scores(name, input)
    check_tensor(name, "target", target)
    if target.dtype.name not in ("int64", "uint8"):
        raise RuntimeError(f"{name}: class numbers must be int64 (or uint8), got target {target.dtype}")
    shape = tuple(input.shape)
    if input.ndim > 1 and target.ndim and target.shape[0] != shape[0]:
        raise ValueError(f"{name}: expected input batch size {shape[0]} to match target batch size {target.shape[0]}")
    if tuple(target.shape) != (shape[:1] + shape[2:] if input.ndim > 1 else ()):
        raise RuntimeError(f"{name}: target of shape {tuple(target.shape)} does not fit input of shape {shape}")
    check_weight(name, weight, input)


def check_scores(name, input):
    """Raise unless ``input`` is floating (NotImplementedError) with a dimension of classes (ValueError)."""
    check_floating(name, input)
    if input.ndim == 0:
        raise ValueError(f"{name}: input must have a dimension of classes, got shape ()")


def check_weight(name, weight, input):
    """Raise RuntimeError unless ``weight`` is None or a constant: one number per class, of the input's element type."""
    if weight is None:
        return
    check_tensor(name, "weight", weight)
    classes = input.shape[0] if input.ndim == 1 else input.shape[1]
    if tuple(weight.shape) != (classes,) or (weight.dtype is not input.dtype and not unifies(name, weight, input)):
        raise RuntimeError(
            f"{name}: weight must be {input.dtype} of shape ({classes},), got {weight.dtype} of shape {tuple(weight.shape)}"
        )
    if weight.requires_grad and is_grad_enabled():
        raise RuntimeError(f"{name}: there is no gradient with respect to weight; detach() it")


@ops.register
def nll_loss(input, target, weight=None, size_average=None, ignore_index: int = -100, reduce=None, reduction: str = "mean"):
    """−weight[target] · input[target], for log-probabilities.

    Args:
        input: (C,), (N, C) or (N, C, d1, …) log-probabilities.
        target: class numbers, int64, of shape (), (N,) or (N, d1, …).
        weight: (C,) or None.
        ignore_index: targets of this value count nothing.
        reduction: ``"none"``, ``"sum"``, or ``"mean"`` (divided by the weights of the counted targets).

    Returns:
        A scalar, or the target's shape with ``"none"``.

    Raises:
        IndexError: a target outside the classes. ValueError: batch sizes differ. RuntimeError: other shapes or element types.
    """
    reduction = loss_reduction("nll_loss", reduction, size_average, reduce)
    check_classes("nll_loss", input, target, weight)
    tensors = (input, target) if weight is None else (input, target, weight)
    return NLLLoss.apply(*tensors, ignore_index=ignore_index, reduction=reduction)
