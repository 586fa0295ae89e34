"""Reductions: dims, empty tensors, NaN, ties, accuracy."""

import itertools

import numpy as np
import pytest

import scratchvgg as sv

from .twins import same, same_error

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4))
NAMES = ["sum", "mean", "var", "std", "amax", "amin", "all", "any", "logsumexp", "norm"]


def call(x, name, dim, keepdim):
    return x.norm(2, dim, keepdim) if name == "norm" else getattr(x, name)(dim=dim, keepdim=keepdim)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [0, -1, (0, 2), (1,), (-1, 0, 1), [2, 1]], ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
def test_dims(torch, name, dim, keepdim):
    same(torch, lambda t, x: call(x, name, dim, keepdim), X, grad=name not in ("all", "any"))


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "prod", "cumsum", "sort", "argsort"])
def test_one_dim(torch, name):
    for dim in (0, 1, -1):
        same(torch, lambda t, x, d=dim: getattr(x, name)(d), X, grad=not name.startswith("arg"))


def test_all_and_the_empty_tuple(torch):
    for name in ("sum", "mean", "var", "std"):
        same(torch, lambda t, x, n=name: [getattr(x, n)(), getattr(x, n)(()), getattr(x, n)(dim=None, keepdim=True)], X)
    same(
        torch,
        lambda t, x: [
            x.amax(),
            x.amax(()),
            x.max(),
            x.min(),
            x.prod(),
            x.norm(),
            x.any(()),
            x.argmax(),
            x.argmin(keepdim=True),
            x.all(),
        ],
        X,
    )


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "all", "any", "var", "norm", "logsumexp"])
def test_of_nothing(torch, name):
    empty = np.zeros((0, 3))
    if name not in ("logsumexp",):
        same(torch, lambda t, x: getattr(x, name)(), empty)
    same(torch, lambda t, x: [getattr(x, name)(dim=0), getattr(x, name)(dim=1)], empty)


def test_zero_dimensional(torch):
    same(
        torch,
        lambda t, x: [
            x.sum(0),
            x.mean(-1),
            x.max(0),
            x.amax(0),
            x.argmax(0),
            x.prod(0),
            x.cumsum(0),
            x.sort(0),
            x.topk(1),
            x.any(0),
            x.norm(),
            x.logsumexp(0),
        ],
        3.0,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_integers(torch, dtype):
    def run(t, x):
        x = x.to(getattr(t, dtype))
        whole = [] if dtype == "bool" else [x.argmax(), x.max(1)]
        return [
            *whole,
            x.sum(),
            x.sum(0),
            x.prod(1),
            x.cumsum(1),
            x.max(),
            x.amin(0),
            x.all(),
            x.any(0),
            x.sort(1),
            x.mean(dtype=t.float32),
            x.sum(dtype=t.float64),
        ]

    same(torch, run, np.array([[1, 0, 200], [3, 1, 100]]))


def test_nan_wins(torch):
    x = [[1.0, float("nan"), 3.0], [float("nan"), 2.0, float("nan")], [1.0, float("inf"), 0.0]]
    same(
        torch,
        lambda t, x: [
            x.max(),
            x.min(),
            x.max(1),
            x.min(1),
            x.amax(0),
            x.amin(1),
            x.argmax(1),
            x.argmin(0),
            x.sort(1),
            x.sort(1, descending=True),
            x.topk(2, 1)[0],
            x.sum(),
            x.norm(),
        ],
        x,
    )


def test_ties(torch):
    x = [[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]]
    for pick in (
        lambda x: x.max(1),
        lambda x: x.min(1),
        lambda x: x.amax(1),
        lambda x: x.amin(0),
        lambda x: x.max(),
        lambda x: x.min(),
        lambda x: x.argmax(1) * x.sum(1),
        lambda x: x.sort(dim=1, stable=True),
        lambda x: x.sort(dim=1, descending=True, stable=True),
        lambda x: x.norm(float("inf")),
        lambda x: x.amax(),
    ):
        same(torch, lambda t, x, f=pick: f(x), x, grad=True)
    same(torch, lambda t, a, b: t.maximum(a, b), [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], grad=True)
    same(torch, lambda t, a, b: t.max(a, b), [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], grad=True)
    same(torch, lambda t, a, b: t.minimum(a, b), [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], grad=True)


def test_named_results():
    for result in (sv.ones(2, 3).max(1), sv.ones(2, 3).min(1), sv.ones(2, 3).sort(), sv.ones(2, 3).topk(2)):
        values, indices = result
        assert result.values is values and result.indices is indices and indices.dtype is sv.int64


def test_clamp(torch):
    x = [-2.0, -1.0, 0.5, 1.0, 3.0, float("nan")]
    for clamp in (
        lambda t, x: x.clamp(-1, 1),
        lambda t, x: x.clamp(min=0.5),
        lambda t, x: x.clamp(max=0.5),
        lambda t, x: x.clamp(2, 1),
        lambda t, x: x.clip(-1, 1),
    ):
        same(torch, clamp, x, grad=True)
    same(torch, lambda t, x, a, b: x.clamp(a, b), x[:5], [0.0, -1.0, 1.0, 2.0, -1.0], [1.0, 1.0, 2.0, 0.0, 2.0], grad=True)
    same(torch, lambda t, x: [x.clamp(min=0.5), x.clamp(1, 2), x.clamp(max=t.tensor(1.5))], [0, 1, 2, 3])
    same_error(torch, lambda t: t.ones(2).clamp())


def test_products_with_zeros(torch):
    for row in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [1.5, 2.0, -3.0]):
        same(torch, lambda t, x: x.prod(), row, grad=True)
        same(torch, lambda t, x: x.prod(1, keepdim=True), [row, [1.0, 2.0, 4.0]], grad=True)


def test_moments(torch):
    for options in ({"correction": 0}, {"unbiased": False}, {"correction": 2}, {"unbiased": True}):
        same(torch, lambda t, x, o=options: [x.var(1, **o), x.std((0, 1), keepdim=True, **o)], X, grad=True)
    same(torch, lambda t, x: [x.var(False), x.std(1, False, True), x.std(True)], X)
    same(torch, lambda t, x: x.std(1), np.array([[2.0, 2.0], [1.0, 3.0]]), grad=True)
    same(torch, lambda t, x: [x.var(), x.var(correction=0)], [3.0])


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, float("inf"), -float("inf"), "fro"], ids=str)
def test_norms(torch, p):
    x = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    same(torch, lambda t, x: x.norm(p), x, grad=p != 0)
    same(torch, lambda t, x: x.norm(p, 1, True), x, grad=p != 0)


def test_norm_at_zero(torch):
    for p in (1, 2, 3):
        same(torch, lambda t, x, p=p: x.norm(p), [0.0, 0.0], grad=True)


def test_logsumexp_of_extremes(torch):
    inf = float("inf")
    same(torch, lambda t, x: x.logsumexp(1), [[1000.0, 1000.0], [-inf, -inf], [inf, 0.0], [-inf, 2.0], [-1000.0, -1001.0]])
    same(torch, lambda t, x: x.logsumexp((0, 1)), [[1000.0, 999.0], [-2.0, 3.0]], grad=True)


def test_order(torch):
    same(torch, lambda t, x: [x.topk(2, 0), x.topk(3), x.topk(2, 1, largest=False), x.topk(0)], X, grad=True)
    same(
        torch,
        lambda t, x: [x.unique(), x.unique(return_counts=True), x.unique(return_inverse=True, return_counts=True)],
        [[3, 1, 2], [1, 1, 3]],
    )
    same(torch, lambda t, x: [x.unique(return_counts=True)], [1.0, float("nan"), float("nan")])
    same(
        torch,
        lambda t, x: [
            x.bincount(),
            x.bincount(minlength=9),
            x[:0].bincount(),
            x.bincount(t.ones(4)),
            x.bincount(t.ones(4, dtype=t.float64) * 0.5),
        ],
        [3, 1, 1, 5],
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t, x: x.sum(5),
        lambda t, x: x.sum((0, 0)),
        lambda t, x: x.sum((0, -2)),
        lambda t, x: x.long().mean(),
        lambda t, x: x.long().var(),
        lambda t, x: x.long().norm(),
        lambda t, x: x[:0].max(),
        lambda t, x: x[:0].max(0),
        lambda t, x: x[:0].amax(),
        lambda t, x: x[:0].amax(0),
        lambda t, x: x[:0].argmax(),
        lambda t, x: x[:0].argmax(0),
        lambda t, x: x.max(keepdim=True),
        lambda t, x: x.max(2),
        lambda t, x: x.topk(7),
        lambda t, x: x.topk(-1),
        lambda t, x: x.cumsum(3),
        lambda t, x: x.sum(1.5),
        lambda t, x: t.bincount(t.tensor([-1])),
        lambda t, x: t.bincount(t.tensor([1.0])),
        lambda t, x: t.bincount(t.tensor([[1]])),
        lambda t, x: x.prod((0, 1)),
        lambda t, x: x.softmax(4),
        lambda t, x: x.sort(2),
        lambda t, x: x.any(3),
    ],
)
def test_what_torch_refuses(torch, wrong):
    same_error(torch, lambda t: wrong(t, t.arange(6.0).reshape(2, 3)))


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2, 3), (1, 2), None], ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5], ids=str)
def test_sums_in_float32_are_as_good_as_torchs(torch, axes, order):
    exact = np.random.default_rng(1).uniform(0, 1, size=(32, 24, 20, 28)).astype(np.float32)
    memory = np.ascontiguousarray(exact.transpose(order)).transpose(np.argsort(order))
    truth = exact.astype(np.float64).sum(axes)
    ours = sv.from_numpy(memory).sum(axes).numpy()
    theirs = torch.from_numpy(exact).sum(axes if axes is not None else tuple(range(4))).numpy()
    scale = np.abs(truth).mean() * 2.0**-24
    assert np.sqrt(np.mean((ours - truth) ** 2)) <= 2 * np.sqrt(np.mean((theirs - truth) ** 2)) + scale


def test_half_precision_adds_in_float32(torch):
    same(torch, lambda t, x: [x.sum(), x.sum(0), x.mean(1), x.var(0)], np.full((3000, 4), 0.1, np.float16))
