"""The kernels around convolution: their examples in every order of threads, coverage of every entry, special values, grids too small, arguments."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, registry
from scratchvgg.cuda.faces import adaptive_pool, avg_pool, batch_norm, bias_relu_pool, local_response_norm, max_pool, planes, relu
from scratchvgg.cuda.faces.plane_examples import random_planes
from tests.cuda.launches import launches

FILES = "adaptive_pool", "avg_pool", "batch_norm", "bias_relu_pool", "local_response_norm", "max_pool", "relu"
backend = get_backend(Device("emulator"))
EVERY_FILE = pytest.mark.parametrize("file", FILES)


def check(example):
    made, expected = example.run(), example.expected()
    assert set(made) == set(expected)
    for name, value in expected.items():
        got = backend.to_numpy(made[name]).astype(np.float64)
        assert got.shape == value.shape, f"{example.title}: {name} is {got.shape}, expected {value.shape}"
        error = np.sqrt(np.mean((got - value) ** 2)) / np.sqrt(np.mean(value**2))
        assert error <= example.tolerance, f"{example.title}: {name} is off by {error:.2e}, allowed {example.tolerance:.1e}"


def planes_of(*shape, dtype="float32", seed=0):
    return random_planes(backend, np.random.default_rng(seed), shape, dtype)


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
@EVERY_FILE
def test_examples(file, order):
    with emulator.order(order):
        for _, example in registry.examples(backend, "small", file):
            check(example)


@EVERY_FILE
def test_every_entry_has_an_example_that_says_so(file):
    with launches() as names:
        for _, example in registry.examples(backend, "small", file):
            names.clear()
            example.run()
            assert example.entry in names
    with launches() as names:
        for _, example in registry.examples(backend, "small", file):
            example.run()
    assert set(names) == set(emulator.load(registry.kernel_files()[file].file).names)


@EVERY_FILE
def test_sanitized(file):
    with emulator.sanitize():
        for _, example in registry.examples(backend, "small", file):
            if example.entry.endswith(("_f32", "_bf16")):
                example.run()


@EVERY_FILE
def test_grids_that_are_too_small_for_the_arrays(file, monkeypatch):
    """Each thread then takes several rows, lines or vectors, as it does on large arrays."""
    for name in ("ELEMENTWISE", "SUMMING", "_ROWS"):
        monkeypatch.setattr(planes, name, 1)
    monkeypatch.setattr(planes, "THREADS", 32)
    monkeypatch.setattr(local_response_norm, "ELEMENTWISE", 1)
    for _, example in registry.examples(backend, "small", file):
        if example.entry.endswith("_f32"):
            check(example)


@pytest.mark.parametrize("file", FILES)
def test_large_examples_say_what_a_perfect_kernel_moves(file, monkeypatch):
    """No array is made: titles, entries and bytes only."""
    monkeypatch.setattr("scratchvgg.cuda.faces.plane_examples.LARGE", ((2, 16, 4, 4),))
    for module in (relu, bias_relu_pool, max_pool, avg_pool, batch_norm):
        monkeypatch.setattr(module, "LARGE", ((2, 16, 4, 4),))
    if file in ("adaptive_pool", "local_response_norm"):
        module = {"adaptive_pool": adaptive_pool, "local_response_norm": local_response_norm}[file]
        make = module.random_planes if file == "adaptive_pool" else module.random_array
        name = "random_planes" if file == "adaptive_pool" else "random_array"
        monkeypatch.setattr(module, name, lambda b, rng, shape, dtype: make(b, rng, (2, *shape[1:]), dtype))
    found = list(registry.examples(backend, "large", file))
    assert found and all(e.bytes > 0 and e.entry.startswith(registry.get(e.entry).entries[0].rstrip("*")[:4]) for _, e in found)
    for _, example in found:
        check(example)


# ---- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["naive", "vector"])
def test_relu_keeps_nan_and_stops_minus_infinity(version):
    x = backend.asarray(np.array([np.nan, np.inf, -np.inf, -0.0, 1, -1, 2, 0], np.float32))
    np.testing.assert_array_equal(relu.relu(backend, x, version=version), [np.nan, np.inf, 0, 0, 1, 0, 2, 0])
    g = backend.asarray(np.full(8, np.inf, np.float32))
    np.testing.assert_array_equal(relu.relu_backward(backend, g, x, version=version), [0, np.inf, 0, 0, np.inf, 0, np.inf, 0])


@pytest.mark.parametrize("version", ["naive", "vector"])
def test_max_pool_ties_nan_and_padding_alone(version):
    x = planes_of(1, 4, 2, 4)
    x[...] = 0
    x[0, 1, 0, 1], x[0, 1, 1, 0], x[0, 2] = np.nan, np.nan, -np.inf
    y, winners = max_pool.max_pool(backend, x, (2, 2), (2, 2), (0, 0), (1, 1), (1, 2), version=version)
    np.testing.assert_array_equal(y[0], [[[0, 0]], [[np.nan, 0]], [[-np.inf, -np.inf]], [[0, 0]]])
    np.testing.assert_array_equal(winners[0, :, 0], [[0, 0], [2, 0], [0, 0], [0, 0]])  # first of equals, last NaN
    geometry = (2, 2), (1, 1), (1, 1), (3, 3)  # both offsets of the windows lie in the padding
    y, winners = max_pool.max_pool(backend, planes_of(1, 4, 2, 2), *geometry, (1, 1), version=version)
    assert np.isneginf(y).all()
    gx = max_pool.max_pool_backward(backend, y, winners, (2, 2), *geometry, version=version)
    assert not gx.any()


@pytest.mark.parametrize("version", ["scalar", "vector"])
def test_bias_relu_pool_ties_and_nan(version):
    x = planes_of(1, 8, 2, 2)
    x[...] = -1
    x[0, 0, 0, 1], x[0, 1, 1, 0], x[0, 1, 0, 1], x[0, 2, 1, 1] = 3, np.nan, np.nan, np.inf
    y, winners = bias_relu_pool.bias_relu_pool(backend, x, version=version)
    np.testing.assert_array_equal(y[0, :, 0, 0], [3, np.nan, np.inf, 0, 0, 0, 0, 0])
    g = planes_of(1, 8, 1, 1)
    g[...] = 1
    dy, db = bias_relu_pool.bias_relu_pool_backward(backend, g, y, winners, x.shape, version=version)
    expected = np.zeros(x.shape)
    expected[0, 0, 0, 1] = expected[0, 2, 1, 1] = 1  # where the maximum is NaN or 0, ReLU passes nothing
    np.testing.assert_array_equal(dy, expected)
    np.testing.assert_array_equal(db, [1, 0, 1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("version", ["scalar", "vector"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_of_values_far_from_zero(version, dtype):
    """The mean is 10⁴ (10⁸) standard deviations: E[x²] − E[x]² would have no digit left. One column begins with an outlier, one is constant."""
    far, tolerance = (1e4, 1e-6) if dtype == "float32" else (1e8, 1e-7)
    x = (far + np.random.default_rng(0).normal(size=(3000, 8))).astype(dtype)
    x[0, 1], x[:, 2] = 0, 7
    mean, var = (backend.zeros((8,), dtype) for _ in range(2))
    line = batch_norm.batch_statistics(backend, backend.asarray(x), 1e-5, None, None, mean, var, 1.0, version)
    exact = x.astype(np.longdouble)
    invstd = 1 / np.sqrt(exact.var(0) + 1e-5)
    np.testing.assert_allclose(line.kept[1], invstd.astype(float), rtol=tolerance)
    np.testing.assert_allclose(mean, exact.mean(0).astype(dtype), rtol=1e-7 if dtype == "float32" else 1e-15)
    np.testing.assert_allclose(var, exact.var(0, ddof=1).astype(dtype), rtol=2 * tolerance, atol=1e-30)
    centred = line.line[0].astype(np.float64) + line.kept[0] - exact.mean(0).astype(float)
    assert np.abs(centred).max() <= 1e-15 * far


@pytest.mark.parametrize("version", ["scalar", "vector"])
def test_infinite_values_spoil_their_channel_alone(version):
    x = backend.asarray(np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    x[0, 0], x[7, 1], x[3, 2] = np.inf, -np.inf, np.nan
    mean, var = (backend.zeros((8,), "float32") for _ in range(2))
    line = batch_norm.batch_statistics(backend, x, 1e-5, None, None, mean, var, 1.0, version)
    assert mean[0] == np.inf and mean[1] == -np.inf and np.isnan(mean[2]) and np.isnan(var[:3]).all()
    y = batch_norm.normalise(backend, x, line)
    assert np.isnan(y[:, :3]).all() and np.isfinite(y[:, 3:]).all()


def test_infinity_in_evaluation_stays_where_it_is():
    x = backend.asarray(np.full((4, 8), np.inf, np.float32))
    ones, g = backend.asarray(np.ones(8, np.float32)), backend.asarray(np.ones((4, 8), np.float32))
    line = batch_norm.running_statistics(backend, ones, ones, 0.0, "float32")
    gx, _, _ = batch_norm.batch_norm_backward(backend, x, g, line, None, training=False)
    np.testing.assert_array_equal(gx, 1)


def test_sums_are_the_same_in_every_order():
    g, results = planes_of(3, 8, 20, 20, seed=1), []
    for order in ("forward", "reverse", 3, 4):
        with emulator.order(order):
            results.append(bias_relu_pool.bias_gradient(backend, g).tobytes())
    assert len(set(results)) == 1


# ---- launches and arguments -------------------------------------------------------------------------------------------


def test_arrays_at_odd_places_take_the_plain_versions():
    memory = backend.empty((2 * 6 * 6 * 8 + 1,), "float32")
    memory[...] = np.random.default_rng(0).normal(size=memory.size)
    x = memory[1:].reshape(2, 6, 6, 8).transpose(0, 3, 1, 2)
    with launches() as names:
        y = bias_relu_pool.bias_relu(backend, x)
        max_pool.max_pool(backend, x, (2, 2), (2, 2), (0, 0), (1, 1), (3, 3))
        relu.relu(backend, memory[1:])
        bias_relu_pool.bias_relu(backend, planes.channels_last(backend, x))
    assert names == ["bias_relu_scalar_f32", "max_pool_forward_naive_f32", "relu_forward_naive_f32", "bias_relu_f32"]
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_channels_last_copies_only_what_lies_otherwise():
    x = planes_of(2, 8, 3, 4)
    assert planes.channels_last(backend, x) is x
    other = backend.asarray(np.ascontiguousarray(x))
    made = planes.channels_last(backend, other)
    np.testing.assert_array_equal(made, x)
    assert made.strides == x.strides


@pytest.mark.parametrize(("channels", "v", "lines"), [(3, 1, 1), (64, 4, 64 * 224 * 224), (64, 8, 5), (512, 4, 784), (4096, 8, 1), (20, 4, 100)])
def test_launch_shapes_stay_within_a_gpu(channels, v, lines):
    for summing in (False, True):
        for grid, block in (planes.over_lines(channels, v, lines, summing), planes.over_rows(channels, v, lines, 224, summing)):
            assert block[0] * block[1] <= 256 and block[1] & (block[1] - 1) == 0
            assert grid[0] * block[0] * v >= channels and 1 <= grid[1] <= 65535
            assert not summing or grid[0] * grid[1] <= max(planes.SUMMING, grid[0])


def test_nothing_is_launched_for_empty_arrays():
    x = planes_of(0, 8, 4, 4)
    with launches() as names:
        assert relu.relu(backend, x).shape == x.shape
        assert bias_relu_pool.bias_relu_pool(backend, x)[0].shape == (0, 8, 2, 2)
        np.testing.assert_array_equal(bias_relu_pool.bias_relu_backward(backend, x, x)[1], np.zeros(8))
        assert max_pool.max_pool(backend, x, (2, 2), (2, 2), (0, 0), (1, 1), (2, 2))[0].shape == (0, 8, 2, 2)
        assert avg_pool.avg_pool(backend, x, (2, 2), (2, 2), (0, 0), (2, 2)).shape == (0, 8, 2, 2)
        assert adaptive_pool.adaptive_avg_pool(backend, x, (1, 1)).shape == (0, 8, 1, 1)
        assert local_response_norm.local_response_norm(backend, x.reshape(0, 8), 5, 1e-4, 0.75, 1.0).shape == (0, 8)
    assert names == []


X = planes_of(2, 6, 4, 4)
BAD = {
    "layout": (ValueError, "x must be", lambda: bias_relu_pool.bias_relu(backend, np.ascontiguousarray(X))),
    "type": (TypeError, "float16, bfloat16, float32, float64", lambda: bias_relu_pool.bias_relu(backend, planes_of(2, 6, 4, 4).astype(np.int32))),
    "bias": (ValueError, "bias must be contiguous float32", lambda: bias_relu_pool.bias_relu(backend, X, bias=backend.zeros((6,), "float64"))),
    "out": (ValueError, "out must be float32", lambda: bias_relu_pool.bias_relu(backend, X, out=planes_of(2, 6, 4, 5))),
    "vector of six": (ValueError, "version 'vector'", lambda: bias_relu_pool.bias_relu(backend, X, version="vector")),
    "no window": (ValueError, "at least 2 x 2", lambda: bias_relu_pool.bias_relu_pool(backend, planes_of(2, 6, 1, 4))),
    "winners": (ValueError, "winners must be uint8", lambda: bias_relu_pool.bias_relu_pool_backward(
        backend, planes_of(2, 6, 2, 2), planes_of(2, 6, 2, 2), backend.zeros((2, 2, 2, 5), "uint8"), X.shape)),
    "packed winners of scalars": (ValueError, "unpacked for the scalar", lambda: bias_relu_pool.bias_relu_pool_backward(
        backend, *[planes_of(2, 8, 2, 2)] * 2, backend.zeros((2, 2, 2, 2), "uint8"), (2, 8, 4, 4), "scalar")),
    "window": (ValueError, "at most 256", lambda: max_pool.max_pool(backend, X, (17, 16), (1, 1), (0, 0), (1, 1), (1, 1))),
    "no tiles": (ValueError, "'windows' is not possible", lambda: max_pool.max_pool_backward(
        backend, planes_of(2, 8, 3, 3), backend.zeros((2, 8, 3, 3), "uint8", "channels_last"), (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), "windows")),
    "strides": (ValueError, "dense and lie alike", lambda: relu.relu_backward(backend, X, backend.asarray(np.ascontiguousarray(X)))),
    "gaps": (ValueError, "dense", lambda: relu.relu(backend, X[:, ::2])),
    "matrix": (ValueError, r"x must be \(M, C\)", lambda: batch_norm.normalise(backend, X, batch_norm.Line(None, None))),
    "pixels": (ValueError, r"x must be \(N, H, W, C\)", lambda: batch_norm.normalise_pool(backend, X, batch_norm.Line(None, None))),
    "no pixel": (ValueError, "at least one pixel", lambda: batch_norm.batch_statistics(backend, backend.zeros((0, 4), "float32"), 1e-5)),
    "rows": (ValueError, r"contiguous \(M, C\)", lambda: local_response_norm.local_response_norm(backend, X, 5, 1e-4, 0.75, 1.0)),
    "lrn version": (ValueError, "not possible for 6", lambda: local_response_norm.local_response_norm(
        backend, backend.zeros((3, 6), "float32"), 5, 1e-4, 0.75, 1.0, "vector")),
    "pool version": (ValueError, "avg_pool_forward: version", lambda: avg_pool.avg_pool(
        backend, X, (2, 2), (2, 2), (0, 0), (2, 2), version="vector")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    error, words, call = BAD[case]
    with launches() as names, pytest.raises(error, match=words):
        call()
    assert names == []
