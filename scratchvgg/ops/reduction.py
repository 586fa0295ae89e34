"""``reduction="none" | "mean" | "sum"`` of the losses."""

from __future__ import annotations

REDUCTIONS = ("none", "mean", "sum")


def old_flags(size_average, reduce, reduction: str) -> str:
    """The word for torch's old flags ``size_average`` and ``reduce``; ``reduction`` where neither is given."""
    if size_average is None and reduce is None:
        return reduction
    return "none" if reduce is False else "sum" if size_average is False else "mean"


def loss_reduction(name: str, reduction: str, size_average=None, reduce=None) -> str:
    """The reduction asked for; torch's old flags ``size_average`` and ``reduce`` override it if given.

    Raises:
        ValueError: for another word.
    """
    reduction = old_flags(size_average, reduce, reduction)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    return reduction


def reduced(xp, losses, reduction, divisor, dtype):
    """``losses`` as asked: themselves, their sum, or their sum over ``divisor``; in ``dtype``."""
    if reduction == "none":
        return losses.astype(dtype, copy=False)
    total = losses.sum()
    return xp.asarray(total / divisor if reduction == "mean" else total).astype(dtype)
