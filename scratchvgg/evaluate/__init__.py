"""Floor 7: what a net says about images, and how often it is right."""

from .accuracy import Report, accuracy, evaluate
from .dense import DenseVGG
from .intervals import wilson
from .paper import paper_row, test_scales, torchvision_row
from .predict import PROTOCOLS, predict, predict_logits
from .protocols import PHOTO_PROTOCOLS, cost, fuse, posteriors

__all__ = [
    "PHOTO_PROTOCOLS", "PROTOCOLS", "DenseVGG", "Report", "accuracy", "cost", "evaluate", "fuse", "paper_row", "posteriors", "predict",
    "predict_logits", "test_scales", "torchvision_row", "wilson",
]
