"""Matrix products: every version in every order of threads, the choice of version, splits, odd memory, refusals."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator
from scratchvgg.cuda.faces.gemm import VERSIONS, choose, gemm, split
from tests.cuda.launches import launches

RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def backend():
    return get_backend(Device("emulator"))


def numbers(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def check(backend, a, b, tolerance=1e-6, **options):
    c = gemm(backend, a, b, **options)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(c - exact).max() <= tolerance * np.abs(exact).max()
    return c


@pytest.mark.parametrize("order", ("reverse", 5))
@pytest.mark.parametrize("version", VERSIONS)
def test_order_of_threads_changes_nothing(backend, version, order):
    a, b = numbers(7, 72), numbers(72, 68)
    expected = check(backend, a, b, version=version)
    with emulator.order(order):
        np.testing.assert_array_equal(gemm(backend, a, b, version=version), expected)


def test_one_part_after_the_other(backend):
    """alpha, what is there already, bias and ReLU."""
    a, b, bias, c = numbers(5, 8), numbers(8, 12), numbers(12), numbers(5, 12)
    for version in VERSIONS:
        out = c.copy()
        assert gemm(backend, a, b, bias=bias, relu=True, alpha=-2.0, out=out, accumulate=True, version=version) is out
        np.testing.assert_allclose(out, np.maximum(-2 * a.astype(float) @ b + bias + c, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", ("tiled_64", "thin"))
def test_memory_that_is_not_aligned(backend, version):
    """Lines that begin anywhere, and results in a part of a larger array whose rest stays as it was."""
    for shift in (1, 2, 4):
        a, b = numbers(6, 40 + shift)[:, shift:], numbers(40, 70 + shift)[:, shift:]
        out = np.full((6, 80), 7, np.float32)
        check(backend, a, b, out=out[:, shift : 70 + shift], version=version)
        assert (out[:, :shift] == 7).all() and (out[:, 70 + shift :] == 7).all()
        check(backend, a, np.ascontiguousarray(b.T).T, version=version)


def test_strides_of_every_kind(backend):
    plain = numbers(12, 20)
    with launches() as names:
        check(backend, plain[::2, ::2], numbers(10, 8))  # neither dimension consecutive
        check(backend, np.broadcast_to(numbers(1, 1), (20, 10)), numbers(10, 8))
        check(backend, plain[:, :1], numbers(1, 8))  # one column
        check(backend, plain[:1].T, numbers(1, 8))
    assert names == ["gemm_thin_nn_f32", "gemm_shared_f32", "gemm_tiled_64_nn_f32", "gemm_tiled_64_tn_f32"]


def test_split_sums(backend):
    a, b = numbers(9, 2100), numbers(2100, 8)
    with launches() as names:
        c = check(backend, a, b)
    assert names == ["gemm_tiled_64_nn_f32", "gemm_add_splits_f32"]
    np.testing.assert_array_equal(c, gemm(backend, a, b))
    bias = numbers(8)
    np.testing.assert_allclose(gemm(backend, a, b, bias=bias, relu=True), np.maximum(c + bias, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks, k", [(1, 100), (1, 25088), (64, 25088), (7, 4096), (1000, 4096), (3, 1025)])
def test_splits_cover_the_depth_once(blocks, k):
    parts, depth = split(blocks, k)
    assert (parts - 1) * depth < k <= parts * depth
    assert parts == 1 or (depth % 256 == 0 and depth >= 512 and parts * blocks <= 264)


def test_choice():
    assert choose(1, 4096, ("n", "t"), "float32") == choose(8, 25088, ("t", "n"), "float32") == "thin"
    assert choose(64, 4096, ("n", "t"), "float32") == "tiled_64"
    assert choose(4096, 25088, ("t", "n"), "float32") == "tiled_128"
    assert choose(4096, 25088, ("t", "n"), "float64") == choose(4096, 25088, ("t", "n"), "float32", whole=False) == "tiled_64"
    assert choose(100, 100, (None, "n"), "float32") == choose(100, 100, ("n", None), "float32") == choose(4, 9, ("t", None), "float32") == "shared"


def test_nothing_to_multiply(backend):
    assert gemm(backend, numbers(0, 4), numbers(4, 3)).shape == (0, 3)
    np.testing.assert_array_equal(gemm(backend, numbers(2, 0), numbers(0, 3), bias=np.float32([1, -2, 3]), relu=True), [[1, 0, 3]] * 2)


@pytest.mark.parametrize("change, error, message", [
    ({"a": np.zeros((2, 3))}, TypeError, "a is float64, b is float32"),
    ({"a": np.zeros((2, 3), np.int32)}, TypeError, "got int32"),
    ({"a": np.zeros((2, 4), np.float32)}, ValueError, r"\(2, 4\) and \(3, 5\)"),
    ({"a": np.zeros(3, np.float32)}, ValueError, r"expected \(M, K\)"),
    ({"bias": np.zeros(4, np.float32)}, ValueError, "bias must be"),
    ({"bias": np.zeros(10, np.float32)[::2]}, ValueError, "bias must be"),
    ({"out": np.zeros((5, 2), np.float32).T}, ValueError, "out must be"),
    ({"accumulate": True}, ValueError, "out is None"),
    ({"version": "fast"}, ValueError, "version must be one of naive"),
    ({"a": np.zeros((9, 3), np.float32), "version": "thin"}, ValueError, "cannot do M = 9"),
    ({"version": "tiled_128"}, ValueError, "not in whole vectors of four"),
    ({"a": np.zeros((3, 4), np.float32)[:, ::2].T, "b": np.zeros((3, 5), np.float32), "version": "tiled_64"}, ValueError, "cannot do"),
])
def test_refusals(backend, change, error, message):
    arguments = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((3, 5), np.float32), **change}
    with pytest.raises(error, match=message):
        gemm(backend, **arguments)
