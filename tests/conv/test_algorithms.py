"""Every algorithm × pass × problem × memory layout × dtype against an exact sum, within the error that the algorithm declares."""

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.conv import PASSES, Problem, algorithms, choose, get, im2col, register
from scratchvgg.conv.check import WatchedBackend
from scratchvgg.conv.registry import Algorithm

from .common import (
    DTYPES,
    FAST,
    LAYOUTS,
    ONE,
    PROBLEMS,
    TWO,
    assert_within_bounds,
    backend,
    exact,
    magnitudes,
    operands,
    passes,
    relative_errors,
    supported,
)

LARGER = {
    "3x3": Problem(4, 16, 30, 30, 16, 3, 3, (1, 1), ONE),
    "3x3 strided": Problem(4, 8, 61, 61, 16, 3, 3, (2, 2), ONE),
    "5x5": Problem(3, 16, 31, 29, 8, 5, 5, (1, 1), TWO),
    "1x1": Problem(2, 64, 62, 62, 24, 1, 1),
    "grouped": Problem(3, 16, 40, 40, 16, 3, 3, (1, 1), ONE, (1, 1), 4),
}
"""Several tiles, tiles cut off at the edge, and sums of more than a handful of products."""


def test_every_problem_has_two_ways():
    """The grid would be poor if only one algorithm took a problem; every algorithm takes some of it."""
    for name, g in PROBLEMS.items():
        assert sum(get(a).supports(g, "float32") for a in algorithms()) >= 2, name
    assert {a for a, *_ in supported()} == set(FAST)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_twin_is_exact(name):
    g = PROBLEMS[name]
    arrays = operands(g)
    assert_within_bounds("direct", g, passes(get("direct"), g, *arrays), arrays, "float64")


@pytest.mark.parametrize("algorithm, name, dtype", supported(dtypes=DTYPES))
def test_equals_an_exact_sum(algorithm, name, dtype):
    g = PROBLEMS[name]
    arrays = operands(g, dtype)
    for layout, arrange in LAYOUTS.items():
        x, w, dy = (arrange(a) for a in arrays[:3])
        got = passes(get(algorithm), g, x, w, dy, arrays[3])
        assert {a.dtype for a in got.values()} == {np.dtype(dtype)}
        assert [a.shape for a in got.values()] == [g.y_shape, g.x_shape, g.w_shape]
        assert_within_bounds(algorithm, g, got, arrays, dtype)
        for now, before in zip((x, w, dy), arrays, strict=False):
            np.testing.assert_array_equal(now, before, err_msg=f"{layout}: an input was changed")
    without = get(algorithm).forward(backend, g, arrays[0], arrays[1])
    assert_within_bounds(algorithm, g, {"forward": without}, arrays[:3], dtype)


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=LARGER, dtypes=["float64", "float32"]))
def test_bounds_hold_and_mean_something(algorithm, name, dtype):
    """An error bound is never exceeded and at most 10⁴ times the error measured (typically 20 to 200)."""
    g = LARGER[name]
    arrays = operands(g, dtype, 1)
    for which, error in relative_errors(g, passes(get(algorithm), g, *arrays), arrays).items():
        bound = get(algorithm).error_bound(g, dtype, which)
        assert error <= bound <= 1e4 * error, f"{which}: error {error:.3g}, bound {bound:.3g}"


def after_relu(rng, shape):
    return np.maximum(rng.standard_normal(shape), 0)


def all_positive(rng, shape):
    """Nothing cancels: the errors of biased sums add up."""
    return rng.random(shape) + 1


def one_spike(rng, shape):
    """One number in the middle of each plane."""
    a = np.zeros(shape)
    for i in range(shape[1]):
        a[:, i, shape[2] // 2, shape[3] // 2] = 1 + rng.random()
    return a


def uneven_channels(rng, shape):
    """Channels from 10⁻³ to 10³ times as large."""
    return rng.standard_normal(shape) * np.logspace(-3, 3, shape[1])[:, None, None]


@pytest.mark.parametrize("draw", [after_relu, all_positive, one_spike, uneven_channels])
@pytest.mark.parametrize("algorithm, name, dtype", supported(problems={n: LARGER[n] for n in ("3x3", "5x5")}, dtypes=["float32"]))
def test_bounds_hold_for_other_data(algorithm, name, dtype, draw):
    g = LARGER[name]
    rng = np.random.default_rng(7)
    arrays = [draw(rng, shape).astype(dtype) for shape in (g.x_shape, g.w_shape, g.y_shape)]
    assert_within_bounds(algorithm, g, passes(get(algorithm), g, *arrays), arrays, dtype)


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=LARGER, dtypes=["float32"]))
def test_out_is_filled_and_returned(algorithm, name, dtype):
    g, a = LARGER[name], get(algorithm)
    x, w, dy, bias = operands(g, dtype)
    for shape, compute in (
        (g.y_shape, lambda out=None: a.forward(backend, g, x, w, bias, out=out)),
        (g.x_shape, lambda out=None: a.grad_input(backend, g, dy, w, out=out)),
        (g.w_shape, lambda out=None: a.grad_weight(backend, g, dy, x, out=out)),
    ):
        expected = compute()
        for layout in LAYOUTS.values():
            out = layout(np.full(shape, np.nan, dtype))
            assert compute(out) is out
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=LARGER, dtypes=["float32"]))
def test_same_bits_on_any_number_of_threads(monkeypatch, algorithm, name, dtype):
    monkeypatch.setattr(im2col, "CAP", 1 << 17)  # several tiles; a single one is left to BLAS and its own threads
    arrays = operands(LARGER[name], dtype)
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            results.append([a.tobytes() for a in passes(get(algorithm), LARGER[name], *arrays).values()])
    finally:
        set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=LARGER, dtypes=["float32", "float64", "float16"]))
def test_workspace_is_what_is_used(algorithm, name, dtype):
    """All scratch that a thread holds, small buffers aside, is at most 1.2 times what is declared."""
    g, a = LARGER[name], get(algorithm)
    x, w, dy, bias = operands(g, dtype)
    before = get_num_threads()
    set_num_threads(1)
    try:
        for which, compute in (
            ("forward", lambda b: a.forward(b, g, x, w, bias)),
            ("grad_input", lambda b: a.grad_input(b, g, dy, w)),
            ("grad_weight", lambda b: a.grad_weight(b, g, dy, x)),
        ):
            watched = WatchedBackend()
            compute(watched)
            assert watched.most() <= 1.2 * a.workspace(g, dtype, which) + 65536, f"{which}: {watched.asked}"
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("algorithm, name, dtype", supported())
def test_declarations(algorithm, name, dtype):
    """Costs, operations and workspaces are finite numbers; they and the bounds answer for every pass."""
    g, a = PROBLEMS[name], get(algorithm)
    for which in PASSES:
        assert 0 <= a.cost(g, dtype, which) < 1e12
        assert 0 <= a.workspace(g, dtype, which) < 1 << 30
        assert a.operations(g, which) >= 0
        assert 0 < a.error_bound(g, dtype, which) < 1e-9
        assert a.error_bound(g, "float16", which) > a.error_bound(g, "float32", which) > a.error_bound(g, dtype, which)


def test_the_bias_of_one_channel_is_not_lost_in_another():
    """Sums of very different sizes side by side: each output channel has its own bias."""
    g = PROBLEMS["vgg"]
    x, w, _, _ = operands(g, "float32")
    bias = np.array([0, 1e6, -1e6, 1], np.float32)
    for algorithm, *_ in supported(problems={"vgg": g}):
        y = get(algorithm).forward(backend, g, x, w, bias)
        np.testing.assert_allclose(y, exact(g, x, w, y, bias)["forward"], rtol=1e-5, atol=1e-4, err_msg=algorithm)


def test_magnitudes_are_sums_of_absolute_values():
    g = Problem(1, 1, 2, 2, 1, 2, 2)
    x, w = np.array([[[[1.0, -2], [3, -4]]]]), np.array([[[[-1.0, 1], [1, 1]]]])
    assert magnitudes(g, x, w, np.array([[[[-2.0]]]]), np.array([0.5])) == {"forward": 10.5, "grad_input": 2, "grad_weight": 8}


@pytest.mark.parametrize("cap", [1, 1000, 20_000])
@pytest.mark.parametrize("name", ["vgg", "stride and dilation", "groups", "padding beyond the filter", "1x1"])
def test_im2col_in_tiles_of_any_size(monkeypatch, name, cap):
    monkeypatch.setattr(im2col, "CAP", cap)
    monkeypatch.setattr(im2col, "FEWEST_ROWS", 1)
    g = PROBLEMS[name]
    arrays = operands(g)
    assert_within_bounds("im2col", g, passes(get("im2col"), g, *arrays), arrays, "float64")


def test_im2col_never_builds_the_whole_matrix():
    g = Problem(64, 64, 224, 224, 64, 3, 3, (1, 1), ONE)  # conv1_2 of VGG-16: 7 GiB of columns
    assert get("im2col").workspace(g, np.float32) <= 4 * im2col.CAP
    pieces = im2col.tiles(g, 4)
    covered = sum((n1 - n0) * (p1 - p0) for n0, n1, p0, p1 in pieces)
    assert covered == g.N * g.P


def test_names():
    with pytest.raises(ValueError, match=r"no algorithm 'fast'.*direct.*im2col"):
        choose(PROBLEMS["vgg"], np.float32, "fast")
    with pytest.raises(ValueError, match="taken"):
        register(type("Again", (Algorithm,), {"name": "im2col"}))
    with pytest.raises(ValueError, match="empty"):
        register(type("Nameless", (Algorithm,), {}))
    with pytest.raises(ValueError, match="does not support"):
        choose(PROBLEMS["stride"], np.float32, "shifted")


def test_macs():
    assert Problem(1, 64, 224, 224, 64, 3, 3, (1, 1), ONE).macs == 224 * 224 * 64 * 64 * 9
