"""cat and stack: values, gradients, types, memory order and errors as torch's."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv

torch = pytest.importorskip("torch")


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) for s in shapes]


@pytest.mark.parametrize(("name", "shapes", "dim"), [
    ("cat", [(2, 3), (4, 3), (0, 3)], 0),
    ("cat", [(2, 3, 4), (2, 1, 4)], 1),
    ("cat", [(2, 3, 4), (2, 3, 2)], -1),
    ("cat", [(0,), (2, 3), (0,)], 1),
    ("cat", [(0,), (0,)], 0),
    ("cat", [(5,)], 0),
    ("stack", [(2, 3), (2, 3), (2, 3)], 0),
    ("stack", [(2, 3), (2, 3)], -1),
    ("stack", [(), ()], 0),
])
def test_values_and_gradients(name, shapes, dim):
    out = []
    for lib in (sv, torch):
        tensors = [lib.tensor(a).requires_grad_() for a in draw(*shapes)]
        y = getattr(lib, name)(tensors, dim)
        (y * lib.tensor(np.arange(y.numel(), dtype="f8")).reshape(y.shape)).sum().backward()
        out.append([y.detach().numpy(), *(None if t.grad is None else t.grad.numpy() for t in tensors)])
    for a, b in zip(*out, strict=True):
        if b is None or b.shape == (0,):
            assert a is None or a.shape == (0,)
        else:
            assert a.shape == b.shape and np.array_equal(a, b)


def test_a_tensor_joined_with_itself():
    x = sv.ones(2, requires_grad=True)
    (sv.cat([x, x]) * sv.arange(4.0)).sum().backward()
    assert x.grad.tolist() == [2, 4]


@pytest.mark.parametrize("types", [("f4", "f8"), ("i8", "f4"), ("?", "u1"), ("f2", "f4")])
def test_promotion(types):
    ours = sv.cat([sv.tensor(np.ones(2, t)) for t in types])
    theirs = torch.cat([torch.tensor(np.ones(2, t)) for t in types])
    assert ours.numpy().dtype == theirs.numpy().dtype


def test_channels_last_stays():
    x = sv.randn(2, 3, 4, 5).contiguous(memory_format=sv.channels_last)
    assert sv.cat([x, x], 1).is_contiguous(memory_format=sv.channels_last)


@pytest.mark.parametrize("call", [
    lambda lib: lib.cat([]),
    lambda lib: lib.cat([lib.ones(2), 3]),
    lambda lib: lib.cat(3),
    lambda lib: lib.cat([lib.tensor(1.0), lib.tensor(2.0)]),
    lambda lib: lib.cat([lib.ones(2, 3), lib.ones(2, 4)]),
    lambda lib: lib.cat([lib.ones(2, 3), lib.ones(2)]),
    lambda lib: lib.cat([lib.ones(2, 3)], 2),
    lambda lib: lib.stack([]),
    lambda lib: lib.stack([lib.ones(2), lib.ones(3)]),
    lambda lib: lib.stack([lib.ones(2)], 2),
], ids=range(10))
def test_same_errors(call):
    with pytest.raises(Exception) as expected:
        call(torch)
    with pytest.raises(expected.type):
        call(sv)
