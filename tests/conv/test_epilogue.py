"""What follows a convolution, fused or not: the result equals convolution, scale, bias, ReLU and pooling one after the other."""

import numpy as np
import pytest

from scratchvgg.conv import PLAIN, Epilogue, Problem, algorithms, convolve, get

from .common import FAST, LAYOUTS, ONE, backend, operands, supported

PROBLEMS = {
    "even": Problem(2, 3, 8, 10, 4, 3, 3, (1, 1), ONE),
    "odd": Problem(2, 3, 7, 9, 5, 3, 3, (1, 1), ONE),
    "several tiles": Problem(2, 8, 33, 35, 16, 3, 3, (1, 1), ONE),
    "small": Problem(5, 4, 4, 4, 8, 3, 3, (1, 1), ONE),
    "1x1": Problem(2, 6, 21, 5, 8, 1, 1),
    "1x1 padded": Problem(2, 4, 4, 5, 6, 1, 1, (1, 1), ONE, (1, 1), 2),
    "5x5": Problem(1, 3, 11, 13, 4, 5, 5, (1, 1), ((2, 2), (2, 2))),
    "groups": Problem(2, 4, 9, 9, 8, 3, 3, (1, 1), ONE, (1, 1), 4),
    "strided": Problem(2, 3, 11, 12, 4, 3, 3, (2, 2), ONE),
}
CASES = supported(algorithms=FAST, problems=PROBLEMS, dtypes=["float64", "float32"])
CHOICES = [{"relu": True}, {"pool": True}, {"relu": True, "pool": True}, {"scale": True}, {"scale": True, "relu": True, "pool": True}]


def after(y, scale, bias, relu, pool):
    """scale·y + bias, ReLU, 2×2 max-pool and the winners, by the book."""
    if scale is not None:
        y = y * scale[:, None, None]
    if bias is not None:
        y = y + bias[:, None, None]
    if pool:
        n, k, p, q = y.shape
        windows = y[:, :, : p // 2 * 2, : q // 2 * 2].reshape(n, k, p // 2, 2, q // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, k, p // 2, q // 2, 4)
        winners, y = windows.argmax(-1), windows.max(-1)
        return np.maximum(y, 0) if relu else y, winners
    return np.maximum(y, 0) if relu else y, None


@pytest.mark.parametrize("algorithm, name, dtype", CASES)
def test_equals_the_steps_one_by_one(algorithm, name, dtype):
    g = PROBLEMS[name]
    x, w, _, bias = operands(g, dtype)
    scale = np.linspace(-1, 2, g.K).astype(dtype)
    plain = get(algorithm).forward(backend, g, x, w)
    tolerance = 4 * get(algorithm).error_bound(g, dtype) * np.abs(w).sum(axis=(1, 2, 3)).max() * np.abs(x).max()
    for choice in CHOICES:
        for b in (bias, None):
            options = {**choice, "scale": scale} if choice.get("scale") else choice
            wanted, _ = after(plain, options.get("scale"), b, options.get("relu"), options.get("pool"))
            got = convolve(get(algorithm), backend, g, x, w, b, None, Epilogue(**options))
            assert got.shape == wanted.shape == Epilogue(**options).shape(g)
            assert got.dtype == np.dtype(dtype)
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)
            for arrange in LAYOUTS.values():
                out = arrange(np.full(wanted.shape, np.nan, dtype))
                assert convolve(get(algorithm), backend, g, x, w, b, out, Epilogue(**options)) is out
                np.testing.assert_array_equal(out, got)


@pytest.mark.parametrize("algorithm, name, dtype", CASES)
def test_winners(algorithm, name, dtype):
    """Where no two of a window are close, the winner is the place of the largest."""
    g = PROBLEMS[name]
    x, w, _, bias = operands(g, dtype, 1)
    y = get(algorithm).forward(backend, g, x, w, bias)
    wanted, places = after(y, None, None, True, True)
    winners = np.full(wanted.shape, 9, np.uint8)
    got = convolve(get(algorithm), backend, g, x, w, bias, None, Epilogue(relu=True, pool=True, winners=winners))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)
    n, k, p, q = wanted.shape
    windows = y[:, :, : 2 * p, : 2 * q].reshape(n, k, p, 2, q, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, k, p, q, 4)
    two = np.sort(windows, axis=-1)[..., -2:]
    clear = two[..., 1] - two[..., 0] > 1e-3
    assert clear.mean() > 0.3  # padding sees only the bias: many ties there
    np.testing.assert_array_equal(winners[clear], places[clear])


@pytest.mark.parametrize("algorithm, name, dtype", CASES)
def test_ties_go_to_the_first(algorithm, name, dtype):
    """A filter of zeros: every output is the bias, and every window a tie."""
    g = PROBLEMS[name]
    x, w, _, _ = operands(g, dtype)
    winners = np.full(Epilogue(pool=True).shape(g), 9, np.uint8)
    bias = np.arange(g.K).astype(dtype) - 1
    got = convolve(get(algorithm), backend, g, x, np.zeros_like(w), bias, None, Epilogue(relu=True, pool=True, winners=winners))
    np.testing.assert_array_equal(got, np.broadcast_to(np.maximum(bias, 0)[:, None, None], got.shape))
    assert not winners.any()


@pytest.mark.parametrize("algorithm, name, dtype", CASES)
def test_nan_comes_through(algorithm, name, dtype):
    """A NaN pixel makes NaN wherever it is seen, through ReLU and pooling; other images stay clean."""
    g = PROBLEMS[name]
    x, w, _, bias = operands(g, dtype)
    x[0, :, g.H // 2, g.W // 2] = np.nan
    winners = np.zeros(Epilogue(pool=True).shape(g), np.uint8)
    direct = get("im2col").forward(backend, g, x, w, bias)
    wanted, _ = after(direct, None, None, True, True)
    got = convolve(get(algorithm), backend, g, x, w, bias, None, Epilogue(relu=True, pool=True, winners=winners))
    assert np.isnan(got)[np.isnan(wanted)].all()
    assert not np.isnan(got[1:]).any()
    n, k, p, q = wanted.shape
    windows = np.isnan(direct)[:, :, : 2 * p, : 2 * q].reshape(n, k, p, 2, q, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, k, p, q, 4)
    lone = windows.sum(-1) == 1
    if algorithm in ("im2col", "shifted", "gemm_1x1"):  # the others spread a NaN over its tile
        np.testing.assert_array_equal(winners[lone], windows.argmax(-1)[lone])


@pytest.mark.parametrize("algorithm, name, dtype", supported(algorithms=FAST, problems=PROBLEMS, dtypes=["float16"]))
def test_float16(algorithm, name, dtype):
    g = PROBLEMS[name]
    x, w, _, bias = operands(g, dtype)
    wanted, _ = after(get(algorithm).forward(backend, g, x, w).astype(np.float64), None, bias.astype(np.float64), True, True)
    winners = np.zeros(wanted.shape, np.uint8)
    got = convolve(get(algorithm), backend, g, x, w, bias, None, Epilogue(relu=True, pool=True, winners=winners))
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, wanted, rtol=0, atol=4e-3 * max(1, np.abs(wanted).max(initial=0)))


def test_the_plain_one_does_nothing():
    assert PLAIN.trivial and Epilogue().trivial and not Epilogue(relu=True).trivial
    assert any(a.fuses for a in algorithms().values())


@pytest.mark.parametrize("algorithm, name, dtype", CASES)
def test_prepared_filters_change_nothing(algorithm, name, dtype):
    g, a = PROBLEMS[name], get(algorithm)
    x, w, _, bias = operands(g, dtype)
    prepared = a.prepare(backend, g, w)
    assert (prepared is not None) == a.prepares
    for epilogue in (PLAIN, Epilogue(relu=True, pool=True)):
        without = convolve(a, backend, g, x, w, bias, None, epilogue)
        kept = convolve(a, backend, g, x, w, bias, None, epilogue, prepared)
        np.testing.assert_array_equal(kept, without)
        np.testing.assert_array_equal(convolve(a, backend, g, x, w, bias, None, epilogue, prepared), kept)


@pytest.mark.parametrize("algorithm", [name for name, a in algorithms().items() if a.prepares])
def test_what_is_prepared_fits_every_problem_with_its_key(algorithm):
    """Problems with one ``filter_key`` share one prepared filter."""
    a = get(algorithm)
    keys = {}
    w = operands(PROBLEMS["even"], "float32")[1][:, :3]
    for n, height, width in ((1, 8, 10), (3, 8, 10), (2, 16, 16), (1, 5, 40)):
        g = Problem(n, 3, height, width, 4, 3, 3, (1, 1), ONE)
        x = operands(g, "float32")[0]
        prepared = keys.setdefault(a.filter_key(g), a.prepare(backend, g, w))
        np.testing.assert_array_equal(a.forward(backend, g, x, w, prepared=prepared), a.forward(backend, g, x, w))
    assert 1 <= len(keys) <= 4
