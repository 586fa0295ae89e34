"""Element types and their mixing, against torch."""

import itertools
import pickle

import numpy as np
import pytest

from scratchvgg.array import as_dtype, dtypes, get_default_dtype, promote_types, set_default_dtype
from scratchvgg.array.dtypes import ALL, result_type

PAIRS = list(itertools.product(ALL, ALL))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_promotion_table(torch, a, b):
    assert promote_types(a, b).name == str(torch.promote_types(getattr(torch, a.name), getattr(torch, b.name))).removeprefix(
        "torch."
    )


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
@pytest.mark.parametrize("shapes", [((2,), ()), ((), (2,)), ((), ())], ids=str)
def test_result_type_of_tensors_with_and_without_dimensions(torch, a, b, shapes):
    tensors = [torch.ones(s, dtype=getattr(torch, d.name)) for s, d in zip(shapes, (a, b), strict=True)]
    ours = result_type([(d, 2 if s else 1) for s, d in zip(shapes, (a, b), strict=True)])
    assert ours.name == str(torch.result_type(*tensors)).removeprefix("torch.")


@pytest.mark.parametrize("a", ALL, ids=str)
@pytest.mark.parametrize("number", [True, 3, 2.5])
def test_result_type_with_a_number(torch, a, number):
    ours = result_type([(a, 2), (dtypes.number_dtype(number), 0)])
    assert ours.name == str(torch.result_type(torch.ones(2, dtype=getattr(torch, a.name)), number)).removeprefix("torch.")


@pytest.mark.parametrize("spec", [np.float32, "float32", "float", np.dtype("float32"), np.dtype(">f4"), dtypes.float32, float])
def test_spellings(spec):
    assert as_dtype(spec) is dtypes.float32


def test_python_types_and_short_names():
    assert [as_dtype(s) for s in (int, bool, "half", "double", "long")] == [
        dtypes.int64,
        dtypes.bool_,
        dtypes.float16,
        dtypes.float64,
        dtypes.int64,
    ]


@pytest.mark.parametrize("spec", [np.complex64, np.uint16, "U3", object, "nonsense", 3])
def test_types_that_tensors_do_not_have(spec):
    with pytest.raises(TypeError):
        as_dtype(spec)


@pytest.mark.parametrize("d", ALL, ids=str)
def test_properties_equal_torchs(torch, d):
    theirs = getattr(torch, d.name)
    assert (d.itemsize, d.is_floating_point, d.is_signed) == (theirs.itemsize, theirs.is_floating_point, theirs.is_signed)
    assert pickle.loads(pickle.dumps(d)) is d


def test_default_dtype():
    try:
        set_default_dtype("float64")
        assert get_default_dtype() is dtypes.float64 is as_dtype(float)
        with pytest.raises(TypeError, match="int64"):
            set_default_dtype("int64")
    finally:
        set_default_dtype("float32")
