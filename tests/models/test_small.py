"""Small-image nets: structure, shapes, and that they learn."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn, optim


def test_small_vgg_structure():
    model = models.small_vgg((4, "M", 8), num_classes=3, dropout=0.1, in_channels=1)
    assert [type(m).__name__ for m in model.features] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d", "BatchNorm2d", "ReLU"]
    assert model(sv.randn(2, 1, 9, 7)).shape == (2, 3)
    assert model.classifier[0].p == 0.1 and model.classifier[1].in_features == 8


def test_pool_first_moves_every_pool_before_the_norm():
    model = models.small_vgg((4, 4, "M", 8, "M"), pool_first=True)
    names = [type(m).__name__ for m in model.features]
    assert names == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU", "Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU"]


def test_pool_first_without_norm_computes_the_same():
    """ReLU and max-pooling commute."""
    a = models.small_vgg((4, "M", "M", 8, "M"), batch_norm=False)
    b = models.small_vgg((4, "M", "M", 8, "M"), batch_norm=False, pool_first=True)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        q.data.copy_(p.data)
    x = sv.randn(2, 3, 16, 16)
    np.testing.assert_array_equal(a(x).detach().numpy(), b(x).detach().numpy())


def test_multiply_accumulates_named_in_the_recipes():
    """13 million for (32 M 64 M 128 M 128), 313 for VGG-16 on 32 × 32."""
    for model, millions in ((models.small_vgg(), 13), (models.cifar_vgg("D"), 313)):
        counted = []
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda m, a, y, n=counted: n.append(m.weight.numel() * y.shape[2] * y.shape[3]))
        with sv.no_grad():
            model.eval()(sv.zeros(1, 3, 32, 32))
        assert abs(sum(counted) / 1e6 - millions) < 1


@pytest.mark.parametrize("bad", [{"widths": ("M",)}, {"pool": "mean"}, {"widths": (8, "X")}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError):
        models.small_vgg(**bad)


@pytest.mark.parametrize("build", [
    lambda: models.small_vgg((8, "M", 16), pool="max"),
    lambda: models.cifar_vgg([8, "M", 16, "M"], batch_norm=True, dropout=0.0),
    lambda: models.fast_vgg((8, 16, 16)),
], ids=["small", "cifar", "fast"])
def test_they_learn(build):
    """Sixteen pictures by heart."""
    model = build()
    x = sv.randn(16, 3, 32, 32)
    y = sv.arange(16) % 4
    if hasattr(model, "init_whitening"):
        model.init_whitening(x)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9, nesterov=True)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.5 and losses[-1] < 0.3 * losses[0]
