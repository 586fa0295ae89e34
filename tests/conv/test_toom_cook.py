"""The matrices of minimal filtering compute correlations and their gradients."""

from fractions import Fraction

import numpy as np
import pytest

from scratchvgg.conv.toom_cook import matrices

SETS = [
    (2, 3, (0, 1, -1)),
    (3, 2, (0, 1, -1)),
    (4, 3, (0, 1, -1, 2, -2)),
    (4, 3, (0, Fraction(181, 256), Fraction(-181, 256), Fraction(181, 128), Fraction(-181, 128))),
    (6, 3, (0, 1, -1, 2, -2, "1/2", "-1/2")),
    (2, 5, (0, 1, -1, 2, -2)),
]


@pytest.mark.parametrize(("m", "r", "points"), SETS)
def test_correlation_and_both_gradients(m, r, points):
    at, g, bt = matrices(m, r, points)
    assert at.shape == (m, m + r - 1) and g.shape == (m + r - 1, r) and bt.shape == (m + r - 1, m + r - 1)
    rng = np.random.default_rng(0)
    d, w, dy = rng.standard_normal(m + r - 1), rng.standard_normal(r), rng.standard_normal(m)
    np.testing.assert_allclose(at @ ((g @ w) * (bt @ d)), np.correlate(d, w, "valid"), atol=1e-12)
    np.testing.assert_allclose(g.T @ ((at.T @ dy) * (bt @ d)), np.correlate(d, dy, "valid"), atol=1e-12)
    np.testing.assert_allclose(bt.T @ ((g @ w) * (at.T @ dy)), np.convolve(dy, w), atol=1e-12)


def test_known_matrices():
    """F(2, 3) of Winograd (1980), up to the factors that move between G and Bᵀ."""
    at, g, bt = matrices(2, 3, (0, 1, -1))
    np.testing.assert_array_equal(at, [[1, 1, 1, 0], [0, 1, -1, 1]])
    np.testing.assert_array_equal(g, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(bt, [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])


@pytest.mark.parametrize("points", [(0, 1), (0, 1, 1), (0, 1, -1, 2)])
def test_wrong_points(points):
    with pytest.raises(ValueError, match=r"F\(2, 3\) needs 3 different points"):
        matrices(2, 3, points)
