"""Matrix products on tensor cores: examples in every order of threads and copies, when they are taken, refusals."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, registry
from scratchvgg.cuda.faces.gemm_tensor_core import choose_side, gemm_tensor_core, takes
from scratchvgg.cuda.product import library_gemm, product
from tests.cuda.launches import launches

bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def backend():
    return get_backend(Device("emulator"))


def numbers(*shape, dtype=np.float16):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("setting", ({"order": "reverse"}, {"order": "4"}, {"copies": "early"}), ids=str)
def test_examples(backend, setting):
    with emulator.settings.choose(**setting):
        for _, example in registry.examples(backend, "small", "gemm_tensor_core"):
            result, expected = example.run()["c"].astype(np.float64), example.expected()["c"]
            assert np.sqrt(np.mean(np.square(result - expected))) <= example.tolerance * np.sqrt(np.mean(np.square(expected))), example.title


@pytest.mark.parametrize("dtype", (np.float16, bfloat16))
def test_split_depth_equals_whole_depth(backend, dtype):
    a, b = numbers(9, 1000, dtype=dtype), numbers(1000, 16, dtype=dtype)
    with launches() as names:
        c = gemm_tensor_core(backend, a, b)
    assert [name.rsplit("_", 1)[0] for name in names] == ["gemm_tensor_core_64_nn", "gemm_add_splits"]
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(c - exact).max() <= np.abs(exact).max() * (2**-8 if dtype is bfloat16 else 2**-11)
    bias = numbers(16, dtype=dtype)
    np.testing.assert_allclose(
        gemm_tensor_core(backend, a, b, bias=bias, relu=True).astype(float), np.maximum(exact + bias.astype(float), 0), rtol=2**-7, atol=0.05
    )


def test_when_tensor_cores_are_taken(backend):
    a, b, narrow = numbers(16, 24), numbers(24, 40), numbers(24, 41)
    assert takes(backend, a, b) and takes(backend, a, numbers(40, 24).T) and takes(backend, numbers(24, 16).T, b)
    for left, right in ((a.astype(np.float32), b.astype(np.float32)), (a[:8], b), (numbers(24, 16).T, numbers(40, 24).T), (a, narrow),
                        (a, narrow[:, :40]), (a[:, 4:20], b[:16]), (np.repeat(a, 2, 1)[:, ::2], b), (a[:, :0], b[:0])):
        assert not takes(backend, left, right)
        np.testing.assert_allclose(product(backend, left, right), left.astype(float) @ right.astype(float), rtol=1e-2, atol=1e-2)
    with launches() as names, library_gemm(True):
        product(backend, a, b)
    assert not names


def test_choice_of_side():
    assert choose_side(64, 25088) == choose_side(256, 512) == 64
    assert choose_side(4096, 25088) == 128


@pytest.mark.parametrize("change, error, message", [
    ({"a": np.zeros((9, 8), np.float32), "b": np.zeros((8, 8), np.float32)}, TypeError, "got float32"),
    ({"b": np.zeros((8, 9), np.float16)}, ValueError, "multiples of 8 numbers"),
    ({"out": np.zeros((9, 16), np.float16)[:, :8]}, ValueError, "multiples of 8 numbers"),
    ({"side": 32}, ValueError, "64 or 128"),
    ({"bias": np.zeros(9, np.float16)}, ValueError, "bias must be"),
])
def test_refusals(backend, change, error, message):
    arguments = {"a": np.zeros((9, 8), np.float16), "b": np.zeros((8, 8), np.float16), **change}
    with pytest.raises(error, match=message):
        gemm_tensor_core(backend, **arguments)
