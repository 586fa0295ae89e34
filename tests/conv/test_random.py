"""Problems that hypothesis draws, every field of them: all algorithms that take one agree with the twin in all passes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.conv import Problem, algorithms, get
from scratchvgg.conv.problems import problems

from .common import DTYPES, LAYOUTS, assert_within_bounds, operands, passes


@given(problems(), st.sampled_from(DTYPES), st.sampled_from(sorted(LAYOUTS)), st.integers(0, 99))
def test_all_algorithms_agree(g, dtype, layout, seed):
    arrays = operands(g, dtype, seed)
    x, w, dy = (LAYOUTS[layout](a) for a in arrays[:3])
    for name, algorithm in algorithms().items():
        if algorithm.supports(g, dtype):
            assert_within_bounds(name, g, passes(algorithm, g, x, w, dy, arrays[3]), arrays, dtype)


@given(st.integers(1, 2), st.integers(1, 6), st.tuples(st.integers(1, 14), st.integers(1, 14)), st.integers(1, 6),
       st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2), st.integers(0, 99))  # fmt: skip
def test_3x3_filters(n, c, size, k, padding, seed):
    """VGG's filters get draws of their own: any size and padding of at most 2 a side."""
    height, width = (max(side, 3 - sum(around)) for side, around in zip(size, padding, strict=True))
    g = Problem(n, c, height, width, k, 3, 3, (1, 1), padding)
    arrays = operands(g, "float32", seed)
    for name, algorithm in algorithms().items():
        if algorithm.supports(g, "float32") and name != "direct":
            assert_within_bounds(name, g, passes(algorithm, g, *arrays), arrays, "float32")


def test_the_draws_are_varied():
    """The strategy reaches strides, dilations, groups, uneven paddings, several images and every algorithm."""
    drawn = []

    @given(problems())
    def collect(g):
        drawn.append(g)

    collect()
    assert any(max(g.stride) > 1 for g in drawn) and any(max(g.dilation) > 1 for g in drawn) and any(g.groups > 1 for g in drawn)
    assert any(len(set(g.padding[0] + g.padding[1])) > 1 for g in drawn) and any(g.N > 1 for g in drawn)
    assert all(min(g.P, g.Q) >= 1 for g in drawn)
    for name in ("im2col", "shifted", "fft", "direct"):
        assert any(get(name).supports(g, np.float32) for g in drawn), name
