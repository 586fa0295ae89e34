"""batch_norm_relu against the layers one by one: values, gradients, running statistics, odd sizes, ties, what is kept."""

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.autograd import Tensor, no_grad, ops
from scratchvgg.nn.functional import batch_norm_relu

from .rejections import numbers

SHAPES = [(4, 3, 6, 8), (2, 5, 7, 9), (3, 130, 2, 3), (8, 64, 33, 32), (0, 3, 4, 4)]


def layers(x, mean, var, weight, bias, training, pool=False, **options):
    y = ops.relu(ops.batch_norm(x, mean, var, weight, bias, training, **options))
    return ops.max_pool2d(y, 2) if pool else y


def run(function, shape, training, pool, dtype="float64", affine=True, round_to=None):
    """y, the gradients, and the running statistics afterwards."""
    c, values = shape[1], numbers(*shape)
    x = Tensor((values if round_to is None else np.round(values, round_to)).astype(dtype), requires_grad=True)
    weight, bias = (Tensor(numbers(c, dtype=dtype), requires_grad=True) for _ in range(2)) if affine else (None, None)
    rng = np.random.default_rng(3)
    mean, var = Tensor(rng.normal(size=c).astype(dtype)), Tensor(rng.random(c).astype(dtype) + 0.5)
    y = function(x, mean, var, weight, bias, training, pool=pool)
    y.backward(Tensor(rng.normal(size=y.shape).astype(dtype)))
    grads = [t.grad.numpy() for t in (x, weight, bias) if t is not None]
    return [y.detach().numpy(), *grads, mean.numpy(), var.numpy()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equals_the_layers(shape, pool, training, dtype):
    fused, separate = (run(f, shape, training, pool, dtype) for f in (batch_norm_relu, layers))
    np.testing.assert_array_equal(fused[0], separate[0])
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for a, b in zip(fused[1:], separate[1:], strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pool", [False, True])
def test_ties_and_no_parameters(pool):
    fused, separate = (run(f, (3, 4, 6, 6), True, pool, affine=False, round_to=0) for f in (batch_norm_relu, layers))
    for a, b in zip(fused, separate, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("pool", [False, True])
def test_against_torch(torch, pool):
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=s) for s in ((4, 3, 7, 8), 3, 3, 3)] + [rng.random(3) + 0.5]
    ours = [Tensor(a, requires_grad=i < 3) for i, a in enumerate(arrays)]
    theirs = [torch.tensor(a, requires_grad=i < 3) for i, a in enumerate(arrays)]
    x, weight, bias, mean, var = ours
    y = batch_norm_relu(x, mean, var, weight, bias, True, pool=pool)
    x, weight, bias, mean, var = theirs
    z = torch.relu(torch.nn.functional.batch_norm(x, mean, var, weight, bias, True))
    z = torch.nn.functional.max_pool2d(z, 2) if pool else z
    g = rng.normal(size=y.shape)
    y.backward(Tensor(g)), z.backward(torch.tensor(g))
    pairs = [(y, z), *((a.grad, b.grad) for a, b in zip(ours[:3], theirs[:3], strict=True)), *zip(ours[3:], theirs[3:], strict=True)]
    for a, b in pairs:
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-11, atol=1e-12)


def test_gradients_only_where_wanted():
    x, weight = Tensor(numbers(2, 3, 4, 4)), Tensor(numbers(3), requires_grad=True)
    batch_norm_relu(x, None, None, weight, None, True, pool=True).sum().backward()
    assert x.grad is None and weight.grad is not None
    x.requires_grad, weight.requires_grad = True, False
    batch_norm_relu(x, Tensor(np.zeros(3)), Tensor(np.ones(3)), weight).sum().backward()
    assert x.grad is not None


def test_the_tape_keeps_no_normalised_values():
    x = Tensor(numbers(2, 8, 16, 16, dtype="float32"), requires_grad=True)
    kept = batch_norm_relu(x, training=True, pool=True).grad_fn.ctx.kept
    assert kept["input"].nbytes == x.array.nbytes and kept["output"].shape == kept["winners"].shape == (2, 8, 8, 8)
    with no_grad():
        assert batch_norm_relu(x, training=True, pool=True).grad_fn is None


def test_same_bits_with_any_number_of_threads():
    before, bits = get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            bits.append([a.tobytes() for a in run(batch_norm_relu, (9, 32, 34, 32), True, True, "float32")])
    finally:
        set_num_threads(before)
    assert bits[0] == bits[1] == bits[2]


def test_half_precision_is_rounded_between_the_steps():
    for pool in (False, True):
        fused, separate = (run(f, (3, 4, 6, 6), True, pool, "float16", affine=False) for f in (batch_norm_relu, layers))
        for a, b in zip(fused, separate, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rejects_before_anything_is_changed():
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    with pytest.raises(RuntimeError, match="max_pool2d: .* no room"):
        batch_norm_relu(Tensor(numbers(2, 3, 1, 4)), mean, var, training=True, pool=True)
    with pytest.raises(RuntimeError, match="batch_norm: weight must be"):
        batch_norm_relu(Tensor(numbers(2, 3, 4, 4)), mean, var, Tensor(numbers(4)), training=True)
    with pytest.raises(ValueError, match="eps"):
        batch_norm_relu(Tensor(numbers(2, 3, 4, 4)), mean, var, training=True, eps=0.0)
    assert not mean.numpy().any() and mean.version.value == 0
