"""ImageNet's classes in the order in which nets number them."""

from pathlib import Path

import pytest

from scratchvgg.models import categories, imagenet_categories, imagenet_wnids
from tests.torchvision_reference import torchvision


def test_a_thousand_classes():
    names, wnids = imagenet_categories(), imagenet_wnids()
    assert len(names) == len(wnids) == len(set(names)) == len(set(wnids)) == 1000
    assert wnids == sorted(wnids) and all(len(w) == 9 and w[0] == "n" and w[1:].isdecimal() for w in wnids)
    assert all(name == name.strip() and name for name in names)


@pytest.mark.parametrize(("index", "wnid", "name"), [
    (0, "n01440764", "tench"), (258, "n02111889", "Samoyed"), (134, "n02012849", "crane bird"), (517, "n03126707", "crane"),
    (638, "n03710637", "maillot"), (639, "n03710721", "maillot tank suit"), (999, "n15075141", "toilet tissue"),
])
def test_some_of_them(index, wnid, name):
    """Of the names that occur twice in ImageNet, torchvision's tell the classes apart."""
    assert (imagenet_wnids()[index], imagenet_categories()[index]) == (wnid, name)


def test_names_are_torchvisions():
    theirs = torchvision().models.VGG16_Weights.DEFAULT.meta["categories"]
    assert imagenet_categories() == theirs


def test_lists_are_the_callers_own():
    imagenet_categories().clear()
    assert len(imagenet_categories()) == 1000


def test_the_table_is_plain_text():
    path = Path(categories.__file__).with_name("imagenet.tsv")
    assert path.read_bytes().decode("ascii").endswith("\ttoilet tissue\n")
