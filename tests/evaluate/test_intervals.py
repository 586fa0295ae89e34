"""Wilson's interval against published values and the equation it solves."""

from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.evaluate import wilson


@pytest.mark.parametrize(("k", "n", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])  # fmt: skip
def test_published_values(k, n, low, high):
    """R. G. Newcombe, Statistics in Medicine 17, 1998, p. 857, Table I, method 3."""
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 50_000), share=st.floats(0, 1), level=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_its_ends_are_as_far_from_the_rate_as_the_test_allows(n, share, level):
    """|p̂ − p| = z √(p (1 − p) / n)."""
    k, z = round(share * n), NormalDist().inv_cdf((1 + level) / 2)
    low, high = wilson(k, n, level)
    assert 0 <= low <= k / n <= high <= 1 and low < high
    for end in (low, high):
        assert abs(k / n - end) == pytest.approx(z * (end * (1 - end) / n) ** 0.5, abs=1e-9)
    mirrored = wilson(n - k, n, level)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)


def test_the_ends():
    assert wilson(0, 0) == (0, 1) and wilson(0, 7)[0] == 0 and wilson(7, 7)[1] == 1


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 0), (1, 3, 1), (1, 3, 95)])
def test_bad_input(k, n, level):
    with pytest.raises(ValueError, match="0 <= k <= n and 0 < level < 1"):
        wilson(k, n, level)
