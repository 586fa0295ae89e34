"""The paper's nets: names, counts and shapes as published, forward and every gradient as torch's."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from tests.closeness import assert_close64
from tests.torchvision_reference import torchvision

from . import reference

FACTS = {  # parameters, entries of the state dict, multiply-accumulates at 224 × 224
    "vgg11": (132_863_336, 22, 7_609_090_048),
    "vgg11_bn": (132_868_840, 62, 7_609_090_048),
    "vgg13": (133_047_848, 26, 11_308_466_176),
    "vgg13_bn": (133_053_736, 76, 11_308_466_176),
    "vgg16": (138_357_544, 32, 15_470_264_320),
    "vgg16_bn": (138_365_992, 97, 15_470_264_320),
    "vgg19": (143_667_240, 38, 19_632_062_464),
    "vgg19_bn": (143_678_248, 118, 19_632_062_464),
    "vgg_a_lrn": (132_863_336, 22, 7_609_090_048),
    "vgg_a_lrn_bn": (132_868_840, 62, 7_609_090_048),
    # C is B with a 1×1 convolution more in stages 3 to 5
    "vgg_c": (133_638_952, 32, 11_308_466_176 + 56**2 * 256**2 + (28**2 + 14**2) * 512**2),
    "vgg_c_bn": (133_647_400, 97, 11_308_466_176 + 56**2 * 256**2 + (28**2 + 14**2) * 512**2),
}
TORCHVISION = [name for name in FACTS if name[3].isdigit()]
LETTERS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E", "vgg_a_lrn": "A-LRN", "vgg_c": "C"}


def letter(name):
    return LETTERS[name.removesuffix("_bn")]


def build(name):
    """The net without drawing its 138 million weights."""
    with nn.init.skip():
        return models.get_model(name, init_weights=False)


def count_macs(model, size=224) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image, bias adds apart."""
    macs = 0
    for layer in model.features:
        if isinstance(layer, nn.MaxPool2d):
            size //= 2
        elif isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * size * size
    return macs + sum(layer.weight.numel() for layer in model.classifier if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("name", FACTS)
def test_counts(name):
    model = build(name)
    state = model.state_dict()
    assert (sum(p.numel() for p in model.parameters()), len(state), count_macs(model)) == FACTS[name]
    assert next(iter(state)) == "features.0.weight" and list(state)[-1] == "classifier.6.bias"
    assert ("features.1.num_batches_tracked" in state) == name.endswith("_bn")


def test_twelve_nets_are_listed():
    assert set(models.list_models()) == {*FACTS, "cifar_vgg", "small_vgg", "fast_vgg", "paper_vgg"}
    assert set(models.cfgs) == {"A", "A-LRN", "B", "C", "D", "E"} == set(reference.TABLE)


@pytest.mark.parametrize("name", TORCHVISION)
def test_state_dict_and_repr_equal_torchvisions(name, torch):
    zoo = torchvision().models
    with torch.device("meta"):
        theirs = getattr(zoo, name)(init_weights=False)
    ours = build(name)
    assert [(k, tuple(v.shape)) for k, v in ours.state_dict().items()] == [(k, tuple(v.shape)) for k, v in theirs.state_dict().items()]
    assert repr(ours) == repr(theirs)


def test_cfgs_equal_torchvisions(torch):
    zoo = torchvision().models
    for key, cfg in zoo.vgg.cfgs.items():
        assert models.cfgs[key] == cfg
        for batch_norm in (False, True):
            assert repr(models.make_layers(cfg, batch_norm)) == repr(zoo.vgg.make_layers(cfg, batch_norm))


def relative(name, value, expected):
    assert value.dtype == expected.dtype and value.shape == expected.shape, name
    assert_close64(name, value, expected)


def compare(ours, theirs, x, labels, torch):
    """Loss, logits, all gradients and buffers of one training step in float64."""
    model, peer = ours.double(), theirs.double()
    assert list(model.state_dict()) == list(peer.state_dict())
    model.load_state_dict(peer.state_dict())
    mine, expected = sv.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = model(mine), peer(expected)
    relative("logits", y.detach().numpy(), z.detach().numpy())
    nn.functional.cross_entropy(y, sv.tensor(labels)).backward()
    torch.nn.functional.cross_entropy(z, torch.tensor(labels)).backward()
    relative("gradient of the image", mine.grad.numpy(), expected.grad.numpy())
    for (key, p), q in zip(model.named_parameters(), peer.parameters(), strict=True):
        relative(f"gradient of {key}", p.grad.numpy(), q.grad.numpy())
    for (key, b), c in zip(model.named_buffers(), peer.buffers(), strict=True):
        (relative if b.is_floating_point() else lambda k, s, t: np.testing.assert_array_equal(s, t, k))(key, b.numpy(), c.numpy())


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("config", models.cfgs)
def test_whole_net_equals_torch(config, batch_norm, torch):
    rng = np.random.default_rng(0)
    ours = models.cifar_vgg(config, batch_norm=batch_norm, dropout=0.0)
    theirs = reference.small(torch, config, batch_norm)
    for m in theirs.modules():
        if isinstance(m, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
    compare(ours, theirs, rng.normal(size=(2, 3, 32, 32)), rng.integers(0, 10, 2), torch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_whole_net_at_224(name, torch):
    rng = np.random.default_rng(0)
    ours, theirs = build(name).eval(), reference.full(torch, letter(name), name.endswith("_bn")).eval()
    compare(ours, theirs, rng.normal(size=(1, 3, 224, 224)), np.array([3]), torch)


@pytest.mark.parametrize(("name", "size"), [("vgg11", 32), ("vgg_c_bn", 64)])
def test_full_head_on_small_images(name, size, torch):
    """AdaptiveAvgPool2d((7, 7)) makes any size of at least 32 fit the paper's classifier."""
    ours, theirs = build(name).eval(), reference.full(torch, letter(name), name.endswith("_bn")).eval()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype("f4")
    with sv.no_grad(), torch.no_grad():
        np.testing.assert_allclose(ours(sv.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), rtol=1e-4, atol=1e-6)


def test_initialisation():
    model = models.VGG(models.make_layers([16, "M", 512], batch_norm=True), num_classes=20)
    conv, norm, linear = model.features[4], model.features[5], model.classifier[6]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert abs(conv.weight.detach().numpy().std() / np.sqrt(2 / (9 * 512)) - 1) < 0.02
    assert abs(linear.weight.detach().numpy().std() / 0.01 - 1) < 0.02
    assert (norm.weight.detach().numpy() == 1).all() and not norm.bias.detach().numpy().any()
    assert not any(m.bias.detach().numpy().any() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    assert abs(model.classifier[0].weight.detach().numpy()[:100].std() / 0.01 - 1) < 0.02


def test_without_init_weights_layers_keep_their_defaults():
    linear = models.SmallVGG(models.make_layers([8]), 8).classifier[1]
    assert not linear.bias.detach().numpy().any()
    assert models.make_layers([8])[0].bias.detach().numpy().any()


def test_options():
    with nn.init.skip():
        model = models.vgg11(weights=None, progress=False, num_classes=5, dropout=0.2, init_weights=False)
    assert model.classifier[6].out_features == 5 and model.classifier[2].p == 0.2


@pytest.mark.parametrize("cfg", ["Z", [64, "P"], [0], [True], ["conv2-8"], ["conv3-"], [3.5]])
def test_bad_configurations(cfg):
    with pytest.raises(ValueError, match="configuration"):
        models.make_layers(cfg)


def test_unknown_model():
    with pytest.raises(ValueError, match="vgg16_bn"):
        models.get_model("vgg16bn")
    with pytest.raises(ValueError, match="vgg16"):
        models.get_model("resnet18")


def test_grammar():
    assert models.parse_config([8, "conv3-8", "conv1-16", "LRN", "M"]) == [
        ("conv", 8, 3), ("conv", 8, 3), ("conv", 16, 1), ("lrn", 0, 0), ("pool", 0, 0)
    ]
