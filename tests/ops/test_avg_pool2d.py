"""Average and adaptive pools beyond the table of cases: errors, memory order, float16 sums."""

import numpy as np
import pytest

from scratchvgg.autograd import Tensor, from_numpy, ops

from .rejections import check_rejected, numbers


@pytest.mark.parametrize(("options", "shape", "dtype"), [
    ({"kernel_size": 2}, (4, 4), "float64"),
    ({"kernel_size": 2, "padding": 2}, (1, 1, 4, 4), "float64"),
    ({"kernel_size": 2, "stride": 0}, (1, 1, 4, 4), "float64"),
    ({"kernel_size": 9}, (1, 1, 4, 4), "float64"),
    ({"kernel_size": 2}, (1, 0, 4, 4), "float64"),
    ({"kernel_size": 2, "divisor_override": 0}, (1, 1, 4, 4), "float64"),
    ({"kernel_size": 2, "divisor_override": 2.5}, (1, 1, 4, 4), "float64"),
    ({"kernel_size": 2}, (1, 1, 4, 4), "int32"),
])
def test_avg_pool2d_rejects(torch, options, shape, dtype):
    check_rejected(lambda F, x: F.avg_pool2d(x, **options), numbers(*shape, dtype=dtype))


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
@pytest.mark.parametrize(("size", "shape", "dtype"), [
    (2, (4, 4), "float64"),
    (-1, (1, 1, 4, 4), "float64"),
    ((1, 2, 3), (1, 1, 4, 4), "float64"),
    ((2,), (1, 1, 4, 4), "float64"),
    (1.5, (1, 1, 4, 4), "float64"),
    (2, (1, 1, 0, 4), "float64"),
    (2, (1, 1, 4, 4), "int64"),
])
def test_adaptive_pools_reject(torch, name, size, shape, dtype):
    check_rejected(lambda F, x: getattr(F, name)(x, size), numbers(*shape, dtype=dtype))


@pytest.mark.parametrize("pool", [lambda x: ops.avg_pool2d(x, 3, 2, 1), lambda x: ops.adaptive_avg_pool2d(x, (3, 2))])
def test_keeps_the_memory_order(pool):
    x = from_numpy(numbers(2, 6, 7, 8).transpose(0, 3, 1, 2)).requires_grad_()
    y = pool(x)
    assert y.array.transpose(0, 2, 3, 1).flags.c_contiguous
    y.sum().backward()
    assert x.grad.array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_float16_is_added_in_float32():
    """4096 ones: a float16 sum would stop at 2048."""
    x = Tensor(np.ones((1, 1, 64, 64), np.float16))
    assert ops.adaptive_avg_pool2d(x, 1).item() == 1
    assert ops.avg_pool2d(x, 64).item() == 1


def test_one_pixel_spread_over_the_head_gets_the_whole_gradient():
    """VGG's 7 × 7 head on a 1 × 1 map: every output is that pixel."""
    x = Tensor(numbers(2, 3, 1, 1), requires_grad=True)
    y = ops.adaptive_avg_pool2d(x, (7, 7))
    assert np.array_equal(y.detach().numpy(), np.broadcast_to(x.detach().numpy(), (2, 3, 7, 7)))
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), np.full((2, 3, 1, 1), 49.0))
