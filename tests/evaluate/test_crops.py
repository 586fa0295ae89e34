"""Places of crops against torchvision's transforms and plain arithmetic; coinciding crops counted, not repeated."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scratchvgg.data.images import center_crop, five_crop, ten_crop, to_array
from scratchvgg.evaluate.crops import LAYOUTS, View, cut, grid, positions, views
from tests.torchvision_reference import torchvision

SIDES = st.integers(1, 60)


def image(height, width):
    """Every pixel different from its neighbours in some channel."""
    return np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8)


def picture(array):
    return Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))


def crops(layout, array, size, flip=True):
    """All crops in order, repeated as often as their weights say."""
    chosen = views(layout, *array.shape[1:], size, flip)
    return [crop for view, crop in zip(chosen, cut(array, chosen, size), strict=True) for _ in range(view.weight)]


@given(length=SIDES, size=SIDES, count=st.integers(2, 7))
def test_positions(length, size, count):
    if size > length:
        with pytest.raises(ValueError, match=f"at most {length} pixels, got {count} of {size}"):
            positions(length, size, count)
        return
    found = positions(length, size, count)
    assert found == [floor(Fraction(i * (length - size), count - 1) + Fraction(1, 2)) for i in range(count)]
    assert found[0] == 0 and found[-1] == length - size and found == sorted(found)
    steps = np.diff(found)
    assert steps.max() - steps.min() <= 1


def test_known_positions():
    assert positions(256, 224) == [0, 8, 16, 24, 32]
    assert positions(384, 224) == [0, 40, 80, 120, 160]
    assert positions(226, 224) == [0, 1, 1, 2, 2]
    assert positions(10, 4, 1) == [3]
    with pytest.raises(ValueError, match="at least one crop"):
        positions(10, 4, 0)


@given(height=SIDES, width=SIDES, size=SIDES)
def test_single_crops_are_those_of_pictures(height, width, size):
    array = image(height, width)
    if size > min(height, width):
        with pytest.raises(ValueError, match=f"{size}x{size} pixels does not fit a picture of {height}x{width}"):
            views("five", height, width, size)
        return
    whole = picture(array)
    for layout, expected in (("center", [center_crop(whole, size)]), ("five", five_crop(whole, size)), ("ten", ten_crop(whole, size))):
        found = sorted(c.tobytes() for c in crops(layout, array, size))
        assert found == sorted(to_array(e).tobytes() for e in expected)


@given(height=SIDES, width=SIDES, size=SIDES)
def test_places_are_torchvisions(height, width, size):
    """In its order too."""
    if size > min(height, width):
        return
    functional, array = torchvision().transforms.functional, image(height, width)
    mirrored = lambda crop, view: crop[..., ::-1] if view.mirrored else crop
    for layout, expected in (("five", functional.five_crop(picture(array), size)), ("ten", functional.ten_crop(picture(array), size))):
        chosen = LAYOUTS[layout](height, width, size)
        for view, crop in zip(chosen, expected, strict=True):
            assert view.weight == 1
            np.testing.assert_array_equal(mirrored(array[:, view.top : view.top + size, view.left : view.left + size], view), to_array(crop))


@given(height=SIDES, width=SIDES, size=SIDES, flip=st.booleans(), layout=st.sampled_from(list(LAYOUTS)))
def test_coinciding_crops_are_one_view(height, width, size, flip, layout):
    if size > min(height, width):
        return
    chosen, every = views(layout, height, width, size, flip), LAYOUTS[layout](height, width, size, flip)
    assert len({view[:3] for view in chosen}) == len(chosen)
    assert sorted(view[:3] for view in chosen for _ in range(view.weight)) == sorted(view[:3] for view in every)
    assert all(0 <= v.top <= height - size and 0 <= v.left <= width - size for v in chosen)


def test_the_grid():
    assert len(grid(256, 341, 224)) == 50 and len(grid(256, 341, 224, flip=False)) == 25
    assert views("multicrop", 224, 224, 224) == [View(0, 0, False, 25), View(0, 0, True, 25)]
    assert len(views("multicrop", 224, 298, 224)) == 10 and {view.weight for view in views("multicrop", 224, 298, 224)} == {5}
    for a, b in zip(sorted(grid(256, 341, 224)), sorted(v._replace(top=v.left, left=v.top) for v in grid(341, 256, 224)), strict=True):
        assert a == b


def test_cut_does_not_copy():
    array = image(9, 11)
    found = crops("multicrop", array, 7)
    assert len(found) == 50 and all(np.shares_memory(crop, array) for crop in found)
    np.testing.assert_array_equal(found[25 + 1], array[:, 0:7, 1:8][..., ::-1])
