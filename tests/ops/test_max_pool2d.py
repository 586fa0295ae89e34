"""Max pooling beyond the table of cases: what is kept, NaN and Inf in gradients, memory order, threads, errors."""

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.autograd import Tensor, from_numpy, grad, no_grad, ops

from .rejections import check_rejected, numbers

ours = np.random.default_rng(1)


def channels_last(*shape):
    n, c, h, w = shape
    return ours.normal(size=(n, h, w, c)).astype(np.float32).transpose(0, 3, 1, 2)


def is_channels_last(a):
    return a.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(("kernel", "dtype"), [(2, np.uint8), ((16, 16), np.uint8), ((16, 17), np.int32)])
def test_keeps_one_byte_an_output(kernel, dtype):
    x = Tensor(numbers(2, 3, 34, 34), requires_grad=True)
    y = ops.max_pool2d(x, kernel)
    kept = y.grad_fn.ctx.kept
    assert [(a.dtype, a.shape) for a in kept.values()] == [(np.dtype(dtype), tuple(y.shape))]


def test_keeps_nothing_without_gradient():
    x = Tensor(numbers(1, 1, 4, 4), requires_grad=True)
    with no_grad():
        assert ops.max_pool2d(x, 2).grad_fn is None


def test_first_of_ties_wins():
    x = Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    ops.max_pool2d(x, 2).sum().backward()
    assert np.array_equal(np.argwhere(x.grad.numpy()[0, 0]), [[0, 0], [0, 2], [2, 0], [2, 2]])


@pytest.mark.parametrize("geometry", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_nan_and_inf_gradients_reach_the_winners_only(geometry):
    x = Tensor(numbers(1, 2, 6, 6), requires_grad=True)
    y = ops.max_pool2d(x, *geometry)
    g = np.full(y.shape, np.inf)
    g[0, 1] = np.nan
    winners = {}
    for fill in (1.0, None):
        (gx,) = grad(y, x, Tensor(np.ones(y.shape) if fill else g), retain_graph=True)
        winners[fill] = gx.numpy()
    assert np.array_equal(winners[1.0] != 0, ~np.isfinite(winners[None]))


@pytest.mark.parametrize("geometry", [(2, 2, 0), (3, 2, 1)])
def test_keeps_the_memory_order(geometry):
    for make in (channels_last, lambda *s: numbers(*s, dtype="float32")):
        x = from_numpy(make(2, 8, 10, 10)).requires_grad_()
        y = ops.max_pool2d(x, *geometry)
        assert is_channels_last(y.array) == is_channels_last(x.array)
        y.sum().backward()
        assert is_channels_last(x.grad.array) == is_channels_last(x.array)


@pytest.mark.parametrize("geometry", [(2, 2, 0), (3, 2, 1)])
def test_same_bits_with_any_number_of_threads(geometry):
    values, before, bits = channels_last(9, 16, 64, 64), get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            x = from_numpy(values).requires_grad_()
            y = ops.max_pool2d(x, *geometry)
            (y * y).sum().backward()
            bits.append((y.detach().numpy().tobytes(), x.grad.numpy().tobytes()))
    finally:
        set_num_threads(before)
    assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8"])
def test_integers(torch, dtype):
    x = numbers(1, 2, 5, 5, dtype=dtype)
    for padding in (0, 1):
        expected = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 2, padding)
        assert np.array_equal(ops.max_pool2d(Tensor(x), 3, 2, padding).numpy(), expected.numpy())


def test_window_of_nothing_but_padding():
    """Where every tap falls into the padding (torch 2.13 writes the gradient of such a window out of bounds)."""
    x = Tensor(np.ones((1, 1, 1, 1)), requires_grad=True)
    y = ops.max_pool2d(x, 2, 1, 1, 2)
    assert np.array_equal(y.detach().numpy(), [[[[-np.inf]]]])
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), [[[[0.0]]]])


@pytest.mark.parametrize(("options", "shape"), [
    ({"kernel_size": 2}, (4, 4)),
    ({"kernel_size": 2}, (1, 1, 1, 4, 4)),
    ({"kernel_size": 0}, (1, 1, 4, 4)),
    ({"kernel_size": 2, "stride": 0}, (1, 1, 4, 4)),
    ({"kernel_size": 2, "padding": 2}, (1, 1, 4, 4)),
    ({"kernel_size": 3, "padding": 2, "dilation": 2}, (1, 1, 4, 4)),
    ({"kernel_size": 2, "padding": -1}, (1, 1, 4, 4)),
    ({"kernel_size": 2, "dilation": 0}, (1, 1, 4, 4)),
    ({"kernel_size": 5}, (1, 1, 4, 4)),
    ({"kernel_size": (2, 2, 2)}, (1, 1, 4, 4)),
    ({"kernel_size": 2.5}, (1, 1, 4, 4)),
    ({"kernel_size": 2}, (1, 0, 4, 4)),
    ({"kernel_size": 1}, (1, 1, 0, 4)),
])
def test_rejects(torch, options, shape):
    check_rejected(lambda F, x: F.max_pool2d(x, **options), numbers(*shape))


def test_unpool_rejects(torch):
    x, index = numbers(1, 1, 2, 2), np.arange(4).reshape(1, 1, 2, 2)
    check_rejected(lambda F, x, i: F.max_unpool2d(x, i, 2), x, x)
    check_rejected(lambda F, x, i: F.max_unpool2d(x, i, 2), x, index[..., :1])
    check_rejected(lambda F, x, i: F.max_unpool2d(x, i, 2), x, index + 20)
    check_rejected(lambda F, x, i: F.max_unpool2d(x, i, 2, output_size=(9, 9)), x, index)
    check_rejected(lambda F, x, i: F.max_unpool2d(x, i, 2), x[0, 0], index[0, 0])
