"""The fast net: whitening, identity start, frozen scales, parameter groups."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn


def images(n=40, size=12):
    """Smooth colour pictures: neighbouring pixels agree, as in photographs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3, size, size))
    for axis in (2, 3):
        x = x + np.roll(x, 1, axis) + np.roll(x, 2, axis)
    return (x / x.std()).astype("f4")


def test_whitening_whitens():
    model = models.fast_vgg((8, 8, 8))
    x = images()
    model.init_whitening(x, eps=0.0)
    y = model.whitening(sv.tensor(x)).detach().numpy().astype("f8")
    assert y.shape == (40, 24, 11, 11)
    flat = y.transpose(1, 0, 2, 3).reshape(24, -1)
    np.testing.assert_allclose(flat[:12] @ flat[:12].T / flat.shape[1], np.eye(12), atol=1e-3)
    np.testing.assert_allclose(flat[12:], -flat[:12], atol=1e-5)


def test_directions_come_in_falling_order_and_eps_tames_the_last():
    model = models.fast_vgg((8, 8, 8))
    model.init_whitening(sv.tensor(images()))
    sizes = np.linalg.norm(model.whitening.weight.numpy().reshape(24, -1)[:12], axis=1)
    assert (np.diff(sizes) > 0).all() and sizes[-1] < 1 / np.sqrt(5e-4)


def test_whitening_equals_torchs_formula(torch):
    x = images()
    model = models.fast_vgg((8, 8, 8))
    model.init_whitening(x)
    patches = torch.nn.functional.unfold(torch.tensor(x).double(), 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    expected = (vectors / (values + 5e-4).sqrt()).T.flip(0).numpy()
    mine = model.whitening.weight.numpy().reshape(24, 12)[:12]
    signs = np.sign((mine * expected).sum(1, keepdims=True))
    np.testing.assert_allclose(mine * signs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 1, 8)])
def test_whitening_rejects_other_shapes(shape):
    with pytest.raises(ValueError, match="init_whitening"):
        models.fast_vgg((8, 8, 8)).init_whitening(np.zeros(shape, "f4"))


def test_convolutions_start_with_the_identity():
    model = models.fast_vgg((32, 64, 64))
    x = sv.randn(1, 24, 8, 8)
    y = model.features[1][0](x)
    np.testing.assert_allclose(y.detach().numpy()[:, :24], x.numpy(), atol=1e-6)
    assert np.abs(y.detach().numpy()[:, 24:]).max() > 0.1


def test_structure_and_what_is_trained():
    model = models.fast_vgg()
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert frozen == ["whitening.weight", *(f"{n}.weight" for n in norms)]
    assert len(norms) == 6 and all(m.momentum == 0.4 for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert model.classifier.bias is None
    assert model(sv.randn(2, 3, 32, 32)).shape == (2, 10)


def test_logits_are_scaled():
    model = models.fast_vgg((8, 8, 8)).eval()
    x = sv.randn(2, 3, 32, 32)
    y = model(x).detach().numpy()
    model.scale = 1.0
    np.testing.assert_allclose(model(x).detach().numpy() / 9, y, rtol=1e-5, atol=1e-7)


def test_multiply_accumulates_named_in_the_recipe():
    """118 million an image for the published widths, 20 for (32, 64, 128)."""
    for widths, millions in (((64, 256, 256), 118), ((32, 64, 128), 20)):
        model, counted = models.fast_vgg(widths), []
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda m, a, y, n=counted: n.append(m.weight.numel() * y.shape[2] * y.shape[3]))
        with sv.no_grad():
            model.eval()(sv.zeros(1, 3, 32, 32))
        assert abs(sum(counted) / 1e6 - millions) < 1


def test_parameter_groups():
    model = models.fast_vgg((8, 8, 8))
    fast, others = model.parameter_groups(lr=1.5, weight_decay=1e-3)
    assert len(fast["params"]) == 6 and fast["lr"] == 96 and fast["lr"] * fast["weight_decay"] == others["lr"] * others["weight_decay"]
    ids = {id(p) for group in (fast, others) for p in group["params"]}
    assert ids == {id(p) for p in model.parameters() if p.requires_grad}
