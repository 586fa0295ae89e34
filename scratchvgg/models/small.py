"""VGGs for small images: convolution stages, pooling over what is left of the image, one linear layer."""

from __future__ import annotations

from .. import nn
from .registry import register_model
from .vgg import initialize, make_layers, parse_config


class SmallVGG(nn.Module):
    """(N, C, H, W) → (N, num_classes) logits, for any H and W that survive the pooling.

    The 4096-wide head of the paper would see a CIFAR image as one 1×1 feature tiled 49 times; here the features are averaged
    over space and go straight into the logits.

    Args:
        features: convolution stages.
        channels: of the last stage.
        num_classes: size of the output.
        dropout: probability before the linear layer.
        pool: ``"avg"`` or ``"max"`` over space.

    Raises:
        ValueError: for another ``pool``.
    """

    def __init__(self, features: nn.Module, channels: int, num_classes: int = 10, dropout: float = 0.0, pool: str = "avg"):
        super().__init__()
        if pool not in ("avg", "max"):
            raise ValueError(f"SmallVGG: pool must be 'avg' or 'max', got {pool!r}")
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1) if pool == "avg" else nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(channels, num_classes))
        self.apply(initialize)

    def forward(self, x):
        """Logits of a batch of images."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register_model
def cifar_vgg(config="D", batch_norm: bool = True, num_classes: int = 10, dropout: float = 0.5, pool_first: bool = False) -> SmallVGG:
    """A net of the paper for 32×32 images: its convolution stages (the five poolings leave 1×1) and one linear layer.

    Args:
        config: ``"A"``, ``"A-LRN"``, ``"B"``, ``"C"``, ``"D"``, ``"E"`` or a list in the grammar of :mod:`scratchvgg.models.vgg`.
        pool_first: pool before batch norm and ReLU.

    Raises:
        ValueError: for an unknown configuration.
    """
    return _build(config, batch_norm, 3, num_classes, dropout, pool_first, "avg")


@register_model
def small_vgg(widths=(32, "M", 64, "M", 128, "M", 128), num_classes: int = 10, batch_norm: bool = True, dropout: float = 0.0,
              pool_first: bool = False, pool: str = "avg", in_channels: int = 3) -> SmallVGG:
    """A VGG of your own stages.

    Args:
        widths: entries in the grammar of :mod:`scratchvgg.models.vgg`.
        pool_first: pool before batch norm and ReLU: a quarter of the elementwise work.
        pool: ``"avg"`` or ``"max"`` over what is left of the image.
        in_channels: channels of the image.

    Raises:
        ValueError: for a malformed entry, or no convolution at all.
    """
    return _build(widths, batch_norm, in_channels, num_classes, dropout, pool_first, pool)


def _build(config, batch_norm, in_channels, num_classes, dropout, pool_first, pool):
    channels = [c for kind, c, _ in parse_config(config) if kind == "conv"]
    if not channels:
        raise ValueError(f"VGG configuration {config!r} has no convolution")
    features = make_layers(config, batch_norm, in_channels=in_channels, pool_first=pool_first)
    return SmallVGG(features, channels[-1], num_classes, dropout, pool)
