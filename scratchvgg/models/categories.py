"""The 1000 classes of ImageNet (ILSVRC 2012), in the order in which nets number them: sorted by WordNet id.

``imagenet.tsv`` holds a line for each, its WordNet id and its name. The names are those of torchvision's weights
(``VGG16_Weights.IMAGENET1K_V1.meta["categories"]``, torchvision 0.28): all different, so a name tells the class.
"""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def _classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of each class."""
    lines = Path(__file__).with_name("imagenet.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split("\t")) for line in lines)


def imagenet_categories() -> list[str]:
    """The names, by class number: ``["tench", "goldfish", …]``."""
    return [name for _, name in _classes()]


def imagenet_wnids() -> list[str]:
    """The WordNet ids, by class number: ``["n01440764", …]``, the folders' names in ImageNet's archives."""
    return [wnid for wnid, _ in _classes()]
