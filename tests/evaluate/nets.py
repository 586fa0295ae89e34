"""Nets for the tests of photographs: the paper's twelve with an eighth of the channels, and one whose windows see no padding."""

import numpy as np

from scratchvgg import nn
from scratchvgg.models.vgg import VGG, make_layers
from tests.models.test_devices import narrow

LETTERS = ("A", "A-LRN", "B", "C", "D", "E")


def narrow_vgg(letter="D", batch_norm=False, classes=7, seed=0):
    """A VGG in evaluation mode: features of an eighth of the width on 7×7, a head of 24."""
    with nn.init.skip():
        net = VGG(make_layers(narrow(letter), batch_norm), init_weights=False)
        net.classifier = nn.Sequential(
            nn.Linear(64 * 49, 24), nn.ReLU(True), nn.Dropout(), nn.Linear(24, 24), nn.ReLU(True), nn.Dropout(), nn.Linear(24, classes)
        )
    return draw(net, seed).eval()


class Unpadded(nn.Module):
    """One convolution without padding, ReLU, pooling by 2, and a linear layer on 3×3: every place of its window sees that window alone.

    A window of 8×8 pixels moves by 2.
    """

    SIZE, STEP = 8, 2

    def __init__(self, classes=5, seed=0):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(nn.Linear(36, 10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, classes))
        draw(self, seed)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def draw(net, seed):
    """Weights that keep the size of numbers, biases and statistics away from 0 and 1."""
    rng = np.random.default_rng(seed)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.array[...] = rng.uniform(0.5, 2, value.shape)
        elif value.is_floating_point():
            scale = np.sqrt(2 / np.prod(value.shape[1:])) if value.ndim > 1 else 0.3
            value.array[...] = rng.normal(size=value.shape) * scale + (value.ndim == 1 and name.endswith("weight"))
    return net


def images(height, width, count=1, seed=1):
    """(N, 3, H, W) float64, about what normalised pixels are."""
    return np.random.default_rng(seed).normal(size=(count, 3, height, width))
