"""softmax and log_softmax: extremes, empty and 0-dimensional tensors, dtype=, the implicit dimension, errors."""

import numpy as np
import pytest

from scratchvgg.autograd import Tensor, ops
from tests.harness import Case, array, normal, run

from .rejections import check_rejected, numbers

inf = float("inf")


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("values", [[1e4, -1e4, 0.0], [-inf, 0.0, 1.0], [-inf, -inf, -inf], [inf, 0.0, 1.0], [float("nan"), 0.0, 1.0]])
def test_extremes(torch, name, values):
    run(Case(name, str(values), (array(values, grad=False),), lambda F, x: getattr(F, name)(x, 0)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), [((), 0), ((), -1), ((0, 3), 1), ((3, 0), 1), ((0, 3), 0), ((1,), 0), ((2, 3, 4, 5), 1), ((2, 3), -2)])
def test_shapes(torch, name, shape, dim):
    run(Case(name, f"{shape} {dim}", (normal(*shape),), lambda F, x: getattr(F, name)(x, dim)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_dtype_is_cast_first(name):
    x = Tensor(np.array([1, 2, 3]))
    y = getattr(ops, name)(x, 0, dtype="float64")
    assert y.dtype.name == "float64"
    assert np.allclose(y.numpy(), getattr(ops, name)(Tensor(np.array([1.0, 2.0, 3.0])), 0).numpy())


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_implicit_dimension_warns(torch, shape):
    x = numbers(*shape)
    with pytest.warns(UserWarning, match="mplicit dimension"):
        expected = torch.nn.functional.softmax(torch.tensor(x)).numpy()
    with pytest.warns(UserWarning, match="mplicit dimension"):
        assert np.allclose(ops.softmax(Tensor(x)).numpy(), expected)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rejects(torch, name):
    check_rejected(lambda F, x: getattr(F, name)(x, 2), numbers(3, 3))
    check_rejected(lambda F, x: getattr(F, name)(x, 0), numbers(3, 3, dtype="int64"))
