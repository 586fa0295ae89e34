"""Tensors of two devices in one operation: an error that names both, from every operation that takes two tensors."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.array import CPU, Device, get_backend
from scratchvgg.autograd import Tensor
from tests.harness import our_face, parametrize_cases
from tests.ops.cases import CASES

from .stage import rehearsal


@pytest.fixture(scope="module", autouse=True)
def _stage():
    with rehearsal():
        yield


APART = {
    "copy_", "empty_like", "expand", "flatten", "full_like", "getitem", "masked_select", "ones_like", "reshape", "setitem_", "t", "to", "zeros_like",
}
"""Operations that take another tensor's shape or type only, copy from any device, or take an index from any."""


def mixed(case):
    """Whether two tensors with dimensions and elements are computed together."""
    return case.operation not in APART and sum(a.ndim > 0 and a.size > 0 for a in case.draw()) > 1


@parametrize_cases([c for c in CASES if mixed(c)])
def test_both_are_named(case):
    arrays = case.draw()
    for first, others in ((CPU, Device("cuda")), (Device("cuda"), CPU)):
        backends = [get_backend(others if i else first) for i in range(len(arrays))]
        tensors = [Tensor.wrap(b, b.asarray(a)) for b, a in zip(backends, arrays, strict=True)]
        with pytest.raises(RuntimeError, match="cpu and cuda:0|cuda:0 and cpu"):
            case.function(our_face(), *tensors)
        assert all(np.array_equal(b.to_numpy(t.array), a, equal_nan=a.dtype.kind == "f") for b, t, a in zip(backends, tensors, arrays, strict=True))


def test_a_number_on_the_cpu_goes_along():
    x, half = sv.arange(3.0, device="cuda"), sv.tensor(0.5, requires_grad=True)
    y = x * half
    y.sum().backward()
    assert y.device == "cuda:0" and y.tolist() == [0, 0.5, 1] and half.grad.device == "cpu" and half.grad.item() == 3
    assert x.mul_(sv.tensor(2.0)).tolist() == [0, 2, 4]
    with pytest.raises(RuntimeError, match="cuda:0 and cpu|cpu and cuda:0"):
        sv.arange(3.0) * sv.tensor(0.5, device="cuda")
