"""What is particular to Winograd: its ways of cutting the work, its error, what it declares."""

import numpy as np
import pytest

from scratchvgg.array import CPU, get_backend
from scratchvgg.conv import Problem, algorithms, blocks, get, winograd
from scratchvgg.conv.winograd_tiles import TILES, Tiling

backend = get_backend(CPU)
ONE = ((1, 1), (1, 1))
NAMES = ["winograd2x2", "winograd4x4"]


def operands(g, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in (g.x_shape, g.w_shape, g.y_shape)]


def passes(algorithm, g, x, w, dy):
    return algorithm.forward(backend, g, x, w), algorithm.grad_input(backend, g, dy, w), algorithm.grad_weight(backend, g, dy, x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("g", [Problem(3, 5, 14, 14, 6, 3, 3, (1, 1), ONE), Problem(1, 2, 6, 700, 3, 3, 3, (1, 1), ((0, 2), (2, 1)))])
def test_every_way_of_cutting_gives_the_same(monkeypatch, name, g):
    wanted = passes(get("im2col"), g, *operands(g))
    for few, sums, batch in ((0, 0, 0), (0, 1 << 40, 0), (10**9, 0, 1 << 40), (10**9, 0, 5000)):
        monkeypatch.setattr(winograd, "FEW", few)
        monkeypatch.setattr(winograd, "SUMS", sums)
        monkeypatch.setattr(winograd, "BATCH", batch)
        for got, right in zip(passes(get(name), g, *operands(g)), wanted, strict=True):
            np.testing.assert_allclose(got, right, atol=1e-11 * np.abs(right).max())


@pytest.mark.parametrize("g", [Problem(7, 1, 4, 4, 1, 3, 3, (1, 1), ONE), Problem(2, 1, 50, 9, 1, 3, 3, (1, 1), ONE), Problem(1, 1, 9, 999, 1, 3, 3)])
@pytest.mark.parametrize("m", [2, 4])
def test_pieces_cover_every_tile_once(g, m):
    tiling = Tiling(m, ())
    down, across = tiling.grid(g)
    seen = np.zeros((g.N, down, across), int)
    for p in tiling.pieces(g):
        assert 0 < p.tiles <= TILES
        seen[p.n0 : p.n1, p.h0 : p.h1, p.w0 : p.w1] += 1
    assert (seen == 1).all() and seen.size == tiling.count(g)


@pytest.mark.parametrize("channels, side", [(64, 28), (512, 14)])
def test_error_in_vggs_layers(channels, side):
    """Within 3e-5 of the largest output, with room: the points were chosen for it."""
    g = Problem(1, channels, side, side, 64, 3, 3, (1, 1), ONE)
    x, w, dy = operands(g, np.float32)
    truth = passes(get("im2col"), g, *(a.astype(np.float64) for a in (x, w, dy)))
    for name, limit in (("winograd4x4", 1e-5), ("winograd2x2", 3e-6)):
        for got, right in zip(passes(get(name), g, x, w, dy), truth, strict=True):
            assert np.abs(got - right).max() <= limit * np.abs(right).max()


def test_its_points_are_better_than_the_usual_ones():
    class Usual(winograd.Winograd):
        m, points = 4, (0, 1, -1, 2, -2)

    assert get("winograd4x4").growth() < 0.5 * Usual().growth()


def test_fewer_operations():
    g = Problem(1, 256, 56, 56, 256, 3, 3, (1, 1), ONE)
    direct = 2 * g.macs
    for which in ("forward", "grad_input", "grad_weight"):
        assert direct / 4 < get("winograd4x4").operations(g, which) < direct / 2.5
        assert direct / 2.25 < get("winograd2x2").operations(g, which) < direct / 1.8


@pytest.mark.parametrize("name", [n for n in algorithms() if n != "direct"])
def test_where_blas_always_packs(monkeypatch, name):
    """The products that are not cut into small ones, as on processors without AVX-512."""
    for g in (Problem(2, 3, 7, 7, 32, 3, 3, (1, 1), ONE), Problem(2, 8, 7, 7, 48, 1, 1)):
        if not get(name).supports(g, np.float64):
            continue
        wanted = passes(get("direct"), g, *operands(g))
        monkeypatch.setattr(blocks, "small_product", lambda: 0)
        for got, right in zip(passes(get(name), g, *operands(g)), wanted, strict=True):
            np.testing.assert_allclose(got, right, atol=1e-11 * np.abs(right).max())


def test_long_sums_in_stretches():
    rng = np.random.default_rng(0)
    for rows, depth, width in ((1, 1, 1), (30, 513, 48), (100, 2000, 64), (13, 700, 10)):
        a, b = rng.standard_normal((rows, depth)), rng.standard_normal((depth, width))
        out = np.empty((rows, width))
        blocks.multiply(backend, a, blocks.panels(np, b), out)
        np.testing.assert_allclose(out, a @ b, atol=1e-11)
