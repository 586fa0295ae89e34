"""VGG: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", arXiv 1409.1556.

One grammar of configurations describes the convolution stages of all six nets of the paper. An entry is

- an int ``c``, or ``"conv3-c"`` as the paper writes it: 3×3 convolution to c channels, padding 1, then ReLU;
- ``"conv1-c"``: the same with a 1×1 filter (net C);
- ``"M"``: 2×2 max-pooling, stride 2;
- ``"LRN"``: local response normalisation (net A-LRN).

With batch norm every convolution is followed by it, before the ReLU.
"""

from __future__ import annotations

import warnings

from .. import nn
from .pretrained import PRETRAINED, get_model_weights
from .registry import register_model

cfgs: dict[str, list[int | str]] = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "A-LRN": [64, "LRN", "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "C": [64, 64, "M", 128, 128, "M", 256, 256, "conv1-256", "M", 512, 512, "conv1-512", "M", 512, 512, "conv1-512", "M"],
    "D": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "E": [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
}


def parse_config(cfg) -> list[tuple[str, int, int]]:
    """A configuration as a list of ("conv", channels, filter size), ("pool", 0, 0) and ("lrn", 0, 0).

    Args:
        cfg: a name such as ``"D"``, or a sequence of entries.

    Raises:
        ValueError: for an unknown name or entry; the message gives its place.
    """
    if isinstance(cfg, str):
        if cfg not in cfgs:
            raise ValueError(f"unknown VGG configuration {cfg!r}, expected one of {', '.join(cfgs)} or a list of entries")
        cfg = cfgs[cfg]
    return [_parse_entry(place, entry) for place, entry in enumerate(cfg)]


def _parse_entry(place, entry):
    if entry == "M":
        return "pool", 0, 0
    if entry == "LRN":
        return "lrn", 0, 0
    size, channels = 3, entry
    if isinstance(entry, str) and entry.startswith("conv"):
        filter_size, _, count = entry[4:].partition("-")
        if filter_size.isdecimal() and count.isdecimal():
            size, channels = int(filter_size), int(count)
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1 or size % 2 == 0:
        raise ValueError(f"VGG configuration: entry {place} is {entry!r}, expected a number of channels, 'M', 'LRN' or 'conv1-256'")
    return "conv", channels, size


def make_layers(cfg, batch_norm: bool = False, *, in_channels: int = 3, pool_first: bool = False, inplace: bool = True) -> nn.Sequential:
    """The convolution stages of a configuration.

    Args:
        cfg: a name of :data:`cfgs` or a sequence of entries in the grammar above.
        batch_norm: put batch norm behind every convolution (which keeps its bias, as in torchvision).
        in_channels: channels of the image.
        pool_first: pool right behind the convolution, before batch norm and ReLU: a quarter of the elementwise work.
        inplace: let ReLU write over its input.

    Raises:
        ValueError: for an unknown configuration or entry.
    """
    entries = parse_config(cfg)
    layers: list[nn.Module] = []
    pooled = False
    for place, (kind, channels, size) in enumerate(entries):
        if kind == "pool":
            if not pooled:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            pooled = False
        elif kind == "lrn":
            # Krizhevsky's constants k=2, n=5, α=1e-4, β=0.75; his α multiplies the sum, this layer's the mean of the five
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        else:
            layers.append(nn.Conv2d(in_channels, channels, kernel_size=size, padding=size // 2))
            pooled = pool_first and entries[place + 1 : place + 2] == [("pool", 0, 0)]
            if pooled:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=inplace))
            in_channels = channels
    return nn.Sequential(*layers)


def initialize(module: nn.Module) -> None:
    """torchvision's initialisation of one layer: convolutions Kaiming normal (fan_out, ReLU), linear layers N(0, 0.01), biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.constant_(module.weight, 1)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    else:
        return
    if module.bias is not None:
        nn.init.constant_(module.bias, 0)


class VGG(nn.Module):
    """The paper's net: convolution stages, then three fully connected layers on 7×7 features.

    (N, 3, H, W) → (N, num_classes) logits; H = W = 224 in the paper, any size of at least 32 works. Attributes, and with them
    the names in a state dict, are torchvision's: ``features``, ``avgpool``, ``classifier``.

    Args:
        features: what :func:`make_layers` returns; its last stage has 512 channels.
        num_classes: size of the output.
        init_weights: initialise as torchvision does (:func:`initialize`); else the layers keep their defaults.
        dropout: probability in the classifier.
    """

    def __init__(self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        if init_weights:
            with nn.init.skip():  # 123 million weights need drawing once only
                self.classifier = _classifier(num_classes, dropout)
            self.apply(initialize)
        else:
            self.classifier = _classifier(num_classes, dropout)

    def forward(self, x):
        """Logits of a batch of images."""
        x = self.avgpool(self.features(x))
        return self.classifier(x.flatten(1))


def _classifier(num_classes, dropout):
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout(p=dropout),
        nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(p=dropout),
        nn.Linear(4096, num_classes),
    )


_UNSET = object()


def _constructor(name, config, batch_norm):
    def make(**options):
        return VGG(make_layers(config, batch_norm), **options)

    def build(weights=None, progress: bool = True, *, pretrained=_UNSET, **kwargs) -> VGG:
        weights = _modern(name, weights, pretrained)
        if weights is None:
            return make(**kwargs)
        from .loading import build_pretrained  # which knows all nets, and so this file

        return build_pretrained(name, make, weights, progress, kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""Net {config} of the paper{" with batch norm" if batch_norm else ""}.

    Args:
        weights: {_about_weights(name)}; None draws new ones.
        progress: show a download on stderr.
        pretrained: torchvision's old spelling of ``weights``.
        kwargs: ``num_classes``, ``init_weights``, ``dropout`` of :class:`VGG`; ``num_classes`` comes with the weights.

    Raises:
        WeightsError: if the file cannot be read or does not fit. DownloadError: if the weights cannot be had; the message says which file to
            put where. FileNotFoundError: if there is no such file or entry. TypeError: for another net's entry.
        ValueError: for another ``num_classes`` than that of the weights.
    """
    return register_model(build)


def _about_weights(name) -> str:
    if name not in PRETRAINED:
        return "a file in any format that :func:`scratchvgg.load` reads (there are none to download)"
    cls = PRETRAINED[name]
    return f"an entry of :class:`{cls.__name__}` or its name, such as ``\"DEFAULT\"``; or a file in any format that :func:`scratchvgg.load` reads"


def _modern(name, weights, pretrained):
    """``weights``, after torchvision's spellings of before its 0.13: ``vgg16(True)`` and ``vgg16(pretrained=True)``."""
    if pretrained is not _UNSET and weights is not None:
        raise TypeError(f"{name}: give weights, or pretrained, but not both")
    old = weights if isinstance(weights, bool) else pretrained
    if old is _UNSET:
        return weights
    weights = get_model_weights(name).DEFAULT if old else None
    warnings.warn(f"{name}: pretrained={old!r} is torchvision's spelling of before 0.13, deprecated there; write weights={weights!r}", stacklevel=3)
    return weights


vgg11, vgg11_bn = _constructor("vgg11", "A", False), _constructor("vgg11_bn", "A", True)
vgg13, vgg13_bn = _constructor("vgg13", "B", False), _constructor("vgg13_bn", "B", True)
vgg16, vgg16_bn = _constructor("vgg16", "D", False), _constructor("vgg16_bn", "D", True)
vgg19, vgg19_bn = _constructor("vgg19", "E", False), _constructor("vgg19_bn", "E", True)
vgg_a_lrn, vgg_a_lrn_bn = _constructor("vgg_a_lrn", "A-LRN", False), _constructor("vgg_a_lrn_bn", "A-LRN", True)
vgg_c, vgg_c_bn = _constructor("vgg_c", "C", False), _constructor("vgg_c_bn", "C", True)
