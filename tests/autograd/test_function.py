"""Operations that users write as for torch."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import Function, gradcheck


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        assert isinstance(x, sv.Tensor) and not sv.is_grad_enabled()
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


class Scale(Function):
    """Two results, an option that is no tensor, an argument without a gradient."""

    @staticmethod
    def forward(ctx, x, factor, y):
        ctx.factor = factor
        return x * factor, y + 1

    @staticmethod
    def backward(ctx, gx, gy):
        assert ctx.needs_input_grad == (True, False, True)
        return gx * ctx.factor, None, gy


def leaf(*values):
    return sv.tensor(np.array(values), requires_grad=True)


def test_forward_and_backward():
    x = leaf(1.0, 2.0)
    y = Cube.apply(x)
    assert y.requires_grad and y.grad_fn.name == "Cube"
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 12])
    assert gradcheck(Cube.apply, [x])


def test_several_results_and_plain_arguments():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    a, b = Scale.apply(x, 5, y)
    (a.sum() * 2).backward()  # b is not used: its gradient is zeros
    np.testing.assert_array_equal(x.grad, [10, 10])
    np.testing.assert_array_equal(y.grad, [0])
    assert b.requires_grad


def test_saved_tensors_are_watched():
    x = leaf(1.0, 2.0)
    a = x * 1
    y = Cube.apply(a)
    a.add_(1)
    with pytest.raises(RuntimeError, match="Cube: .*in-place"):
        y.sum().backward()


def test_same_code_under_torch(torch):
    def build(library):
        class Double(library.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x.exp()

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * 2 * x

        x = library.tensor([0.5, -1.0], requires_grad=True)
        Double.apply(x * 3).sum().backward()
        return x.grad.numpy()

    np.testing.assert_allclose(build(sv), build(torch), rtol=1e-6)


def test_an_output_without_gradient(torch):
    def build(module):
        class Split(module.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                whole = x.floor()
                ctx.mark_non_differentiable(whole)
                return x - whole, whole

            @staticmethod
            def backward(ctx, g, _):
                return g

        x = module.tensor([1.5, -0.25], requires_grad=True)
        rest, whole = Split.apply(x)
        assert rest.requires_grad and not whole.requires_grad
        (rest * 2).sum().backward()
        return x.grad.numpy()

    np.testing.assert_array_equal(build(sv), build(torch))


def test_gradcheck_catches_a_wrong_gradient():
    class Wrong(Cube):
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3.01 * x * x

    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"input 0: d out\[0\] / d in\[0\] is 3.01 by backward, 3 by differences"):
        gradcheck(Wrong.apply, [x])
    assert not gradcheck(Wrong.apply, [x], raise_exception=False)


def test_gradcheck_wants_float64_that_requires_grad():
    with pytest.raises(ValueError, match="float64"):
        gradcheck(lambda x: x * 2, [sv.ones(2, requires_grad=True)])
    with pytest.raises(ValueError, match="requires grad"):
        gradcheck(lambda x: x * 2, [sv.ones(2)])


def test_gradcheck_sees_a_missing_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="gradcheck"):
        gradcheck(lambda x: x * x.detach(), [x])
