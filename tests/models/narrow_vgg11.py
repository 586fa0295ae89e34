"""VGG-11 with a handful of channels under its own name, and an entry of pretrained weights for it: what a download brings takes no time."""

from __future__ import annotations

import functools
import hashlib
from contextlib import contextmanager

import pytest

import scratchvgg as sv
from scratchvgg import hub, nn
from scratchvgg.data.presets import ImageClassification
from scratchvgg.models import matching, pretrained, vgg

CONFIG = [4, "M", 4, "M", 6, 6, "M", 6, 6, "M", 6, 6, "M"]


def _classifier(num_classes, dropout):
    return nn.Sequential(
        nn.Linear(6 * 49, 16), nn.ReLU(True), nn.Dropout(p=dropout),
        nn.Linear(16, 16), nn.ReLU(True), nn.Dropout(p=dropout),
        nn.Linear(16, num_classes),
    )


@contextmanager
def narrow():
    """Inside, nets A and B are narrow."""
    with pytest.MonkeyPatch.context() as patch:
        for letter in ("A", "B"):
            patch.setitem(vgg.cfgs, letter, CONFIG if letter == "A" else [4, *CONFIG])
        patch.setattr(vgg, "_classifier", _classifier)
        matching._shapes.cache_clear()
        yield patch
    matching._shapes.cache_clear()


def state(num_classes=1000, seed=1) -> dict:
    """Weights of the narrow net."""
    sv.manual_seed(seed)
    return vgg.vgg11(num_classes=num_classes).state_dict()


def enter(patch, content: bytes):
    """Make ``content`` the file of VGG-11's only entry. Returns (the entries' class, the file's name)."""
    file = f"vgg11-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    meta = pretrained.VGG11_Weights.IMAGENET1K_V1.meta | {"_file_size": len(content) / (1 << 20)}
    entry = pretrained.Weights(f"{hub.ORIGIN}/{file}", functools.partial(ImageClassification, crop_size=64, resize_size=72), meta)
    cls = pretrained.WeightsEnum("VGG11_Weights", {"IMAGENET1K_V1": entry, "DEFAULT": entry})
    patch.setitem(pretrained.PRETRAINED, "vgg11", cls)
    return cls, file


def build_in_process(content: bytes, home: str, mirror: str, barrier=None) -> None:
    """What a second process does: the net with the entry's weights, from the server at ``mirror``."""
    with narrow() as patch:
        patch.setenv("SCRATCHVGG_HOME", home)
        patch.setenv("SCRATCHVGG_MIRROR", mirror)
        enter(patch, content)
        if barrier is not None:
            barrier.wait(60)
        vgg.vgg11(weights="DEFAULT", progress=False)
