"""Where crops lie in a picture: centre, five, ten, and the paper's regular grid.

A view is (top, left, mirrored, weight): the square that begins there, exchanged left and right or not, and how many crops it stands for.
Positions count pixels from the upper left corner. Centre, five and ten round as torchvision's transforms do, the grid to the nearest pixel
(halves up), so that it is the same for a picture and its transpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

GRID = 5
"""Crops along a side of the paper's grid (§3.2): 5 · 5 · 2 flips = 50 a scale."""


class View(NamedTuple):
    """One crop: its upper left corner in pixels, whether it is mirrored, and how many equal crops it stands for."""

    top: int
    left: int
    mirrored: bool
    weight: int


def positions(length: int, size: int, count: int = GRID) -> list[int]:
    """``count`` starts of crops of ``size`` pixels along ``length``, evenly spaced, the first at one border and the last at the other.

    Start i is ⌊i · (length − size) / (count − 1) + ½⌋; a single one lies in the middle.

    Raises:
        ValueError: if the crop does not fit, or there is none.
    """
    if count < 1 or not 1 <= size <= length:
        raise ValueError(f"positions: expected at least one crop of at most {length} pixels, got {count} of {size}")
    room, steps = length - size, count - 1
    return [(2 * i * room + steps) // (2 * steps) for i in range(count)] if steps else [room // 2]


def center(height: int, width: int, size: int, flip: bool = True) -> list[View]:
    """The crop in the middle; ``flip`` is of no effect."""
    return [View(_middle(height, size), _middle(width, size), False, 1)]


def five(height: int, width: int, size: int, flip: bool = True) -> list[View]:
    """The four corners and the centre, in torchvision's order; ``flip`` is of no effect."""
    bottom, right = height - size, width - size
    return [View(top, left, False, 1) for top in (0, bottom) for left in (0, right)] + center(height, width, size)


def ten(height: int, width: int, size: int, flip: bool = True) -> list[View]:
    """The five crops of the picture and of its mirror image, in torchvision's order; ``flip`` is of no effect.

    Where the centre falls between pixels, the two central crops are not each other's mirror image.
    """
    crops = five(height, width, size)
    return crops + [view._replace(left=width - size - view.left, mirrored=True) for view in crops]


def grid(height: int, width: int, size: int, flip: bool = True) -> list[View]:
    """The paper's regular grid of 5×5 crops, with the mirror image of each if ``flip``."""
    return [View(top, left, mirrored, 1) for mirrored in (False, True)[: 1 + flip]
            for top in positions(height, size) for left in positions(width, size)]  # fmt: skip


LAYOUTS: dict[str, Callable] = {"center": center, "five": five, "ten": ten, "multicrop": grid}


def views(layout: str, height: int, width: int, size: int, flip: bool = True) -> list[View]:
    """The crops of a protocol in a picture of ``height`` × ``width``; those that coincide are one view with their number as its weight.

    Raises:
        ValueError: if a crop of ``size`` pixels does not fit the picture.
    """
    if min(height, width) < size:
        raise ValueError(f"a crop of {size}x{size} pixels does not fit a picture of {height}x{width}: take a larger scale or a smaller crop")
    counts = Counter(view[:3] for view in LAYOUTS[layout](height, width, size, flip))
    return [View(*place, weight) for place, weight in counts.items()]


def cut(image: np.ndarray, chosen: list[View], size: int) -> Iterator[np.ndarray]:
    """The ``chosen`` crops of an image (C, H, W) as arrays (C, size, size), without copying."""
    for top, left, mirrored, _ in chosen:
        crop = image[:, top : top + size, left : left + size]
        yield crop[..., ::-1] if mirrored else crop


def _middle(length, size):
    """torchvision's ``int(round((length − size) / 2))``: halves to the even number."""
    return round((length - size) / 2)
