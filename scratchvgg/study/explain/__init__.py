"""Layers by the numbers: every intermediate number of one output of a layer, forward and backward, beside the engine's own.

::

    run = trace(model, x, target, backward=True, arrays=True)
    print(explain.convolution(run, "features.0", channel=5, row=10, column=12))
    print(explain.layer(run, "features.4"))       # whatever it is
    print(explain.layer(run, "loss"))

To explain another operation, write a file with a function that is decorated with :func:`explains` and takes (trace, layer, …).
"""

from .batch_norm import BatchNorm, batch_norm
from .convolution import Convolution, convolution
from .cross_entropy import CrossEntropy, cross_entropy
from .dropout import Dropout, dropout
from .explanation import Explanation
from .linear import Linear, linear
from .max_pool import MaxPool, max_pool
from .numbers import Deviation
from .registry import LOSS, explained, explains, layer, takes
from .relu import ReLU, relu

__all__ = [
    "LOSS", "BatchNorm", "Convolution", "CrossEntropy", "Deviation", "Dropout", "Explanation", "Linear", "MaxPool", "ReLU", "batch_norm",
    "convolution", "cross_entropy", "dropout", "explained", "explains", "layer", "linear", "max_pool", "relu", "takes",
]
