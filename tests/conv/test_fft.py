"""The transforms of ``dft.py`` against NumPy's, and how ``fft.py`` cuts and caps its work."""

import numpy as np
import pytest

from scratchvgg.conv import Epilogue, Problem, convolve, dft, fft, get

from .common import ONE, TWO, assert_within_bounds, backend, operands, passes

SIZES = [(1, 1), (3, 3), (2, 5), (4, 4), (5, 8), (7, 16), (16, 16), (11, 13), (24, 38)]
"""(pixels, tile)."""


@pytest.mark.parametrize("pixels, n", SIZES)
def test_the_real_transform_is_numpys(pixels, n):
    x = np.random.default_rng(0).standard_normal((pixels, 3))
    got = (dft.real(pixels, n) @ x).reshape(n // 2 + 1, 2, 3)
    wanted = np.fft.rfft(x, n, axis=0)
    np.testing.assert_allclose(got[:, 0] + 1j * got[:, 1], wanted, atol=1e-13)
    np.testing.assert_allclose(dft.real_inverse(pixels, n) @ got.reshape(-1, 3), x, atol=1e-13)


@pytest.mark.parametrize("pixels, n", SIZES)
def test_three_products_correlate_complex_numbers(pixels, n):
    """y[p] = Σ x[p + q] w*[q] for the outputs that do not wrap around."""
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal((2, length)) for length in (n, pixels))
    products = (dft.factors(n, n, False) @ x.ravel()) * (dft.factors(pixels, n, True) @ w.ravel())
    outputs = n - pixels + 1
    real, imaginary = (dft.complex_inverse(outputs, n) @ products).reshape(2, outputs)
    x, w = x[0] + 1j * x[1], w[0] + 1j * w[1]
    wanted = [np.sum(x[p : p + pixels] * w.conj()) for p in range(outputs)]
    np.testing.assert_allclose(real + 1j * imaginary, wanted, atol=1e-12)


def test_large_angles_lose_no_digit():
    """The matrices are exact to the last digits where sine and cosine are 0 and ±1."""
    matrix = dft.real(36, 36).reshape(19, 2, 36)
    assert np.abs(matrix[9, 0, 1::2]).max() < 1e-14  # cos of odd multiples of 90°
    np.testing.assert_allclose(matrix[18, 0], np.resize([1, -1], 36), atol=1e-14)


@pytest.mark.parametrize("which", ["forward", "grad_input", "grad_weight"])
@pytest.mark.parametrize("size, taps", [((27, 27), 5), ((56, 31), 7), ((1, 1), 3), ((224, 224), 11), ((13, 200), 24)])
def test_a_plan_covers_the_output(which, size, taps):
    g = Problem(2, 16, *size, 32, taps, taps, (1, 1), ((taps // 2, taps // 2), (taps - 1, taps - 1)))
    p = fft.plan(g, which)
    g = g.transposed() if which == "grad_input" else g
    assert (p.down - 1) * p.th < g.P <= p.down * p.th
    assert (p.across - 1) * p.tw < g.Q <= p.across * p.tw
    assert p.a == p.th + taps - 1 <= fft.LARGEST and p.b == p.tw + taps - 1 <= fft.LARGEST
    assert p.down == 1 or p.th % 2 == 0 or p.th * (p.down - 1) < g.P


@pytest.mark.parametrize("cap, filters", [(1, 1), (1 << 14, 1 << 30), (1 << 30, 1)])
@pytest.mark.parametrize("groups", [1, 2, 40])
def test_caps_change_nothing(monkeypatch, cap, filters, groups):
    """Chunks of a few tiles, blocks of 16 output channels: the same results, also fused and prepared."""
    g = Problem(2, 40, 17, 15, 40, 5, 5, (1, 1), TWO, (1, 1), groups)
    arrays = operands(g)
    epilogue = {"scale": np.linspace(1, 2, 40), "relu": True, "pool": True}
    whole = convolve(get("fft"), backend, g, arrays[0], arrays[1], arrays[3], None, Epilogue(**epilogue))
    monkeypatch.setattr(fft, "CAP", cap)
    monkeypatch.setattr(fft, "FILTERS", filters)
    assert groups > 1 or filters > 1 or len(fft._blocks(g, fft.plan(g, "forward"), np.dtype("float64"))) == 3
    assert_within_bounds("fft", g, passes(get("fft"), g, *arrays), arrays, "float64")
    winners = np.full(whole.shape, 9, np.uint8)
    prepared = get("fft").prepare(backend, g, arrays[1])
    for options in ({}, {"prepared": prepared}):
        got = convolve(get("fft"), backend, g, arrays[0], arrays[1], arrays[3], None, Epilogue(**epilogue, winners=winners), **options)
        np.testing.assert_allclose(got, whole, atol=1e-12)
        assert winners.max() == 3


def test_memory_is_capped():
    """VGG-16's first fully connected layer over a large image: 4096 filters of 7×7×512 would take 3.4 GiB of frequencies."""
    g = Problem(8, 512, 16, 16, 4096, 7, 7)
    for which in ("forward", "grad_input", "grad_weight"):
        assert get("fft").workspace(g, "float32", which) < 200 << 20
    w = np.broadcast_to(np.float32(0), g.w_shape)
    assert get("fft").prepare(backend, g, w) is None


def test_work_shrinks_with_the_filter():
    """Operations a product of the direct sum: fewer and fewer as the filter grows."""
    shares = []
    for taps in (3, 5, 7, 11):
        g = Problem(8, 64, 56, 56, 64, taps, taps, (1, 1), ((taps // 2, taps // 2),) * 2)
        shares.append([get("fft").operations(g, which) / (2 * g.macs) for which in ("forward", "grad_input", "grad_weight")])
    assert np.all(np.diff(shares, axis=0) < 0) and np.max(shares[-1]) < 0.1


def test_images_do_not_mix():
    g = Problem(3, 2, 9, 9, 2, 3, 3, (1, 1), ONE)
    x, w, _, _ = operands(g, "float32")
    y = get("fft").forward(backend, g, x, w)
    x[1] = np.inf
    with backend.quiet():
        changed = get("fft").forward(backend, g, x, w)
    np.testing.assert_array_equal(changed[[0, 2]], y[[0, 2]])
    assert not np.isfinite(changed[1]).any()
