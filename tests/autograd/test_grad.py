"""autograd.grad: gradients without touching .grad."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import grad

x0 = np.array([1.0, 2.0, 3.0])


def test_of_leaves_and_in_between():
    x = sv.tensor(x0, requires_grad=True)
    y = x * x
    z = (y * 3).sum()
    gy, gx = grad(z, [y, x])
    np.testing.assert_array_equal(gy, [3, 3, 3])
    np.testing.assert_array_equal(gx, 6 * x0)
    assert x.grad is None and not gx.requires_grad


def test_of_itself():
    x = sv.tensor(2.0, requires_grad=True)
    assert grad(x, x)[0] == 1


def test_several_outputs_with_weights():
    x = sv.tensor(x0, requires_grad=True)
    (g,) = grad([x * 2, x.sum()], [x], [sv.tensor([1.0, 0.0, 0.0], dtype=sv.float64), sv.tensor(10.0)])
    np.testing.assert_array_equal(g, [12, 10, 10])


def test_unused():
    x, unused = sv.tensor(x0, requires_grad=True), sv.tensor(x0, requires_grad=True)
    with pytest.raises(RuntimeError, match="input 1 was not used"):
        grad(x.sum(), [x, unused])
    gx, none = grad(x.sum(), [x, unused], allow_unused=True)
    assert none is None and gx.shape == (3,)


def test_errors():
    x = sv.tensor(x0, requires_grad=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad(x.sum(), [sv.ones(2)])
    with pytest.raises(RuntimeError, match="create_graph"):
        grad(x.sum(), [x], create_graph=True)
    with pytest.raises(RuntimeError, match="1 tensors and 2 gradients"):
        grad([x.sum()], [x], [sv.ones(()), sv.ones(())])


def test_the_tape_stays_with_retain_graph_only():
    x = sv.tensor(x0, requires_grad=True)
    y = x.exp().sum()
    first = grad(y, [x], retain_graph=True)[0]
    np.testing.assert_array_equal(first, grad(y, [x])[0])
    with pytest.raises(RuntimeError, match="second time"):
        grad(y, [x])


def test_branches_that_lead_nowhere_are_not_walked():
    class Trap(sv.autograd.Op):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("walked")

    x, other = sv.tensor(x0, requires_grad=True), sv.tensor(x0, requires_grad=True)
    np.testing.assert_array_equal(grad((x * 2 + Trap.apply(other)).sum(), [x])[0], [2, 2, 2])
