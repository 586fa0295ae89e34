"""Layers by the numbers: every intermediate number of one output of a layer, forward and backward, beside the engine's own.

::

    run = trace(model, x, target, backward=True, arrays=True)
    print(explain.convolution(run, "features.0", channel=5, row=10, column=12))
    print(explain.layer(run, "features.4"))       # whatever it is
"""

from .convolution import Convolution, convolution
from .explanation import Explanation
from .numbers import Deviation
from .registry import LOSS, explained, explains, layer, takes

__all__ = ["LOSS", "Convolution", "Deviation", "Explanation", "convolution", "explained", "explains", "layer", "takes"]
