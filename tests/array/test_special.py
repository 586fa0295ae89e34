"""erf against the C library's."""

import math

import numpy as np
import pytest

from scratchvgg.array.special import erf

POINTS = np.concatenate([np.linspace(-7, 7, 20_001), np.linspace(-0.6, 0.6, 5001), [0.0, 0.5, -0.5, 4.0, -4.0, 1e-300, 30.0]])


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-15), (np.float32, 2e-7), (np.float16, 6e-4)])
def test_error(dtype, bound):
    x = POINTS.astype(dtype)
    out = erf(x)
    assert out.dtype == dtype
    assert np.abs(out.astype(np.float64) - [math.erf(v) for v in x]).max() < bound


def test_relative_error_near_0():
    x = np.geomspace(1e-30, 0.5, 1000)
    exact = np.array([math.erf(v) for v in x])
    assert (np.abs(erf(x) - exact) / exact).max() < 1e-15


def test_ends_and_sign():
    out = erf(np.array([np.inf, -np.inf, np.nan, -0.0]))
    assert out[0] == 1 and out[1] == -1 and np.isnan(out[2]) and np.signbit(out[3]) and out[3] == 0


def test_any_strides_and_many_tiles():
    x = np.random.default_rng(0).normal(size=(40, 30, 50))
    exact = np.vectorize(math.erf)(x)
    for view in (lambda a: a, lambda a: a.transpose(2, 0, 1), lambda a: a[::-2, :, ::3]):
        np.testing.assert_allclose(erf(view(x)), view(exact), rtol=0, atol=1e-15)
    assert erf(np.zeros((0, 3))).shape == (0, 3) and erf(np.array(0.5)).shape == ()
