"""How often a net is right, and what it takes for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..autograd import Tensor
from .predict import predict_logits


@dataclass
class Report:
    """The outcome of testing.

    Attributes:
        confusion: int64 (classes, classes): row the true class, column the predicted one.
        loss: mean cross-entropy (natural logarithm, no smoothing).
        top5: how many images had their class among the five likeliest.
    """

    confusion: np.ndarray
    loss: float
    top5: int

    @property
    def count(self) -> int:
        """Images tested."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Images whose likeliest class was the true one."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Fraction of images that were right, in 0..1 (0 without images)."""
        return self.correct / max(self.count, 1)

    def per_class(self) -> np.ndarray:
        """Accuracy of each true class, float64 (classes,); NaN for a class without images."""
        totals = self.confusion.sum(1)
        return np.divide(np.diag(self.confusion), totals, out=np.full(len(totals), np.nan), where=totals > 0)

    def confused(self, most: int = 5) -> list[tuple[int, int, int]]:
        """The commonest errors: (true class, predicted class, images), largest first."""
        errors = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-errors, axis=None, kind="stable")[:most]
        rows, columns = np.unravel_index(order, errors.shape)
        return [(int(r), int(c), int(errors[r, c])) for r, c in zip(rows, columns, strict=True) if errors[r, c]]


def evaluate(model, loader: Iterable, tta: str = "none") -> Report:
    """Test ``model`` on batches (images, labels).

    Args:
        loader: gives Tensors or arrays: images (N, C, H, W), normalised, and integer labels (N,).
        tta: as in :func:`~scratchvgg.evaluate.predict_logits`.

    Raises:
        ValueError: for an unknown ``tta``, a label outside the net's classes, or a loader without batches.
    """
    confusion, loss, top5 = None, 0.0, 0
    for images, labels in loader:
        logits = predict_logits(model, images, tta).cpu().numpy()
        labels, classes = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels), logits.shape[1]
        if confusion is None:
            confusion = np.zeros((classes, classes), np.int64)
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"evaluate: labels lie in {labels.min()} to {labels.max()}, the net has {classes} classes")
        own = logits[np.arange(len(labels)), labels]
        np.add.at(confusion, (labels, logits.argmax(1)), 1)
        top5 += int(((logits > own[:, None]).sum(1) < 5).sum())
        loss += float(_cross_entropy(logits, own))
    if confusion is None:
        raise ValueError("evaluate: the loader gave no batch")
    return Report(confusion, loss / max(int(confusion.sum()), 1), top5)


def _cross_entropy(logits: np.ndarray, own: np.ndarray) -> np.float64:
    """Σ over rows of log Σ exp(logits) − own, in float64."""
    top = logits.max(1)
    return (np.log(np.exp(logits - top[:, None]).sum(1, dtype=np.float64)) + top - own).sum(dtype=np.float64)


def accuracy(model, loader: Iterable, tta: str = "none") -> float:
    """The fraction (0..1) of images that ``model`` classifies rightly; arguments as :func:`evaluate`."""
    return evaluate(model, loader, tta).accuracy
