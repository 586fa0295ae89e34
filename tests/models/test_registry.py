"""Nets by name, as torchvision lists them."""

import types

import pytest

import scratchvgg.models
from scratchvgg import models
from scratchvgg.models.registry import register_model
from tests.torchvision_reference import torchvision


@pytest.mark.parametrize("options", [
    {"include": "vgg1*"}, {"include": ["vgg11*", "vgg19"]}, {"include": "vgg1*", "exclude": "*_bn"},
    {"include": "vgg1*", "exclude": ["*1", "vgg13*"]},
    {"include": "resnet99*"}, {"include": ["vgg16"], "exclude": []},
])
def test_lists_are_torchvisions(options):
    theirs = torchvision().models
    assert models.list_models(scratchvgg.models, **options) == theirs.list_models(theirs, **options)


def test_without_patterns_all_are_listed():
    assert models.list_models() == models.list_models(scratchvgg.models) == sorted(models.list_models()) == models.list_models(include=[])
    assert models.list_models(exclude="vgg*") == [name for name in models.list_models() if not name.startswith("vgg")]
    assert models.list_models(types.ModuleType("elsewhere")) == []


def test_a_name_is_registered_once():
    def vgg16():
        """Another."""

    with pytest.raises(ValueError, match="'vgg16' is registered already"):
        register_model(vgg16)


def test_the_side_of_a_nets_images():
    assert {name: models.usual_side(name) for name in ("vgg16", "vgg_c", "cifar_vgg", "small_vgg", "fast_vgg", "paper_vgg", "unknown")} == {
        "vgg16": 224, "vgg_c": 224, "cifar_vgg": 32, "small_vgg": 32, "fast_vgg": 32, "paper_vgg": 32, "unknown": 224}
