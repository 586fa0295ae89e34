"""Floor 6: optimisers, learning-rate schedules and averages of the weights."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .ema import EMA, Lookahead
from .grad_scaler import GradScaler
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["EMA", "SGD", "Adam", "AdamW", "GradScaler", "Lookahead", "Optimizer", "lr_scheduler"]
