"""Training in less memory: the stages of a VGG are computed again in backward instead of kept.

The convolution stages hold nearly all that a training step keeps, the first two most of it. Cut behind every pooling layer, each leaves only its
input, a quarter of what it works on; see :mod:`scratchvgg.autograd.checkpoint` for why gradients stay the same bit for bit.
"""

from __future__ import annotations

import itertools
import types

from .. import nn
from ..autograd import checkpoint

POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def recompute_stages(model: nn.Module, on: bool = True) -> nn.Module:
    """Let the stages of ``model.features`` but the last be computed again in backward (or, with ``on=False``, be kept as usual).

    Args:
        model: a net whose ``features`` is a Sequential with pooling layers, as all VGGs here; changed and returned.

    Raises:
        ValueError: for another net.
    """
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential) or len(stages_of(features)) < 2:
        raise ValueError(f"recompute_stages: expected a net with `features`, a Sequential of two stages or more that end in a pool; "
                         f"{type(model).__name__} has none")
    if on:
        features.forward = types.MethodType(_forward, features)
    else:
        vars(features).pop("forward", None)
    return model


def stages_of(features: nn.Sequential) -> list[nn.Sequential]:
    """The pieces of a Sequential that end behind a pooling layer; what follows the last pool belongs to the last piece."""
    ends = [place + 1 for place, module in enumerate(features) if isinstance(module, POOLS)]
    edges = [0, *ends[:-1], len(features)]
    return [features[a:b] for a, b in itertools.pairwise(edges)]


def _forward(features, input):
    *first, last = stages_of(features)
    for stage in first:
        input = checkpoint(stage, input)
    return last(input)
