"""VGGs for small images: convolution stages, pooling over what is left of the image, one linear layer; or the paper's three, narrower."""

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


@register_model(side=32)
def cifar_vgg(config="D", batch_norm: bool = True, num_classes: int = 10, dropout: float = 0.5, pool_first: bool = False) -> SmallVGG:
    """A net of the paper for 32×32 images: its convolution stages (the five poolings leave 1×1) and one linear layer.

    Args:
        config: ``"A"``, ``"A-LRN"``, ``"B"``, ``"C"``, ``"D"``, ``"E"`` or a list in the grammar of :mod:`scratchvgg.models.vgg`.
        pool_first: pool before batch norm and ReLU.

    Raises:
        ValueError: for an unknown configuration.
    """
    return _build(config, batch_norm, 3, num_classes, dropout, pool_first, "avg")


@register_model(side=32)
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


class NarrowVGG(nn.Module):
    """The paper's net with fewer channels and a smaller image: (N, 3, H, W) → (N, num_classes) logits, for any H and W of at least 32.

    ``features``, ``avgpool`` and ``classifier`` hold what torchvision's VGG has under these names, so the names in a state dict are the same.

    Args:
        features: convolution stages.
        channels: of the last stage.
        num_classes: size of the output.
        hidden: units of the first two linear layers, 4096 in the paper.
        window: side of the features that the first linear layer sees, 7 in the paper.
        dropout: probability behind the first two linear layers.
    """

    def __init__(self, features: nn.Module, channels: int, num_classes: int = 10, hidden: int = 256, window: int = 1, dropout: float = 0.5):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((window, window))
        self.classifier = nn.Sequential(
            nn.Linear(channels * window**2, hidden), nn.ReLU(True), nn.Dropout(p=dropout),
            nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(p=dropout),
            nn.Linear(hidden, num_classes),
        )
        self.apply(initialize)
        for place in (0, 3):  # N(0, 0.01) keeps the size of a signal from 20,000 inputs, and loses that from a few hundred
            nn.init.kaiming_normal_(self.classifier[place].weight, nonlinearity="relu")

    def forward(self, x):
        """Logits of a batch of images."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register_model(side=32)
def paper_vgg(config="D", width: float = 0.125, hidden: int = 256, crop: int = 32, batch_norm: bool = False, num_classes: int = 10,
              dropout: float = 0.5) -> NarrowVGG:
    """A net of the paper, whole but narrow: its stages with ``width`` times the channels, its three linear layers with ``hidden`` units.

    Args:
        config: ``"A"``, ``"A-LRN"``, ``"B"``, ``"C"``, ``"D"``, ``"E"`` or a list in the grammar of :mod:`scratchvgg.models.vgg`.
        width: factor of every number of channels; 0.125 makes 8, 16, 32, 64, 64.
        crop: side of the images it is trained on; the classifier sees the crop // 32 × crop // 32 features of one (7 × 7 for 224).

    Raises:
        ValueError: for an unknown configuration, a crop below 32, or a width that is not positive.
    """
    if crop < 32 or not width > 0:
        raise ValueError(f"paper_vgg: expected a crop of 32 or more and a positive width, got crop={crop}, width={width}")
    entries = {"pool": lambda channels, size: "M", "lrn": lambda channels, size: "LRN",
               "conv": lambda channels, size: f"conv{size}-{max(1, round(width * channels))}"}
    narrow = [entries[kind](channels, size) for kind, channels, size in parse_config(config)]
    channels = [c for kind, c, _ in parse_config(narrow) if kind == "conv"]
    if not channels:
        raise ValueError(f"VGG configuration {config!r} has no convolution")
    return NarrowVGG(make_layers(narrow, batch_norm), channels[-1], num_classes, hidden, crop // 32, dropout)


def _build(config, batch_norm, in_channels, num_classes, dropout, pool_first, pool):
    channels = [c for kind, c, _ in parse_config(config) if kind == "conv"]
    if not channels:
        raise ValueError(f"VGG configuration {config!r} has no convolution")
    features = make_layers(config, batch_norm, in_channels=in_channels, pool_first=pool_first)
    return SmallVGG(features, channels[-1], num_classes, dropout, pool)
