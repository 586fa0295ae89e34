"""Decisions: where a ReLU lets pass, and which candidate a max-pool takes.

Where a ReLU's input is within rounding of 0, or two candidates of a pool within rounding of each other, two right float32 implementations
decide differently, and everything behind sees another net: deep gradients then differ by 1e-2. So decisions are counted, and can be
frozen: with the truth's decisions in their place ReLU and pool only select, the net is smooth, and what remains is rounding, or a bug.
"""

from __future__ import annotations

import numpy as np

from ... import nn
from ...autograd import from_numpy, no_grad
from ...nn import functional as F
from .chain import Step

_POOLS = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)


def decides(step: Step) -> bool:
    """Whether the layer decides anything."""
    return type(step.module) is nn.ReLU or type(step.module) in _POOLS


def decide(step: Step, x: np.ndarray) -> np.ndarray:
    """What the layer decides for an input, always by the same rules: a mask of x, or the winners' places in the H × W plane (the first wins)."""
    if type(step.module) is nn.ReLU:
        return x > 0
    module, exact = step.module, x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    with no_grad():
        if type(module) is nn.MaxPool2d:
            places = F.max_pool2d(from_numpy(exact), module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode, True)[1]
        else:
            places = F.adaptive_max_pool2d(from_numpy(exact), module.output_size, True)[1]
    return places.numpy()


def forward(step: Step, x: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """The layer's output with its decisions given."""
    if type(step.module) is nn.ReLU:
        return np.where(decision, x, x.dtype.type(0))
    planes = x.reshape(*x.shape[:2], -1)
    return np.take_along_axis(planes, decision.reshape(*x.shape[:2], -1), 2).reshape(decision.shape)


def backward(step: Step, x: np.ndarray, g: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """The gradient of the layer's input with its decisions given; ``x`` is that input, ``g`` the gradient of the output."""
    if type(step.module) is nn.ReLU:
        return np.where(decision, g, g.dtype.type(0))
    n, c = x.shape[:2]
    planes, size = n * c, int(np.prod(x.shape[2:]))
    flat = decision.reshape(planes, -1) + (np.arange(planes) * size)[:, None]
    values = g.reshape(planes, -1)
    sums = np.bincount(flat.ravel(), values.ravel().astype(np.float64), planes * size)
    return sums.astype(g.dtype).reshape(x.shape)
