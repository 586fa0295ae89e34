"""The linear layer: leading dimensions, sums of long batches, errors."""

import numpy as np
import pytest

from scratchvgg.autograd import Tensor, ops
from scratchvgg.ops.precision import column_sums, sum_rows
from tests.harness import Case, Variant, normal, run

from .rejections import check_rejected, numbers


@pytest.mark.parametrize("lead", [(), (1,), (4,), (0,), (2, 3), (2, 0, 3), (2, 1, 2, 2)])
@pytest.mark.parametrize("layout", ["contiguous", "strided", "reversed"])
def test_leading_dimensions(torch, lead, layout):
    case = Case("linear", f"{lead} {layout}", (normal(*lead, 5), normal(3, 5), normal(3)), lambda F, x, w, b: F.linear(x, w, b))
    for dtype in ("float64", "float32"):
        run(case, Variant(dtype=dtype, layout=layout))


@pytest.mark.parametrize("bias", [(1,), (), (3,)])
def test_bias_for_all_outputs(torch, bias):
    run(Case("linear", f"bias {bias}", (normal(4, 5), normal(3, 5), normal(*bias)), lambda F, x, w, b: F.linear(x, w, b)))


def test_gradients_only_where_wanted():
    x, w = Tensor(numbers(4, 5)), Tensor(numbers(3, 5), requires_grad=True)
    y = ops.linear(x, w)
    assert y.grad_fn.ctx.kept["weight"] is None
    y.sum().backward()
    assert x.grad is None
    assert np.allclose(w.grad.numpy(), np.broadcast_to(x.numpy().sum(0), (3, 5)))


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 4096, 4097, 100_000])
def test_sum_rows(rows):
    a = np.random.default_rng(0).random((rows, 3), dtype=np.float32)
    total = sum_rows(np, a)
    assert total.dtype == np.float32
    assert np.allclose(total, a.sum(0, dtype=np.float64), rtol=5e-7)


def test_sum_rows_of_float16():
    assert np.array_equal(sum_rows(np, np.ones((5000, 2), np.float16)), [5000, 5000])


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (127, 3), (128, 200), (129, 200), (70_001, 1), (5000, 7)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_column_sums(shape, dtype):
    a = np.random.default_rng(0).random(shape).astype(dtype)
    total = column_sums(np, a)
    assert total.dtype == np.float64 and total.shape == shape[1:]
    assert np.allclose(total, a.sum(0, dtype=np.float64), rtol=3e-7 if dtype != "float64" else 1e-14)


@pytest.mark.parametrize(("x", "w", "b"), [
    (numbers(2, 3), numbers(4, 5), None),
    (numbers(2, 3), numbers(4, 3, dtype="float32"), None),
    (numbers(2, 3), numbers(4, 3), numbers(5)),
    (numbers(), numbers(4, 3), None),
    (numbers(2, 3), numbers(1, 4, 3), None),
])
def test_rejects(torch, x, w, b):
    arrays = (x, w) if b is None else (x, w, b)
    check_rejected(lambda F, *tensors: F.linear(*tensors), *arrays)
