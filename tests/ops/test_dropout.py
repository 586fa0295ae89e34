"""Dropout: which elements, how many, the same for any threads and memory order; in place; errors."""

import numpy as np
import pytest

from scratchvgg.array import default_generator, get_num_threads, manual_seed, philox, set_num_threads
from scratchvgg.autograd import Tensor, ops

from .rejections import check_rejected, numbers


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_scale(p):
    x = Tensor(np.ones(200_000, np.float32))
    y = ops.dropout(x, p).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((y == 0).mean() - p) < 6 * np.sqrt(p * (1 - p) / y.size)
    assert y.dtype == np.float32


def test_mask_is_the_stream_against_the_threshold():
    manual_seed(7)
    y = ops.dropout(Tensor(np.ones(1000)), 0.3).numpy()
    assert np.array_equal(y != 0, philox.random_words(7, 0, 0, 1000) >= round(0.3 * 2**32))
    assert default_generator.offset == 1000


def test_same_mask_for_any_threads_and_memory_order():
    before, seen = get_num_threads(), set()
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            for order in "CF":
                manual_seed(3)
                y = ops.dropout(Tensor(np.ones((700, 900), order=order)), 0.5).numpy()
                seen.add(np.ascontiguousarray(y).tobytes())
    finally:
        set_num_threads(before)
    assert len(seen) == 1


def test_gradient_passes_where_the_value_did():
    x = Tensor(np.ones((40, 50)), requires_grad=True)
    y = ops.dropout(x, 0.4)
    y.backward(Tensor(np.full((40, 50), 3.0)))
    assert np.array_equal(x.grad.numpy(), 3 * y.detach().numpy())


@pytest.mark.parametrize("shape", [(30, 20, 4, 5), (30, 20, 4), (30, 20)])
def test_dropout2d_drops_whole_channels(shape):
    y = ops.dropout2d(Tensor(np.ones(shape)), 0.5).numpy().reshape(600, -1)
    assert np.array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert 200 < (y[:, 0] == 0).sum() < 400


def test_ends():
    x = Tensor(numbers(50))
    assert ops.dropout(x, 0.0) is x
    assert ops.dropout(x, 0.7, training=False) is x
    assert not ops.dropout(x, 1.0).numpy().any()


def test_in_place():
    leaf = Tensor(numbers(6, 5), requires_grad=True)
    x = leaf * 1
    y = ops.dropout(x, 0.5, inplace=True)
    assert y is x
    y.sum().backward()
    assert np.array_equal(leaf.grad.numpy(), np.where(y.detach().numpy() != 0, 2.0, 0.0))
    with pytest.raises(RuntimeError, match="leaf"):
        ops.dropout(leaf, 0.5, inplace=True)


@pytest.mark.parametrize(("name", "p", "shape", "dtype"), [
    ("dropout", 1.5, (3,), "float64"),
    ("dropout", -0.1, (3,), "float64"),
    ("dropout", 0.5, (3,), "int64"),
    ("dropout2d", 1.5, (3, 3), "float64"),
    ("dropout2d", 0.5, (3,), "float64"),
])
def test_rejects(torch, name, p, shape, dtype):
    x = numbers(*shape, dtype=dtype)
    if dtype == "int64":  # NotImplementedError is a RuntimeError, torch's class here
        with pytest.raises(RuntimeError):
            ops.dropout(Tensor(x), p)
    else:
        check_rejected(lambda F, x: getattr(F, name)(x, p), x)
