"""Indexing against torch: every kind of index, gradients with repetition, assignment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchvgg as sv

from .twins import assert_equal, plain, same, same_error

X = np.arange(120.0).reshape(2, 3, 4, 5)
INDICES = {
    "int": lambda t: 1,
    "negative": lambda t: -1,
    "ints": lambda t: (1, -2),
    "all ints": lambda t: (1, 2, 3, 4),
    "slice": lambda t: slice(1, None),
    "step": lambda t: (slice(None), slice(None, None, 2)),
    "beyond the end": lambda t: slice(1, 100),
    "empty": lambda t: slice(5, 2),
    "None": lambda t: (None, 1, None),
    "Ellipsis": lambda t: (..., 2),
    "Ellipsis in the middle": lambda t: (1, ..., 3),
    "only Ellipsis": lambda t: ...,
    "nothing": lambda t: (),
    "tensor": lambda t: t.tensor([1, 0, 1]),
    "negative tensor": lambda t: t.tensor([-1, -2]),
    "2-d tensor": lambda t: t.tensor([[1, 0], [0, 0]]),
    "list": lambda t: [0, 1, 1],
    "list inside": lambda t: (slice(None), [0, 2]),
    "array": lambda t: np.array([1, 0]),
    "0-d tensor": lambda t: t.tensor(1),
    "two tensors": lambda t: (t.tensor([0, 1, 1]), t.tensor([2, 0, 2])),
    "broadcast tensors": lambda t: (t.tensor([[0], [1]]), t.tensor([2, 0, 1])),
    "apart": lambda t: (t.tensor([0, 1]), slice(None), t.tensor([3, 0])),
    "apart at the end": lambda t: (slice(None), t.tensor([0, 1]), slice(None), t.tensor([3, 0])),
    "int and tensor": lambda t: (0, slice(None), t.tensor([3, 0, 3])),
    "tensor and int": lambda t: (t.tensor([1, 0]), slice(None), 2),
    "tensor and slice": lambda t: (slice(1), t.tensor([2, 2]), slice(1, 3)),
    "tensor after None": lambda t: (None, t.tensor([1, 1])),
    "tensor and Ellipsis": lambda t: (..., t.tensor([4, 0, 4])),
    "mask": lambda t: t.tensor([True, False]),
    "2-d mask": lambda t: t.arange(6).reshape(2, 3) % 2 == 0,
    "whole mask": lambda t: t.arange(120).reshape(2, 3, 4, 5) % 7 == 0,
    "mask inside": lambda t: (slice(None), t.tensor([True, False, True])),
    "mask and tensor": lambda t: (t.tensor([True, True]), t.tensor([2, 0])),
    "mask list": lambda t: [True, False],
    "True": lambda t: True,
    "False": lambda t: False,
    "nothing picked": lambda t: t.tensor([], dtype=t.int64),
    "uint8 mask": lambda t: t.tensor([1, 0], dtype=t.uint8),
    "int32": lambda t: t.tensor([1, 0], dtype=t.int32),
    "range": lambda t: (slice(None), list(range(2))),
    "True inside": lambda t: (1, True),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", INDICES)
def test_reading(torch, name):
    same(torch, lambda t, x: x[INDICES[name](t)], X, grad=True)


@pytest.mark.parametrize("name", [n for n in INDICES if n != "uint8 mask"])
def test_writing_a_number(torch, name):
    def write(t, x):
        y = x * 1
        y[INDICES[name](t)] = -1.5
        return y

    same(torch, write, X, grad=True)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in INDICES
        if n
        not in (
            "tensor",
            "2-d tensor",
            "list",
            "mask",
            "uint8 mask",
            "two tensors",
            "tensor after None",
            "tensor and slice",
            "int and tensor",
            "tensor and Ellipsis",
            "whole mask",
            "False",
        )
    ],
)  # which of repeated writes wins is open
@pytest.mark.parametrize("leading", [0, 1])
def test_writing_a_tensor(torch, name, leading):
    shape = np.zeros((2, 3, 4, 5))
    value = sv.tensor(shape)[INDICES[name](sv)]
    rng = np.random.default_rng(0)
    value = rng.normal(size=(1,) * leading + tuple(value.shape))

    def write(t, x, v):
        y = x * 1
        y[INDICES[name](t)] = v * 2
        return y

    same(torch, write, X, value, grad=True)


def test_writing_broadcasts_and_adds_the_gradient_up(torch):
    def write(t, x, v, s):
        y = x * 1
        y[:, 1] = v
        y[t.tensor([1, 0]), 2] = s
        y[..., 0] = 7
        return y

    same(torch, write, X, np.arange(5.0), np.float64(2.5), grad=True)


def test_writing_converts(torch):
    def write(t):
        x = t.zeros(4, dtype=t.int64)
        x[0] = 2.7
        x[1:3] = t.tensor([1.5, -1.5])
        return x

    assert_equal(plain(write(sv)), plain(write(torch)))
    x = sv.zeros(3)
    x[1:] = np.array([1.0, 2.0])
    x[0] = [5.0][0]
    assert x.tolist() == [5, 1, 2]


@st.composite
def indices(draw):
    """An index for a (2, 3, 4, 5) tensor that mixes everything."""
    items, dim = [], 0
    shape, ellipsis = (2, 3, 4, 5), draw(st.booleans())
    length = draw(st.integers(1, 2))
    while dim < 4 and draw(st.booleans() if dim else st.just(True)):
        kind = draw(st.sampled_from(["int", "slice", "none", "tensor", "mask", "ellipsis"]))
        n = shape[dim]
        if kind == "none":
            items.append(("none",))
            continue
        if kind == "ellipsis":
            if ellipsis:
                items.append(("ellipsis",))
                break
            continue
        if kind == "int":
            items.append(("int", draw(st.integers(-n, n - 1))))
        elif kind == "slice":
            items.append(("slice", draw(st.integers(-n, n)), draw(st.integers(-n, n)), draw(st.integers(1, 3))))
        elif kind == "tensor":
            items.append(("tensor", draw(st.lists(st.integers(-n, n - 1), min_size=length, max_size=length))))
        else:
            picked = draw(st.sets(st.integers(0, n - 1), min_size=min(length, n), max_size=min(length, n)))
            items.append(("mask", [i in picked for i in range(n)]))
        dim += 1
    return items


def build(library, items):
    made = {
        "none": lambda: None,
        "ellipsis": lambda: ...,
        "int": lambda i: i,
        "slice": slice,
        "tensor": library.tensor,
        "mask": library.tensor,
    }
    return tuple(made[kind](*rest) for kind, *rest in items)


@given(indices())
def test_any_mixture(items):
    torch = pytest.importorskip("torch")
    same(torch, lambda t, x: x[build(t, items)], X, grad=True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t, x: x[0, 0, 0],
        lambda t, x: x[5],
        lambda t, x: x[-3],
        lambda t, x: x[::-1],
        lambda t, x: x[::0],
        lambda t, x: x[x],
        lambda t, x: x[t.tensor([True])],
        lambda t, x: x[t.tensor([5])],
        lambda t, x: x[t.tensor([-3])],
        lambda t, x: x[1.5],
        lambda t, x: x[t.tensor([0, 1]), t.tensor([0, 1, 2])],
        lambda t, x: x[t.ones(2, 2) > 0],
        lambda t, x: x.__setitem__(0, t.ones(2)),
        lambda t, x: x.__setitem__(5, 0.0),
        lambda t, x: x.__setitem__((0, 0), t.ones(2)),
        lambda t, x: x.index_select(0, t.tensor([3])),
        lambda t, x: x.index_select(0, t.tensor([-1])),
        lambda t, x: x.index_select(0, t.tensor([[1]])),
        lambda t, x: x.index_select(0, t.tensor([1.0])),
        lambda t, x: x.index_select(2, t.tensor([0])),
        lambda t, x: x.gather(1, t.tensor([[-1]])),
        lambda t, x: x.gather(1, t.tensor([[5]])),
        lambda t, x: x.gather(1, t.tensor([0])),
        lambda t, x: x.gather(1, t.tensor([[0.0]])),
        lambda t, x: x.gather(0, t.zeros(1, 9, dtype=t.int64)),
        lambda t, x: x.masked_select(x),
        lambda t, x: x.masked_fill(x.long(), 0),
        lambda t, x: x.masked_fill(x > 0, t.ones(2)),
        lambda t, x: t.where(x, x, x),
        lambda t, x: t.where(x > 0, t.ones(4), x),
        lambda t, x: x.masked_fill(t.ones(4) > 0, 1.0),
    ],
)
def test_what_torch_refuses(torch, wrong):
    same_error(torch, lambda t: wrong(t, t.arange(6.0).reshape(2, 3)))


def test_a_refused_write_changes_nothing():
    x = sv.arange(6.0).reshape(2, 3)
    with pytest.raises(RuntimeError, match="setitem"):
        x[0] = sv.ones(2)
    assert x.flatten().tolist() == list(range(6)) and x.version.value == 0


def test_repeated_indices_accumulate_exactly():
    x = sv.zeros(3, requires_grad=True)
    x[sv.tensor([1] * 1000 + [2])].sum().backward()
    assert x.grad.tolist() == [0, 1000, 1]


def test_gather_may_be_smaller(torch):
    same(torch, lambda t, x, i: x.gather(1, i), X, np.array([[[[1, 0], [2, 2]]]]), grad=True)
    same(torch, lambda t, x, i: [x.gather(0, i), x.gather(0, i[:0])], [1.0, 2.0], [1, 1, 0], grad=True)


def test_zero_dimensional(torch):
    same(
        torch,
        lambda t, x: [x[...], x[None], x[True], x[()], x.masked_select(x > 0), x.nonzero(), x.index_select(0, t.tensor([0]))],
        3.0,
    )
    same(
        torch,
        lambda t, x: [t.where(x > 2, 1, 0), t.where(x > 2, x, 0.5), t.where(x > 2, 1.5, 2), t.where(x > 2)[0], x.nonzero()],
        [1.0, 3.0],
    )
