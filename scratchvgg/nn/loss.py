"""Losses: modules around the functions of the same name."""

from __future__ import annotations

from ..ops.reduction import old_flags
from . import functional as F
from .module import Module


class _Loss(Module):
    """``size_average`` and ``reduce`` are torch's old flags: False for ``"sum"`` and for ``"none"``."""

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean"):
        super().__init__()
        self.reduction = old_flags(size_average, reduce, reduction)


class _WeightedLoss(_Loss):
    def __init__(self, weight=None, size_average=None, ignore_index: int = -100, reduce=None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)
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

    def __init__(self, weight=None, size_average=None, ignore_index: int = -100, reduce=None, reduction: str = "mean",
                 label_smoothing: float = 0.0):
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
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
