"""unfold and fold, one_hot and local response normalisation: their identities and errors."""

import numpy as np
import pytest

from scratchvgg.autograd import Tensor, ops

from .rejections import check_rejected, numbers


@pytest.mark.parametrize("geometry", [
    {"kernel_size": 3}, {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, {"kernel_size": 1, "stride": 3},
])
def test_fold_is_the_transpose_of_unfold(geometry):
    x = Tensor(numbers(2, 3, 7, 8))
    columns = ops.unfold(x, **geometry)
    other = np.random.default_rng(1).normal(size=columns.shape)
    back = ops.fold(Tensor(other), (7, 8), **geometry)
    assert np.isclose((columns.numpy() * other).sum(), (x.numpy() * back.numpy()).sum(), rtol=1e-12)


def test_unfold_makes_convolution_a_product(torch):
    x, w = numbers(2, 3, 6, 5), numbers(4, 3, 3, 3)
    expected = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), padding=1).numpy()
    columns = ops.unfold(Tensor(x), 3, padding=1).numpy()
    assert np.allclose((w.reshape(4, 27) @ columns).reshape(2, 4, 6, 5), expected, rtol=1e-12)


@pytest.mark.parametrize(("shape", "options"), [
    ((3, 3), {"kernel_size": 2}),
    ((1, 1, 3, 3), {"kernel_size": 5}),
    ((1, 1, 3, 3), {"kernel_size": 2, "stride": 0}),
    ((1, 1, 3, 3), {"kernel_size": 2, "padding": -1}),
    ((1, 0, 3, 3), {"kernel_size": 2}),
])
def test_unfold_rejects(torch, shape, options):
    check_rejected(lambda F, x: F.unfold(x, **options), numbers(*shape))


@pytest.mark.parametrize("shape", [(1, 4, 5), (1, 5, 4), (1, 1, 4, 4)])
def test_fold_rejects(torch, shape):
    check_rejected(lambda F, x: F.fold(x, 3, 2), numbers(*shape))


@pytest.mark.parametrize(("values", "count"), [
    (np.array([0.0, 1.0]), -1), (np.array([0, 1], "int32"), -1), (np.array([-1, 1]), -1), (np.array([5]), 2), (np.array([], "int64"), -1),
    (np.array([1]), 0), (np.array([1]), -2),
])
def test_one_hot_rejects(torch, values, count):
    check_rejected(lambda F, x: F.one_hot(x, count), values)


def test_local_response_norm_rejects(torch):
    check_rejected(lambda F, x: F.local_response_norm(x, 2), numbers(3, 3))
    check_rejected(lambda F, x: F.local_response_norm(x, 0), numbers(2, 3, 3))


def test_local_response_norm_window():
    """Krizhevsky's formula element by element, n = 5 and an even n."""
    x = numbers(2, 7, 3)
    for n in (4, 5, 20):
        d = np.stack([2 + 0.1 / n * (x[:, max(0, c - n // 2) : c + (n - 1) // 2 + 1] ** 2).sum(1) for c in range(7)], 1)
        assert np.allclose(ops.local_response_norm(Tensor(x), n, 0.1, 0.75, 2.0).numpy(), x / d**0.75, rtol=1e-13)
