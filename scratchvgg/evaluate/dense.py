"""Dense evaluation (Simonyan & Zisserman §3.2, after OverFeat): a net with its linear layers slid over the whole image.

A linear layer on 7×7 features is a 7×7 convolution that happens to have room for one position; those behind it are 1×1 convolutions. Given a
larger image, the same weights give a map of class scores, one for each place of the window, and the work on overlapping windows is done once.

Legend: N images, C channels in, K out, H W size in, P Q places, R S window, in features.
"""

from __future__ import annotations

import math

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F


class SlidingLinear(nn.Module):
    """A linear layer as a convolution: (N, C, H, W) → (N, K, H − R + 1, W − S + 1).

    The columns are put in the order in which the linear layer's weight lies in memory, (C, R, S), so that the weight is used where it is. ``conv2d``
    wants (R, S, C) and would reorder it at every call: 392 MiB in VGG's first linear layer, longer than the product itself.

    Args:
        linear: (K, C·R·S) weight, shared: what happens to it happens here.
        window: (R, S).
        algorithm: None for the above; a name or a mode of ``scratchvgg.conv`` for ``conv2d`` with the weight seen as a filter.

    Raises:
        ValueError: if the weight's columns are not a multiple of R·S.
    """

    def __init__(self, linear: nn.Linear, window: tuple[int, int] = (1, 1), algorithm: str | None = None):
        super().__init__()
        if linear.in_features % math.prod(window):
            raise ValueError(f"SlidingLinear: {linear.in_features} features do not fill a window of {window[0]}x{window[1]}")
        self.linear, self.window, self.algorithm = linear, tuple(window), algorithm

    @property
    def weight(self) -> Tensor:
        """The linear layer's weight seen as a filter (K, C, R, S): the same memory."""
        return self.linear.weight.view(self.linear.out_features, -1, *self.window)

    @property
    def bias(self) -> Tensor | None:
        """The linear layer's."""
        return self.linear.bias

    def forward(self, input):
        """Scores of each place."""
        if self.algorithm is not None:
            return F.conv2d(input, self.weight, self.bias, algorithm=self.algorithm)
        n, _, h, w = input.shape
        p, q = h - self.window[0] + 1, w - self.window[1] + 1
        if self.window == (1, 1):
            rows = input.permute(0, 2, 3, 1)
        elif p == q == 1:
            rows = input.reshape(n, 1, 1, -1)
        else:
            rows = F.unfold(input, self.window).transpose(1, 2).reshape(n, p, q, -1)
        return self.linear(rows).permute(0, 3, 1, 2)

    def extra_repr(self):
        return f"window={self.window}, algorithm={self.algorithm}"


class DenseVGG(nn.Module):
    """A VGG or SmallVGG over images of any size: (N, 3, H, W) → class score map (N, classes, P, Q).

    The weights are the net's own: training, loading or moving the net changes this one too. P = ⌊features' height⌋ − R + 1, Q alike; at the net's
    training size there is one place, and its scores are the net's. The adaptive pooling, the identity there, is left out (VGG), or becomes a
    pooling over the window (SmallVGG). Dropout stays where it is: call ``eval()``.

    Args:
        model: has ``features``, ``avgpool`` and a ``classifier`` of layers that are linear or act on each number by itself.
        window: the features, an int or (R, S), that the classifier sees at a time. None: what its weight has (VGG's 7×7), for SmallVGG the
            features of an image of 32×32.
        algorithm: as of :class:`SlidingLinear`, for all linear layers.

    Raises:
        TypeError: for another net. ValueError: for a window that does not fit its weights.
    """

    def __init__(self, model, window=None, algorithm: str | None = None):
        super().__init__()
        parts = [getattr(model, name, None) for name in ("features", "avgpool", "classifier")]
        pool = _POOLS.get(type(parts[1]))
        if not isinstance(parts[2], nn.Sequential) or not isinstance(parts[0], nn.Module) or pool is None:
            raise TypeError(f"DenseVGG: expected a VGG or SmallVGG (features, adaptive pooling, a classifier), got {type(model).__name__}")
        kept = _pair(parts[1].output_size)
        self.features = parts[0]
        self.window = kept if kept != (1, 1) and window is None else feature_size(model, 32) if window is None else _pair(window)
        if kept not in ((1, 1), self.window):
            raise ValueError(f"DenseVGG: the classifier's weights are for {kept[0]}x{kept[1]} features, got window {self.window}")
        self.pool = pool(self.window, stride=1) if kept == (1, 1) else nn.Identity()
        layers, seen = [], kept
        for layer in parts[2]:
            if isinstance(layer, nn.Linear):
                layer, seen = SlidingLinear(layer, seen, algorithm), (1, 1)
            layers.append(layer)
        self.classifier = nn.Sequential(*layers)

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width of the smallest image: one place."""
        return smallest_image(self.features, self.window)

    def forward(self, x):
        """The class score map.

        Raises:
            ValueError: for an image smaller than the window.
        """
        if x.shape[-2] < self.smallest[0] or x.shape[-1] < self.smallest[1]:
            raise ValueError(f"DenseVGG: expected images of at least {self.smallest[0]}x{self.smallest[1]}, got {x.shape[-2]}x{x.shape[-1]}")
        return self.classifier(self.pool(self.features(x)))


_POOLS = {nn.AdaptiveAvgPool2d: nn.AvgPool2d, nn.AdaptiveMaxPool2d: nn.MaxPool2d}


def feature_size(model, size) -> tuple[int, int]:
    """Height and width of the features of an image of ``size`` (an int or a pair)."""
    return tuple(_walk(n, _steps(model.features, axis)) for axis, n in enumerate(_pair(size)))


def smallest_image(features, window) -> tuple[int, int]:
    """Height and width of the smallest image that leaves ``window`` features: from the end, n → (n − 1) · stride + reach − padding."""
    sizes = []
    for axis, n in enumerate(_pair(window)):
        for reach, stride, padding in reversed(_steps(features, axis)):
            n = max(1, (n - 1) * stride + reach - padding)
        sizes.append(n)
    return tuple(sizes)


def _steps(features, axis):
    """(reach, stride, padding of both sides) along an axis of all layers that change the size, in order."""
    found = []
    for layer in features.modules():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            kernel, stride, dilation = (_pair(n)[axis] for n in (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1)))
            reach = (kernel - 1) * dilation + 1
            padding = {"valid": 0, "same": reach - 1}[layer.padding] if isinstance(layer.padding, str) else 2 * _pair(layer.padding)[axis]
            found.append((reach, stride, padding))
    return found


def _walk(n, steps):
    for reach, stride, padding in steps:
        n = (n + padding - reach) // stride + 1
    return n


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)
