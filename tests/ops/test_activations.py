"""Activations beyond the table of cases: extremes, in-place forms, accuracy of GELU's erf, errors."""

import itertools
import math

import numpy as np
import pytest

from scratchvgg.autograd import Tensor, ops
from tests.harness import Case, array, normal, rms_error, run

from .rejections import check_rejected, numbers

inf = float("inf")
EXTREMES = [-inf, -1e4, -100.0, -20.0, -1e-3, -0.0, 0.0, 1e-3, 20.0, 100.0, 1e4, inf, float("nan")]
FORMS = {
    "sigmoid": {}, "tanh": {}, "leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 1.5}, "silu": {}, "softplus": {"beta": 2.0},
    "hardtanh": {"min_val": -0.5, "max_val": 2.0}, "relu6": {}, "relu": {}, "gelu": {},
}


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "leaky_relu", "elu", "softplus", "hardtanh", "relu6", "relu"])
def test_extremes(torch, name):
    finite = [v for v in EXTREMES if np.isfinite(v) and abs(v) != 0]
    run(Case(name, "large", (array(finite),), lambda F, x: getattr(F, name)(x, **FORMS[name])))
    run(Case(name, "extreme", (array(EXTREMES, grad=False),), lambda F, x: getattr(F, name)(x, **FORMS[name])))


@pytest.mark.parametrize("name", sorted(FORMS))
def test_0_dimensional_and_empty(torch, name):
    for shape in ((), (0,), (0, 3)):
        run(Case(name, str(shape), (normal(*shape),), lambda F, x: getattr(F, name)(x, **FORMS[name])))


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "silu", "hardtanh", "relu6", "relu"])
def test_in_place(torch, name):
    values, results = numbers(4, 5) * 4, []
    for make, F in ((Tensor, ops), (torch.tensor, torch.nn.functional)):
        leaf = make(values).requires_grad_()
        x = leaf * 2
        y = getattr(F, name)(x, **FORMS[name], inplace=True)
        assert y is x
        (y * y).sum().backward()
        results.append((y.detach().numpy(), leaf.grad.numpy()))
        with pytest.raises(RuntimeError, match="leaf"):
            getattr(F, name)(leaf, inplace=True)
    for ours, theirs in zip(*results, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-13)


def test_leaky_relu_in_place_with_a_negative_slope_is_refused():
    x = Tensor(numbers(3), requires_grad=True) * 1
    with pytest.raises(RuntimeError, match="negative slope"):
        ops.leaky_relu(x, -0.1, inplace=True)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_error(torch, approximate):
    """float32: RMS at most twice torch's everywhere, also in the tails and for the derivative."""
    for scale in (0.1, 1.0, 4.0):
        x = (numbers(50_000) * scale).astype(np.float32)
        results = {}
        for name, dtype in (("theirs", torch.float32), ("truth", torch.float64)):
            t = torch.tensor(x, dtype=dtype, requires_grad=True)
            y = torch.nn.functional.gelu(t, approximate=approximate)
            y.sum().backward()
            results[name] = y.detach().numpy(), t.grad.numpy()
        t = Tensor(x, requires_grad=True)
        y = ops.gelu(t, approximate=approximate)
        y.sum().backward()
        for ours, theirs, truth in zip((y.detach().numpy(), t.grad.numpy()), *results.values(), strict=True):
            assert ours.dtype == np.float32
            assert rms_error(ours, truth) <= 2 * rms_error(theirs, truth)


def test_gelu_in_float64_is_exact():
    x = np.linspace(-9, 9, 2001)
    expected = [0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x]
    assert np.abs(ops.gelu(Tensor(x)).numpy() - expected).max() < 2e-15


@pytest.mark.parametrize("name", ["gelu", "relu", "leaky_relu", "sigmoid", "tanh", "erf"])
@pytest.mark.parametrize("dims", list(itertools.permutations(range(3))), ids=str)
def test_stretched_and_sliced_inputs(torch, name, dims):
    def both(ops, tensor):
        wide = tensor(numbers(3, 1, 4)).expand(3, 5, 4).permute(*dims)
        gaps = tensor(numbers(6, 5, 8))[::2, :, 1::2].permute(*dims)
        return [getattr(ops, name)(x) for x in (wide, gaps)]

    theirs = both(torch.nn.functional if name not in ("erf", "sigmoid", "tanh") else torch, torch.from_numpy)
    for ours, expected in zip(both(ops, Tensor), theirs, strict=True):
        assert np.allclose(ours.numpy(), expected.numpy(), rtol=1e-12)


def test_gelu_keeps_one_array_and_none_without_gradient():
    x = Tensor(numbers(10), requires_grad=True)
    assert [a.shape for a in ops.gelu(x).grad_fn.ctx.kept.values()] == [(10,)]


def test_integers_become_floats_or_stay(torch):
    x = np.array([-7, 0, 3, 9])
    for name in ("sigmoid", "tanh", "hardtanh", "relu6"):
        expected = getattr(torch.nn.functional, name)(torch.tensor(x)).numpy()
        ours = getattr(ops, name)(Tensor(x)).numpy()
        assert ours.dtype == expected.dtype
        assert np.allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "silu", "softplus", "gelu"])
def test_rejects_integers(torch, name):
    check_rejected(lambda F, x: getattr(F, name)(x), numbers(3, dtype="int64"))


def test_rejects(torch):
    check_rejected(lambda F, x: F.gelu(x, approximate="fast"), numbers(3))
    check_rejected(lambda F, x: F.hardtanh(x, 2.0, 1.0), numbers(3))
    check_rejected(lambda F, x: F.relu6(x), np.array([True, False]))
