"""Learning-rate schedules under torch's module name; each family has its file in ``schedules/``."""

from .schedules.base import LRScheduler
from .schedules.cosine import CosineAnnealingLR
from .schedules.factors import ConstantLR, ExponentialLR, LambdaLR, LinearLR, MultiStepLR, StepLR
from .schedules.one_cycle import OneCycleLR
from .schedules.piecewise import PiecewiseLinearLR
from .schedules.plateau import ReduceLROnPlateau
from .schedules.sequential import SequentialLR

__all__ = [
    "ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR",
    "PiecewiseLinearLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]
