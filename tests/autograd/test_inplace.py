"""Writing in place: what is refused, what backward notices, and gradients where it is allowed."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import gradcheck

x0 = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]])


def leaf(value=x0):
    return sv.tensor(value, requires_grad=True)


def test_a_leaf_that_requires_grad_is_refused():
    x = leaf()
    for write in (
        lambda: x.add_(1),
        lambda: x.zero_(),
        lambda: x.normal_(),
        lambda: x.__setitem__(0, 1.0),
        lambda: x[0].mul_(2),
        lambda: x.relu_(),
    ):
        with pytest.raises(RuntimeError, match="leaf"):
            write()
    np.testing.assert_array_equal(x.detach(), x0)
    with sv.no_grad():
        x.add_(1)
    x.data.mul_(2)
    np.testing.assert_array_equal(x.detach(), (x0 + 1) * 2)


def test_backward_names_the_operation_whose_memory_was_changed():
    for change in (
        lambda y: y.add_(1),
        lambda y: y.detach().add_(1),
        lambda y: y.data.zero_(),
        lambda y: y[0].detach().zero_(),
        lambda y: y.view(-1).add_(1),
    ):
        x = leaf()
        y = x * 1
        z = y.square().sum()
        change(y)
        with pytest.raises(RuntimeError, match=r"Square: 'x' .*modified by an in-place operation.*version"):
            z.backward()


def test_what_backward_does_not_need_may_be_changed():
    x = leaf()
    y = x * 1
    z = (y + 1).sum()
    y.mul_(100)
    z.backward()
    np.testing.assert_array_equal(x.grad, np.ones_like(x0))


def test_an_outdated_alias_is_refused():
    x = leaf()
    y = x * 1
    alias = y.view(6)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="outdated"):
        alias * 2
    np.testing.assert_array_equal((y * 2).detach(), x0 * 4)


def test_expanded_and_read_only_memory_is_refused():
    with pytest.raises(RuntimeError, match="expanded"):
        sv.zeros(3).expand(2, 3).add_(1)
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        sv.from_numpy(frozen).add_(1)


IN_PLACE = {
    "add_": lambda a, b: a.add_(b, alpha=3),
    "sub_": lambda a, b: a.sub_(b),
    "mul_": lambda a, b: a.mul_(b),
    "div_": lambda a, b: a.div_(b),
    "pow_": lambda a, b: a.pow_(3),
    "neg_": lambda a, b: a.neg_(),
    "exp_": lambda a, b: a.exp_(),
    "abs_": lambda a, b: a.abs_(),
    "clamp_": lambda a, b: a.clamp_(-1, 1.2),
    "lerp_": lambda a, b: a.lerp_(b, 0.3),
    "addcmul_": lambda a, b: a.addcmul_(b, b, value=0.5),
    "addcdiv_": lambda a, b: a.addcdiv_(a * 1, b),
    "masked_fill_": lambda a, b: a.masked_fill_(a > 0, 7.0),
    "copy_": lambda a, b: a.copy_(b),
    "fill_": lambda a, b: a.fill_(2.0),
    "zero_": lambda a, b: a.zero_(),
    "relu_": lambda a, b: a.relu_(),
    "setitem": lambda a, b: _set(a, b),
    "+=": lambda a, b: _iadd(a, b),
    "mul_ broadcast": lambda a, b: a.mul_(b[:1]),
    "sqrt_": lambda a, b: a.abs_().sqrt_(),
}


def _set(a, b):
    a[1, 1:] = b[0, :2] * 2
    return a


def _iadd(a, b):
    a += b
    a /= 2
    return a


@pytest.mark.parametrize("name", IN_PLACE)
def test_recorded_forms_have_torchs_gradients(torch, name):
    b0 = np.array([[0.7, -1.1, 2.0], [1.5, 0.3, -0.4]])
    results = []
    for library in (sv, torch):
        x, b = library.tensor(x0, requires_grad=True), library.tensor(b0, requires_grad=True)
        a = x * 2
        out = IN_PLACE[name](a, b)
        assert out is a and not a.is_leaf
        (a * a).sum().backward()
        results.append((a.detach().numpy(), *(None if t.grad is None else t.grad.numpy() for t in (x, b))))
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_in_place_into_a_fresh_tensor_is_recorded():
    def build(x):
        out = sv.zeros(3, 3, dtype=sv.float64)
        out[1:] = x
        out[:, 0].detach()
        return out * out

    assert gradcheck(build, [leaf()])


def test_gradient_of_a_chain_of_writes():
    def chain(x, y):
        a = x * 2
        a.mul_(y).add_(x)
        a[0] = y[1]
        a[:, 1:] = a[:, 1:] * 3
        return a.mul_(a).div_(50).exp_() * a

    assert gradcheck(chain, [leaf(), leaf(x0[::-1] + 0.25)])


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda x: x.long().add_(1.5), "can't be cast"),
        (lambda x: x.long().div_(2), "can't be cast"),
        (lambda x: x.long().mul_(x), "can't be cast"),
        (lambda x: (x > 0).add_(1), "can't be cast"),
        (lambda x: x.add_(sv.ones(2, 2, 3)), "broadcast shape"),
        (lambda x: x[:1].add_(x), "broadcast shape"),
        (lambda x: x.add_(sv.ones(2)), "do not broadcast"),
        (lambda x: x.copy_(sv.ones(5)), "broadcast"),
        (lambda x: x.fill_(sv.ones(2)), "0-dimensional"),
        (lambda x: x.masked_fill_(x, 0), "bool"),
        (lambda x: x.long().normal_(), "floating"),
        (lambda x: x.normal_(0, -1), "std"),
        (lambda x: x.uniform_(1, 0), "low"),
        (lambda x: x.bernoulli_(2), "p must be"),
        (lambda x: x.clamp_(), "at least one"),
    ],
)
def test_what_torch_refuses(write, error):
    x = sv.tensor(x0)
    with pytest.raises(RuntimeError, match=error):
        write(x)
    np.testing.assert_array_equal(x, x0)


def test_unrecorded_writes_stay_in_their_memory_and_count():
    x = sv.from_numpy(np.zeros((3, 200_000), np.float32))
    array, version = x.array, x.version.value
    other = sv.ones(3, 200_000)
    x.add_(other, alpha=2).mul_(3).sub_(1).div_(5).lerp_(other, 0.5).addcmul_(other, other, value=2).addcdiv_(
        other, other, value=-1
    )
    assert x.array is array and x.version.value == version + 7
    np.testing.assert_allclose(array, 2, rtol=1e-6)


def test_tiles_give_the_same_as_the_whole():
    base = RNG.normal(size=(2, 400_000)).astype(np.float32)
    a, b = sv.tensor(base), sv.tensor(base[:, ::-1].copy())
    a.addcdiv_(b, b * b + 1, value=0.3).lerp_(b, 0.8)
    c = base[:, ::-1]
    expected = base + np.float32(0.3) * (c / (c * c + 1))
    np.testing.assert_allclose(a, expected + np.float32(0.8) * (c - expected), rtol=2e-6, atol=1e-6)


def test_overlapping_operands():
    x = sv.arange(300_000, dtype=sv.float64)
    x[1:].add_(x[:-1])
    np.testing.assert_array_equal(x.numpy()[1:], np.arange(1, 300_000) + np.arange(299_999))


RNG = np.random.default_rng(0)
