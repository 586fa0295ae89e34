"""Which net a state dict belongs to: exact files of every net, parts, other class counts, damaged and foreign ones."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.models import matching
from scratchvgg.weights import WeightsError, layouts
from tests.torchvision_reference import torchvision

NETS = list(matching._NETS)


def blank(name, classes=10, dtype=np.float32, **options):
    """A state dict of the net's names and shapes; no array has memory of its own."""
    with nn.init.skip():
        net = models.get_model(name, num_classes=classes, **options)
    return {key: np.broadcast_to(dtype(0), tuple(value.shape)) for key, value in net.state_dict().items()}


def plain(name, **options):
    return blank(name, init_weights=False, **options)


@pytest.mark.parametrize("classes", [1000, 10, 1])
@pytest.mark.parametrize("name", NETS)
def test_every_net_is_recognised(name, classes):
    state = plain(name, classes=classes)
    best, second, *others = models.rank(state)
    assert best.exact and (best.name, best.num_classes, best.matched, best.options) == (name, classes, len(state), {})
    assert str(best) == f"{name}, {classes} classes, all {len(state)} entries match"
    assert not any(match.exact for match in (second, *others)) and len(others) == 22


@pytest.mark.parametrize("name", NETS)
def test_features_alone(name):
    features = {key: value for key, value in plain(name).items() if key.startswith("features.")}
    best = models.best_match(features)
    assert (best.name, best.num_classes, best.exact, best.features_only) == (name, None, False, True)
    assert str(best) == f"{name} without classifier, all {len(features)} entries of its features match"
    del features["features.0.bias"]
    assert not models.best_match(features).features_only


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("config", models.cfgs)
def test_nets_for_small_pictures(config, batch_norm):
    best = models.best_match(blank("cifar_vgg", config=config, batch_norm=batch_norm))
    assert best.exact and best.name == "cifar_vgg" and best.options == {"config": config, "batch_norm": batch_norm} and best.num_classes == 10
    assert str(best).startswith(f"cifar_vgg(config={config!r}, batch_norm={batch_norm}), 10 classes")


def test_torchvisions_own(torch):
    for name in NETS[:8]:
        with torch.device("meta"):
            theirs = getattr(torchvision().models, name)(num_classes=37)
        best = models.best_match(theirs.state_dict())
        assert best.exact and (best.name, best.num_classes) == (name, 37)


def test_other_layouts_and_wrapping_need_no_memory():
    state = plain("vgg16", classes=1000)
    keras = {}
    counts = iter([(1, 1), (1, 2), (2, 1), (2, 2), *((b, i) for b in (3, 4, 5) for i in (1, 2, 3))])
    for key, value in state.items():
        if key.endswith("weight"):
            layer = "block{}_conv{}".format(*next(counts)) if "features" in key else {"0": "fc1", "3": "fc2", "6": "predictions"}[key.split(".")[1]]
            keras[layer] = {"kernel": value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T}
        else:
            keras[layer]["bias"] = value
    timm = {key: value for key, value in state.items() if "classifier" not in key} | {
        key: np.broadcast_to(np.float32(0), shape) for key, shape in {
            "pre_logits.fc1.weight": (4096, 512, 7, 7), "pre_logits.fc1.bias": (4096,), "pre_logits.fc2.weight": (4096, 4096, 1, 1),
            "pre_logits.fc2.bias": (4096,), "head.fc.weight": (1000, 4096), "head.fc.bias": (1000,)}.items()}
    wrapped = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 7}
    models.best_match(state)
    for tree in (keras, timm, wrapped):
        tracemalloc.start()
        best = models.best_match(tree)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert str(best) == "vgg16, 1000 classes, all 32 entries match" and peak < 4e6


def test_damaged_and_foreign_files():
    state = plain("vgg16_bn")
    del state["features.1.running_mean"]
    state["features.0.weight"] = np.zeros((64, 1, 3, 3))
    state["more"] = np.zeros(3)
    best = models.best_match(state)
    assert best.name == "vgg16_bn" and not best.exact and not best.features_only and best.num_classes == 10
    assert (best.missing, best.unexpected, best.mismatched) == (
        ("features.1.running_mean",), ("more",), {"features.0.weight": ((64, 1, 3, 3), (64, 3, 3, 3))})
    assert str(best) == ("no net here; nearest is vgg16_bn: 95 entries match, 1 missing (features.1.running_mean), 1 unexpected (more), "
                         "1 of another shape (features.0.weight)")
    foreign = models.best_match({"conv1.weight": np.zeros((64, 3, 7, 7)), "fc.weight": np.zeros((1000, 512))})
    assert not foreign.exact and foreign.matched == 0 and str(foreign) == "no VGG: none of its names and shapes fit"
    with pytest.raises(WeightsError, match="no weights"):
        models.rank({"epoch": 3})


def test_counters_of_batch_norm_may_be_missing():
    old = {key: value for key, value in plain("vgg13_bn").items() if not key.endswith("num_batches_tracked")}
    assert models.best_match(old).exact and models.best_match(old).name == "vgg13_bn"


def test_a_wide_classifier_of_another_size_is_near():
    state = plain("vgg16") | {"classifier.0.weight": np.zeros((512, 25088), np.float16), "classifier.0.bias": np.zeros(512)}
    best = models.best_match(state)
    assert best.name == "vgg16" and set(best.mismatched) == {"classifier.0.weight", "classifier.0.bias"}


def test_pytorch_cifar():
    state = {key.replace("classifier.1", "module.classifier"): value for key, value in blank("cifar_vgg").items()}
    best = models.best_match({"net": {key if "module" in key else "module." + key: value for key, value in state.items()}})
    assert best.exact and best.name == "cifar_vgg" and best.options == {"config": "D", "batch_norm": True}
    assert layouts.find_layout(layouts.find_state_dict({"net": state})).name == "one-linear"


def test_tensors_are_taken():
    net = models.cifar_vgg("A", batch_norm=False)
    assert models.best_match(net.state_dict()).options == {"config": "A", "batch_norm": False}
    assert isinstance(net.state_dict()["features.0.weight"], sv.Tensor)
