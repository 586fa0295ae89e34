"""matmul and its kin, comparison and logic, creation and random fills: edges, against torch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scratchvgg as sv

from .twins import same, same_error


@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3), st.integers(0, 3))
def test_matmul(shapes, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    same(torch, lambda _, a, b: a @ b, *(rng.normal(size=s) for s in shapes.input_shapes), grad=True)


@pytest.mark.parametrize("swap", [(False, False), (True, False), (False, True), (True, True)])
def test_transposed_factors(torch, swap):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(4, 4)) for _ in range(2))
    same(torch, lambda _, a, b: (a.T if swap[0] else a) @ (b.T if swap[1] else b), a, b, grad=True)


def test_half_and_integers(torch):
    rng = np.random.default_rng(0)
    same(torch, lambda _, a, b: a @ b, rng.integers(-5, 5, (3, 4)), rng.integers(-5, 5, (4, 2)))
    same(
        torch,
        lambda _, a, b: a @ b,
        rng.normal(size=(3, 64)).astype(np.float16),
        rng.normal(size=(64, 2)).astype(np.float16),
        grad=True,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t, x: x @ t.ones(2),
        lambda t, x: x @ t.ones(3).double(),
        lambda t, x: x.mm(t.ones(3)),
        lambda t, x: t.dot(x, x),
        lambda t, x: x @ t.tensor(1.0),
        lambda t, x: x.bmm(x),
        lambda t, x: t.ones(2, 3, 4) @ t.ones(3, 4, 5),
        lambda t, x: x @ x,
        lambda t, x: t.dot(t.ones(2), t.ones(3)),
        lambda t, x: t.outer(x, x),
        lambda t, x: x @ 2.0,
        lambda t, x: t.ones(2, 2, 3).bmm(t.ones(3, 3, 2)),
        lambda t, x: x & x,
        lambda t, x: ~x,
        lambda t, x: t.allclose(x, x.double()),
        lambda t, x: t.isclose(x, x.double()),
        lambda t, x: x.lerp(x.double(), 0.5),
        lambda t, x: t.addcdiv(x.long(), x.long(), x.long()),
        lambda t, x: x.bool().abs(),
        lambda t, x: x < "a",
        lambda t, x: x == t.ones(4),
    ],
)
def test_what_torch_refuses(torch, wrong):
    same_error(torch, lambda t: wrong(t, t.arange(6.0).reshape(2, 3)))


def test_comparison_of_whole_tensors():
    nan = sv.tensor([1.0, float("nan")])
    assert sv.ones(2).equal(sv.ones(2)) and not sv.ones(2).equal(sv.ones(1)) and not nan.equal(nan)
    assert sv.ones(2).allclose(sv.ones(2) + 1e-6) and not nan.allclose(nan) and nan.allclose(nan, equal_nan=True)
    inf = sv.tensor([float("inf")])
    assert inf.allclose(inf) and not inf.allclose(-inf) and not sv.ones(1).allclose(inf)


def test_logic(torch):
    same(
        torch,
        lambda t, a, b: [a & b, a | b, a ^ b, ~a, a & 3, a.logical_and(b), a.logical_or(b), a.logical_xor(b), a.logical_not()],
        [0, 1, 6, -1],
        [3, 0, 5, 7],
    )
    same(torch, lambda t, a, b: [a & b, a | b, a ^ b, ~a, a & True], [True, False], [True, True])
    same(torch, lambda t, a: [a.logical_not(), a.logical_and(a), a.all(), a.any()], [0.0, 0.5, float("nan")])


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.zeros(()),
        lambda t: t.zeros(2, 0),
        lambda t: t.ones((2,), dtype=t.bool),
        lambda t: t.full((2,), True),
        lambda t: t.full([2], 3),
        lambda t: t.full((), 2.5),
        lambda t: t.arange(3),
        lambda t: t.arange(3.0),
        lambda t: t.arange(1, 2, 0.3),
        lambda t: t.arange(0, 1, 0.1),
        lambda t: t.arange(5, 1, -2),
        lambda t: t.arange(1, 1),
        lambda t: t.arange(3, dtype=t.float64),
        lambda t: t.arange(0.5, 4),
        lambda t: t.linspace(0, 1, 0),
        lambda t: t.linspace(0, 1, 1),
        lambda t: t.linspace(-1, 1, 7),
        lambda t: t.linspace(0, 10, 3, dtype=t.int64),
        lambda t: t.eye(2, 3),
        lambda t: t.eye(0),
        lambda t: t.ones(2).new_zeros(3),
        lambda t: t.ones(2).long().new_full((2,), 7),
        lambda t: t.ones(2).double().new_tensor([1, 2]),
        lambda t: t.zeros_like(t.arange(3), dtype=t.float32),
        lambda t: t.full_like(t.ones(2), 3),
        lambda t: t.ones(2).new_ones((1, 2)),
    ],
)
def test_creation(torch, make):
    same(torch, make)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: t.arange(1, 0),
        lambda t: t.arange(0, 1, 0),
        lambda t: t.linspace(0, 1, -1),
        lambda t: t.eye(-1),
        lambda t: t.zeros(-1),
        lambda t: t.randperm(-1),
        lambda t: t.zeros(2.5),
        lambda t: t.zeros("a"),
        lambda t: t.zeros(),
        lambda t: t.randint(3, 3, (2,)),
        lambda t: t.randn(2, dtype=t.int64),
        lambda t: t.zeros(2, dtype=t.int64, requires_grad=True),
        lambda t: t.zeros(2, device="nowhere"),
        lambda t: t.randn_like(t.arange(3)),
        lambda t: t.bernoulli(t.tensor([2.0])),
        lambda t: t.zeros(2).bernoulli_(-0.5),
        lambda t: t.zeros(2).random_(3, 3),
    ],
)
def test_creation_that_torch_refuses(torch, wrong):
    same_error(torch, wrong)


def test_random_fills_are_the_generators_numbers():
    for fill, draw in ((lambda x, g: x.normal_(generator=g), "normal"), (lambda x, g: x.uniform_(generator=g), "uniform")):
        for memory in (
            np.empty((2, 3, 4, 5), np.float32),
            np.empty((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2),
            np.empty((5, 4, 3, 2)).T,
        ):
            x = fill(sv.from_numpy(memory), sv.Generator(7))
            np.testing.assert_array_equal(x, getattr(sv.Generator(7), draw)((2, 3, 4, 5), memory.dtype))


def test_random_fills_scale_and_have_their_range():
    sv.manual_seed(1)
    x = sv.empty(50_000)
    assert abs(x.normal_(3, 2).mean().item() - 3) < 0.05 and abs(x.std().item() - 2) < 0.05
    x.uniform_(-2, 6)
    assert x.min() >= -2 and x.max() < 6 and abs(x.mean().item() - 2) < 0.1
    x.bernoulli_(0.25)
    assert set(x.unique().tolist()) == {0, 1} and abs(x.mean().item() - 0.25) < 0.02
    x.bernoulli_(sv.tensor([0.0, 1.0]).repeat(25_000))
    assert x[::2].sum() == 0 and x[1::2].mean() == 1
    n = sv.empty(50_000, dtype=sv.int64).random_(2, 9)
    assert n.min() == 2 and n.max() == 8
    assert sv.empty(1000, dtype=sv.uint8).random_().max() > 200 and sv.empty(1000).random_().max() > 1 << 20
    assert sv.empty(9, dtype=sv.int64).random_(5).max() < 5


def test_seeds():
    def draws():
        return [
            sv.randn(3),
            sv.rand(3),
            sv.randint(0, 100, (3,)),
            sv.randperm(5),
            sv.randn_like(sv.ones(3)),
            sv.bernoulli(sv.full((9,), 0.5)),
        ]

    sv.manual_seed(5)
    first = draws()
    sv.manual_seed(5)
    assert all(a.equal(b) for a, b in zip(first, draws(), strict=True))
    assert sv.randn(3, generator=sv.Generator(1)).equal(sv.randn(3, generator=sv.Generator(1)))
    assert not sv.randn(3).equal(sv.randn(3))


def test_random_fills_forget_the_history():
    x = sv.ones(3, requires_grad=True)
    y = x * 2
    y.normal_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
