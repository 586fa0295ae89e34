"""paper_vgg: the paper's nets, narrow, under torchvision's names."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models
from scratchvgg.evaluate import DenseVGG


@pytest.mark.parametrize("config, builder", [("A", "vgg11"), ("A-LRN", "vgg_a_lrn"), ("B", "vgg13"), ("C", "vgg_c"), ("D", "vgg16"), ("E", "vgg19")])
def test_names_are_those_of_the_whole_net(config, builder):
    narrow = models.paper_vgg(config, width=0.0625, hidden=16)
    with sv.nn.init.skip():
        whole = models.get_model(builder, init_weights=False)
    assert list(narrow.state_dict()) == list(whole.state_dict())
    for a, b in zip(narrow.parameters(), whole.parameters(), strict=True):
        assert a.ndim == b.ndim and (a.ndim < 4 or (16 * a.shape[0], a.shape[2:]) == (b.shape[0], b.shape[2:]))


def test_width_one_is_the_papers_net():
    with sv.nn.init.skip():
        whole = models.vgg16()
        net = models.paper_vgg("D", width=1.0, hidden=4096, crop=224, num_classes=1000)
    assert {n: p.shape for n, p in net.named_parameters()} == {n: p.shape for n, p in whole.named_parameters()}


@pytest.mark.parametrize("crop", [32, 64])
def test_dense_evaluation_at_the_crop_is_the_net(crop):
    sv.manual_seed(0)
    net = models.paper_vgg("A", width=0.0625, hidden=12, crop=crop, num_classes=5).eval()
    assert net.classifier[0].in_features == 32 * (crop // 32) ** 2
    images = sv.randn(2, 3, crop, crop)
    assert np.allclose(DenseVGG(net)(images).detach().numpy()[:, :, 0, 0], net(images).detach().numpy(), rtol=1e-4, atol=1e-6)
    larger = DenseVGG(net)(sv.randn(1, 3, crop + 32, crop + 64))
    assert larger.shape == (1, 5, 2, 3)


def test_a_signal_gets_through_it():
    """Logits of a random input neither vanish nor explode at the start: hidden layers are Kaiming's, whatever their width."""
    sv.manual_seed(0)
    for config in "AE":
        net = models.paper_vgg(config, width=0.125, dropout=0.0)
        hidden = net.classifier[:5](net.avgpool(net.features(sv.randn(16, 3, 32, 32))).flatten(1)).detach().numpy()
        assert 0.02 < hidden.std() < 50, config


@pytest.mark.parametrize("options, message", [
    ({"crop": 31}, "crop of 32 or more"), ({"width": 0}, "positive width"), ({"config": "F"}, "unknown VGG configuration 'F'"),
    ({"config": ["M"]}, "has no convolution"),
])
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        models.get_model("paper_vgg", **options)
