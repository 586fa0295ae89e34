"""Whole nets against torchvision's own: the state dict is made there, saved by torch, read here; then the logits are compared.

The fast tests take torchvision's class and its layers at an eighth of the width; the full nets at 224×224 are slow (``--slow``; ``-rP`` shows
the differences). Nets C and A-LRN, which torchvision does not have, are compared with the paper's table built in torch.
"""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from tests.torchvision_reference import torchvision

from . import reference

NETS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
ALL = [name + end for name in NETS for end in ("", "_bn")]
OTHERS = {"vgg_c": "C", "vgg_c_bn": "C", "vgg_a_lrn": "A-LRN", "vgg_a_lrn_bn": "A-LRN"}
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the largest logit
HIDDEN, CLASSES = 96, 10


def perturb(torch, net):
    """Biases, scales and statistics as training leaves them: none of them 0 or 1, so that each one matters."""
    with torch.no_grad():
        for module in net.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.1)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.num_batches_tracked.fill_(5)
    return net.eval()


def head(library, channels):
    """The three linear layers, narrow."""
    layers = library.nn
    return layers.Sequential(layers.Linear(channels * 49, HIDDEN), layers.ReLU(True), layers.Dropout(),
                             layers.Linear(HIDDEN, HIDDEN), layers.ReLU(True), layers.Dropout(), layers.Linear(HIDDEN, CLASSES))


def narrow_theirs(torch, features, channels):
    """torchvision's VGG, with its own forward, on these features."""
    with torch.device("meta"):
        net = torchvision().models.VGG(torch.nn.Identity(), init_weights=False)
    net.features, net.classifier = features, head(torch, channels)
    return perturb(torch, net)


def narrow_ours(features, channels):
    with nn.init.skip():
        net = models.VGG(features, init_weights=False)
    net.classifier = head(sv, channels)
    return net.eval()


def difference(torch, theirs, ours, dtype, images) -> float:
    """Of the logits, relative to the largest."""
    with torch.no_grad():
        expected = theirs(torch.tensor(images, dtype=getattr(torch, dtype))).numpy()
    with sv.no_grad():
        got = ours(sv.tensor(images, dtype=getattr(sv, dtype))).numpy()
    assert got.dtype == expected.dtype == dtype and got.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 1e-3 and np.ptp(expected, axis=1).max() > 0.1 * scale, "the logits say something"
    return float(np.abs(got - expected).max() / scale)


def check(torch, theirs, ours, dtype, images, path, legacy):
    """Save there, read here, compare."""
    theirs = theirs.to(getattr(torch, dtype))
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    ours.load_state_dict(sv.load(path), assign=dtype == "float64")  # float32 is copied in, float64 taken over
    measured = difference(torch, theirs, ours, dtype, images)
    print(f"largest difference of the logits, relative: {measured:.2e}")
    assert measured <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ALL)
def test_narrow_nets_equal_torchvisions(name, dtype, torch, tmp_path):
    config = [entry if entry == "M" else entry // 8 for entry in torchvision().models.vgg.cfgs[NETS[name.removesuffix("_bn")]]]
    batch_norm = name.endswith("_bn")
    theirs = narrow_theirs(torch, torchvision().models.vgg.make_layers(config, batch_norm), 64)
    ours = narrow_ours(models.make_layers(config, batch_norm), 64)
    images = np.random.default_rng(0).normal(size=(2, 3, 224, 224) if dtype == "float32" else (2, 3, 96, 128))
    check(torch, theirs, ours, dtype, images, tmp_path / "net.pth", legacy=batch_norm == (dtype == "float32"))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OTHERS)
def test_nets_c_and_a_lrn_equal_the_papers_table(name, dtype, torch, tmp_path):
    """At full width, so that LRN runs over its real channels, on smaller images."""
    theirs = narrow_theirs(torch, reference.features(torch, OTHERS[name], name.endswith("_bn")), 512)
    ours = narrow_ours(models.make_layers(OTHERS[name], name.endswith("_bn")), 512)
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 64))
    check(torch, theirs, ours, dtype, images, tmp_path / "net.pt", False)


def test_every_entry_of_the_file_matters(torch, tmp_path):
    """The comparison would see one wrong entry."""
    config = [8, "M", 8, "M"]
    theirs = narrow_theirs(torch, torchvision().models.vgg.make_layers(config, True), 8)
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    state = sv.load(tmp_path / "net.pth")
    images = np.random.default_rng(0).normal(size=(1, 3, 32, 32))
    for key in state:
        if not key.endswith("num_batches_tracked"):
            ours = narrow_ours(models.make_layers(config, True), 8)
            ours.load_state_dict({**state, key: state[key] * 1.05})
            assert difference(torch, theirs, ours, "float32", images) > 5 * TOLERANCE["float32"], key


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", [*ALL, *OTHERS])
def test_full_nets(name, dtype, torch, tmp_path):
    torch.manual_seed(0)
    if name in OTHERS:
        theirs = perturb(torch, reference.full(torch, OTHERS[name], name.endswith("_bn")))
    else:
        theirs = perturb(torch, getattr(torchvision().models, name)(weights=None))
    with nn.init.skip():
        ours = models.get_model(name, init_weights=False).eval()
    images = np.random.default_rng(0).normal(size=(2, 3, 224, 224))
    check(torch, theirs, ours, dtype, images, tmp_path / f"{name}.pth", legacy=name in NETS)
    (tmp_path / f"{name}.pth").unlink()  # a gigabyte
