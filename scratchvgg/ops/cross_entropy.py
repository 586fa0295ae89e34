"""Cross-entropy of logits z against classes or class probabilities, in one operation.

With ℓ = log softmax(z), C classes, weights w and smoothing ε:

    class t:           L = −(1 − ε) w_t ℓ_t − (ε / C) Σ_c w_c ℓ_c          mean: divided by Σ w_t over targets not ignored
    probabilities q:   L = −Σ_c w_c ((1 − ε) q_c + ε / C) ℓ_c              mean: divided by the number of distributions

Both are −Σ_c T_c ℓ_c, so ∂L/∂z = softmax(z) Σ_c T_c − T, and ∂L/∂q_c = −(1 − ε) w_c ℓ_c.
"""

from __future__ import annotations

import math

from ..autograd import Op, ops
from .common import check_tensor, is_number
from .nll_loss import ClassTargets, check_classes, check_scores, check_weight, classes_last
from .precision import widen
from .reduction import loss_reduction, reduced
from .softmax import log_softmax_array


class CrossEntropyClasses(Op):
    """Keeps ℓ, the targets and the weights."""

    name = "cross_entropy"

    @staticmethod
    def forward(ctx, z, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0):
        xp, ctx.dtype, ctx.reduction, ctx.smoothing = ctx.xp, z.dtype, reduction, smoothing
        logs = log_softmax_array(xp, widen(xp, classes_last(xp, z)), -1)
        classes = logs.shape[-1]
        ctx.targets = t = ClassTargets("cross_entropy", xp, target, classes, weight, ignore_index, logs.dtype)
        losses = -(1 - smoothing) * t.weight * xp.take_along_axis(logs, t.index, -1)[..., 0]
        ctx.weight = xp.ones(classes, logs.dtype) if weight is None else weight.astype(logs.dtype)
        if smoothing:
            losses -= smoothing / classes * (logs * ctx.weight).sum(-1)
        losses = xp.where(t.valid, losses, 0)
        ctx.divisor = t.weight.sum()
        ctx.save(logs=logs)
        return reduced(xp, losses, reduction, ctx.divisor, z.dtype)

    @staticmethod
    def backward(ctx, g):
        xp, t, smoothing = ctx.xp, ctx.targets, ctx.smoothing
        (logs,) = ctx.saved
        even = smoothing / logs.shape[-1]
        picked = (1 - smoothing) * t.weight
        gz = xp.exp(logs)
        gz *= (picked + even * ctx.weight.sum())[..., None]
        if smoothing:
            gz -= even * ctx.weight
        here = xp.take_along_axis(gz, t.index, -1) - picked[..., None]
        xp.put_along_axis(gz, t.index, here, -1)
        gz = _weighted(xp, g, gz, ctx, t.valid)
        return gz, *(None,) * (len(ctx.needs_input_grad) - 1)


class CrossEntropyProbabilities(Op):
    """Keeps ℓ, q and the weights."""

    name = "cross_entropy"

    @staticmethod
    def forward(ctx, z, q, weight=None, reduction="mean", smoothing=0.0):
        xp, ctx.dtype, ctx.reduction, ctx.smoothing = ctx.xp, z.dtype, reduction, smoothing
        logs = log_softmax_array(xp, widen(xp, classes_last(xp, z)), -1)
        ctx.weight = None if weight is None else weight.astype(logs.dtype)
        ctx.save(logs=logs, q=q)
        losses = -(logs * _expected(xp, ctx, q)).sum(-1)
        ctx.divisor = math.prod(losses.shape) or math.nan
        return reduced(xp, losses, reduction, ctx.divisor, z.dtype)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        logs, q = ctx.saved
        gz = gq = None
        if ctx.needs_input_grad[0]:
            expected = _expected(xp, ctx, q)
            gz = _weighted(xp, g, xp.exp(logs) * expected.sum(-1, keepdims=True) - expected, ctx)
        if ctx.needs_input_grad[1]:
            gq = logs * (ctx.smoothing - 1)
            gq = _weighted(xp, g, gq if ctx.weight is None else gq * ctx.weight, ctx)
        return gz, gq, *(None,) * (len(ctx.needs_input_grad) - 2)


def _expected(xp, ctx, q):
    """T = w ((1 − ε) q + ε / C), classes last."""
    q = widen(xp, classes_last(xp, q))
    if ctx.smoothing:
        q = q * (1 - ctx.smoothing) + ctx.smoothing / q.shape[-1]
    return q if ctx.weight is None else q * ctx.weight


def _weighted(xp, g, local, ctx, valid=None):
    """The local gradient times g (zero where a target is ignored), with the classes back in their place."""
    share = g / ctx.divisor if ctx.reduction == "mean" else g
    if valid is not None:
        share = xp.where(valid, share, 0)
    local = local * share[..., None]
    return (local if local.ndim == 1 else xp.moveaxis(local, -1, 1)).astype(ctx.dtype, copy=False)


@ops.register
def cross_entropy(
    input, target, weight=None, size_average=None, ignore_index: int = -100, reduce=None, reduction: str = "mean", label_smoothing=0.0
):
    """Cross-entropy between logits and targets.

    Args:
        input: logits of shape (C,), (N, C) or (N, C, d1, …).
        target: class numbers (int64) of the shape without C, or probabilities (floating) of the shape of ``input``.
        weight: (C,) or None.
        ignore_index: targets of this class number count nothing (class numbers only).
        reduction: ``"none"``, ``"sum"`` or ``"mean"``.
        label_smoothing: ε in [0, 1]: mix that much of the uniform distribution into the target.

    Returns:
        A scalar, or the shape without C with ``"none"``.

    Raises:
        IndexError: a target outside the classes. ValueError: batch sizes differ. RuntimeError: other shapes or element types,
            ε outside [0, 1], ``ignore_index`` with probabilities.
    """
    reduction = loss_reduction("cross_entropy", reduction, size_average, reduce)
    check_tensor("cross_entropy", "input", input)
    check_tensor("cross_entropy", "target", target)
    if not is_number(label_smoothing) or not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"cross_entropy: label_smoothing must be between 0 and 1, got {label_smoothing!r}")
    options = {"reduction": reduction, "smoothing": float(label_smoothing)}
    extra = () if weight is None else (weight,)
    if input.shape != target.shape or not target.dtype.is_floating_point:
        check_classes("cross_entropy", input, target, weight)
        return CrossEntropyClasses.apply(input, target, *extra, ignore_index=ignore_index, **options)
    check_scores("cross_entropy", input)
    if ignore_index >= 0:
        raise RuntimeError(f"cross_entropy: ignore_index has no meaning for class probabilities, got {ignore_index}")
    check_weight("cross_entropy", weight, input)
    return CrossEntropyProbabilities.apply(input, target, *extra, **options)
