"""Floor 7: what a net says about images, and how often it is right."""

from .accuracy import Report, accuracy, evaluate
from .predict import PROTOCOLS, predict, predict_logits

__all__ = ["PROTOCOLS", "Report", "accuracy", "evaluate", "predict", "predict_logits"]
