"""Floor 6: optimisers, learning-rate schedules and averages of the weights."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .ema import EMA, Lookahead
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["EMA", "SGD", "Adam", "AdamW", "Lookahead", "Optimizer", "lr_scheduler"]
