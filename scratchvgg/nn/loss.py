"""Losses: modules around the functions of the same name."""

from __future__ import annotations

from . import functional as F
from .module import Module


class _Loss(Module):
    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = reduction


class _WeightedLoss(_Loss):
    def __init__(self, weight=None, *, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class NLLLoss(_WeightedLoss):
    """−input[target]: (N, C, ...) log-probabilities and (N, ...) class indices.

    Args:
        weight: (C,) factors of the classes.
        ignore_index: a target that does not count.
        reduction: ``"mean"`` (weighted), ``"sum"`` or ``"none"``.
    """

    def forward(self, input, target):
        """The loss."""
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class CrossEntropyLoss(_WeightedLoss):
    """NLL of the log-softmax: (N, C, ...) logits and (N, ...) class indices or (N, C, ...) probabilities.

    Args:
        weight, ignore_index, reduction: as for :class:`NLLLoss`.
        label_smoothing: share of the target that is spread evenly over all classes.
    """

    def __init__(self, weight=None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0):
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input, target):
        """The loss."""
        return F.cross_entropy(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction, label_smoothing=self.label_smoothing
        )


class MSELoss(_Loss):
    """(input − target)²; ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``."""

    def forward(self, input, target):
        """The loss."""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input − target|; ``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``."""

    def forward(self, input, target):
        """The loss."""
        return F.l1_loss(input, target, reduction=self.reduction)
