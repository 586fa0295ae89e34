"""Products of few rows with a large weight, cut into blocks: values, cuts that leave remainders, threads, BLAS that has no small products."""

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.ops import thin

FORMS = {
    "times_transposed": (lambda n, f, k: ((n, k), (f, k)), lambda a, b: a @ b.T),
    "times": (lambda n, f, k: ((n, f), (f, k)), lambda a, b: a @ b),
    "transposed_times": (lambda n, f, k: ((n, f), (n, k)), lambda a, b: a.T @ b),
}


@pytest.fixture
def blocks(monkeypatch):
    """Small matrices need many blocks, whatever this machine's BLAS does."""
    monkeypatch.setattr(thin, "small_product", lambda: 20_000)
    monkeypatch.setattr(thin, "_WORK", 20_000)


@pytest.fixture(params=[True, False], ids=["blocks", "whole"])
def either(request):
    if request.param:
        request.getfixturevalue("blocks")


def operands(form, *sizes, dtype="float32"):
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype(dtype) for s in FORMS[form][0](*sizes)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [
    (1, 300, 270), (8, 257, 1000), (3, 1000, 129), (32, 70, 3001), (33, 60, 200), (2, 3, 5), (0, 30, 40), (5, 0, 7), (5, 7, 0),
])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(either, form, sizes, dtype):
    a, b = operands(form, *sizes, dtype=dtype)
    result = getattr(thin, form)(np, a, b)
    truth = FORMS[form][1](a.astype("float64"), b.astype("float64"))
    assert result.dtype == dtype and result.shape == truth.shape
    bound = FORMS[form][1](np.abs(a).astype("float64"), np.abs(b).astype("float64")) * np.finfo(dtype).eps * 8
    assert (np.abs(result - truth) <= bound).all()


@pytest.mark.parametrize("form", FORMS)
def test_any_strides(either, form):
    a, b = operands(form, 6, 200, 310)
    result = getattr(thin, form)(np, a, b)
    spread = np.repeat(a, 2, 1)[:, ::2], np.asfortranarray(b)
    np.testing.assert_allclose(getattr(thin, form)(np, *spread), result, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_same_bits_with_any_number_of_threads(blocks, form):
    a, b = operands(form, 8, 300, 500)
    before, bits = get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            bits.add(getattr(thin, form)(np, a, b).tobytes())
    finally:
        set_num_threads(before)
    assert len(bits) == 1
