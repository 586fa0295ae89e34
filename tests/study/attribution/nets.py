"""One narrow VGG twice: ours, and torchvision's class with torch's layers and the same weights."""

import numpy as np

import scratchvgg as sv
from scratchvgg import models
from tests.models.test_agreement import narrow_ours, narrow_theirs
from tests.torchvision_reference import torchvision

NETS = {"vgg11": ("A", False), "vgg11_bn": ("A", True), "vgg16": ("D", False)}


def pair(torch, name, dtype):
    """(ours, theirs), in evaluation mode."""
    config, batch_norm = NETS[name]
    narrow = [entry if entry == "M" else entry // 8 for entry in models.vgg.cfgs[config]]
    torch.manual_seed(0)
    theirs = narrow_theirs(torch, torchvision().models.vgg.make_layers(narrow, batch_norm), 64).to(getattr(torch, dtype))
    ours = narrow_ours(models.make_layers(narrow, batch_norm), 64).to(getattr(sv, dtype))
    ours.load_state_dict({key: sv.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    return ours, theirs


def picture(side=32, seed=0, dtype="float64"):
    """(1, 3, side, side): smooth shapes and noise, so that neighbouring pixels belong together."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(1, 3, 8, 8)).repeat(side // 8, 2).repeat(side // 8, 3)
    return (coarse + 0.3 * random.normal(size=(1, 3, side, side))).astype(dtype)
