"""shifted: filter rows joined or tap by tap, pieces of any size."""

import numpy as np
import pytest

from scratchvgg.conv import get, shifted

from .common import PROBLEMS, assert_within_bounds, backend, operands, passes

CHOSEN = ["several tiles", "5x5", "a row", "dilation", "groups", "depthwise 5x5", "asymmetric padding", "padding beyond the filter"]


@pytest.mark.parametrize("depth", [0, 1 << 20])
@pytest.mark.parametrize("fewest", [1, 50, 1 << 20])
@pytest.mark.parametrize("name", CHOSEN)
def test_any_cut_gives_the_same(monkeypatch, name, fewest, depth):
    monkeypatch.setattr(shifted, "DEPTH", depth)
    monkeypatch.setattr(shifted, "FEWEST", fewest)
    monkeypatch.setattr(shifted, "GRAIN", 0)
    g = PROBLEMS[name]
    arrays = operands(g)
    assert_within_bounds("shifted", g, passes(get("shifted"), g, *arrays), arrays, "float64")


def test_rows_are_joined_where_channels_are_few():
    assert shifted._span(PROBLEMS["5x5"]) == 5
    assert shifted._span(PROBLEMS["dilation"]) == 1


def test_pixels_between_rows_and_images_do_not_leak():
    """The outputs that nobody asked for read across borders; NaN in one image stays there."""
    g = PROBLEMS["several tiles"]
    x, w, dy, _ = operands(g)
    y, dx = get("shifted").forward(backend, g, x, w), get("shifted").grad_input(backend, g, dy, w)
    x[0], dy[0] = np.nan, np.nan
    np.testing.assert_array_equal(get("shifted").forward(backend, g, x, w)[1], y[1])
    np.testing.assert_array_equal(get("shifted").grad_input(backend, g, dy, w)[1], dx[1])
