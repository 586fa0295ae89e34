"""Module itself: registration, walking, modes, types, copies. The same program runs on both libraries where torch is there."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn


class Block(nn.Module):
    """A parameter, a buffer of each kind, a child and a plain attribute."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(sv.ones(3))
        self.register_buffer("mean", sv.zeros(3))
        self.register_buffer("scratch", sv.zeros(2), persistent=False)
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.note = "plain"

    def forward(self, x):
        return self.inner(x * self.scale - self.mean)


def test_attributes_register_themselves():
    block = Block()
    assert [n for n, _ in block.named_parameters()] == ["scale", "inner.0.weight", "inner.0.bias"]
    assert [n for n, _ in block.named_buffers()] == ["mean", "scratch"]
    assert [n for n, _ in block.named_modules()] == ["", "inner", "inner.0", "inner.1"]
    assert list(block.children()) == [block.inner]
    assert list(block.state_dict()) == ["scale", "mean", "inner.0.weight", "inner.0.bias"]
    assert {"scale", "mean", "inner", "note"} <= set(dir(block))


def test_reassignment_keeps_the_place():
    block = Block()
    block.extra = nn.Parameter(sv.ones(1))
    block.scale = nn.Parameter(sv.zeros(3))
    block.mean = sv.ones(3)
    assert [n for n, _ in block.named_parameters(recurse=False)] == ["scale", "extra"]
    assert block.state_dict()["mean"].tolist() == [1, 1, 1]
    block.scale = None
    assert block.scale is None and "scale" not in block.state_dict()


def test_an_attribute_can_change_its_kind():
    block = Block()
    block.note = nn.Linear(1, 1)
    assert "note.weight" in block.state_dict() and "note" not in vars(block)
    block.mean = nn.Parameter(sv.ones(3))
    assert "mean" in dict(block.named_parameters()) and "mean" not in dict(block.named_buffers())
    del block.note, block.scale, block.scratch
    assert not hasattr(block, "note") and not hasattr(block, "scale")
    block.scratch = 5
    assert block.scratch == 5 and "scratch" in vars(block)
    with pytest.raises(AttributeError):
        del block.nothing


BAD_ASSIGNMENTS = {
    "parameter by tensor": lambda lib, m: setattr(m, "weight", lib.ones(2, 2)),
    "parameter by module": lambda lib, m: setattr(m, "weight", lib.nn.ReLU()),
    "module by tensor": lambda lib, m: (setattr(m, "child", lib.nn.ReLU()), setattr(m, "child", lib.ones(2))),
    "buffer by number": lambda lib, m: (m.register_buffer("b", lib.ones(2)), setattr(m, "b", 3)),
    "register tensor": lambda lib, m: m.register_parameter("p", lib.ones(2)),
    "register non-leaf": lambda lib, m: m.register_parameter("p", _non_leaf(lib)),
    "taken parameter name": lambda lib, m: m.register_parameter("forward", None),
    "taken buffer name": lambda lib, m: m.register_buffer("weight", lib.ones(1)),
    "taken module name": lambda lib, m: m.add_module("weight", lib.nn.ReLU()),
    "dot": lambda lib, m: m.register_parameter("a.b", None),
    "dot in buffer": lambda lib, m: m.register_buffer("a.b", None),
    "empty name": lambda lib, m: m.add_module("", lib.nn.ReLU()),
    "name no string": lambda lib, m: m.add_module(3, lib.nn.ReLU()),
    "child no module": lambda lib, m: m.add_module("c", 3),
    "buffer no tensor": lambda lib, m: m.register_buffer("c", 3),
    "unknown attribute": lambda lib, m: m.nothing,
    "mode no bool": lambda lib, m: m.train(1),
    "integer dtype": lambda lib, m: m.to(lib.int64),
    "submodule": lambda lib, m: m.get_submodule("a.b"),
    "submodule is a parameter": lambda lib, m: m.get_submodule("weight"),
    "parameter path": lambda lib, m: m.get_parameter("nothing"),
    "buffer path": lambda lib, m: m.get_buffer("weight"),
}


def _non_leaf(lib):
    p = lib.nn.Parameter(lib.ones(2))
    q = p * 2
    q.__class__ = lib.nn.Parameter
    return q


@pytest.mark.parametrize("program", BAD_ASSIGNMENTS.values(), ids=BAD_ASSIGNMENTS.keys())
def test_same_class_of_error(program, torch):
    with pytest.raises(Exception) as expected:
        program(torch, torch.nn.Linear(2, 2))
    with pytest.raises(expected.type) as got:
        program(sv, nn.Linear(2, 2))
    assert type(got.value) is type(expected.value)


@pytest.mark.parametrize("value", [lambda lib: lib.nn.Parameter(lib.ones(1)), lambda lib: lib.nn.ReLU()])
def test_forgotten_super_init(value, torch):
    for lib in (torch, sv):
        class Hasty(lib.nn.Module):
            def __init__(self, lib=lib):
                self.child = value(lib)

        with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
            Hasty()


def test_forgotten_super_init_is_named_when_called():
    class Hasty(nn.Module):
        def __init__(self):
            self.note = 1

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) was not called"):
        Hasty()(3)


def test_shared_modules_and_parameters_count_once():
    layer = nn.Linear(2, 2)
    pair = nn.Sequential(layer, layer)
    assert len(list(pair.parameters())) == 2 and len(list(pair.modules())) == 2 and len(list(pair.children())) == 1
    assert [n for n, _ in pair.named_parameters(remove_duplicate=False)] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(pair.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert [n for n, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias"]


def test_paths():
    block = Block()
    assert block.get_submodule("") is block and block.get_submodule("inner.0") is block.inner[0]
    assert block.get_parameter("inner.0.bias") is block.inner[0].bias
    assert block.get_buffer("mean") is block.mean
    assert next(n for n, _ in block.named_parameters(prefix="net")) == "net.scale"


def test_apply_goes_children_first_and_returns_self():
    seen = []
    block = Block()
    assert block.apply(seen.append) is block
    assert seen == [block.inner[0], block.inner[1], block.inner, block]


def test_modes_and_freezing():
    block = Block()
    assert block.eval() is block and not any(m.training for m in block.modules())
    block.inner.train()
    assert block.inner[0].training and not block.training
    block.requires_grad_(False)
    assert not any(p.requires_grad for p in block.parameters())
    assert not block(sv.ones(3)).requires_grad


def test_zero_grad():
    block = Block()
    block(sv.ones(3)).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    block.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())


def test_types():
    block = Block()
    block.register_buffer("count", sv.tensor(0))
    block(sv.ones(3)).sum().backward()
    scale = block.scale
    assert block.double() is block and block.scale is scale
    assert {p.dtype for p in block.parameters()} == {sv.float64} and scale.grad.dtype is sv.float64
    assert block.mean.dtype is sv.float64 and block.count.dtype is sv.int64
    assert block(sv.ones(3, dtype=sv.float64)).dtype is sv.float64
    for cast, dtype in (("half", sv.float16), ("float", sv.float32)):
        getattr(block, cast)()
        assert scale.dtype is dtype
    assert block.to("cpu", sv.float64).scale.dtype is sv.float64
    assert block.to(sv.zeros(1)).scale.dtype is sv.float32
    assert block.cpu().scale.device == "cpu"
    with pytest.raises(RuntimeError, match="not available"):
        block.cuda()


def test_deepcopy_and_pickle_are_independent():
    block = Block()
    block.inner[0].weight.requires_grad_(False)
    block(sv.ones(3)).sum().backward()
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert type(twin) is Block and type(twin.scale) is nn.Parameter and repr(twin) == repr(block)
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(block.state_dict().values(), twin.state_dict().values(), strict=True))
        assert not twin.inner[0].weight.requires_grad and twin.scale.requires_grad
        with sv.no_grad():
            twin.scale.fill_(7)
        assert block.scale.tolist() == [1, 1, 1]
        twin(sv.ones(3)).sum().backward()


def test_deepcopy_keeps_ties():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    twin = copy.deepcopy(tied)
    assert twin[0].weight is twin[1].weight and twin[0].weight is not tied[0].weight


def test_parameter():
    data = sv.zeros(2)
    p = nn.Parameter(data)
    assert isinstance(p, sv.Tensor) and p.requires_grad and p.is_leaf
    with sv.no_grad():
        p.add_(1)
    assert data.tolist() == [1, 1]
    assert nn.Parameter([1.0, 2.0], requires_grad=False).dtype is sv.float32
    assert nn.Parameter().shape == (0,)
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    with pytest.raises(RuntimeError):
        nn.Parameter(sv.tensor([1, 2]))


def test_parameter_data_can_be_replaced():
    layer = nn.Linear(2, 3)
    layer.weight.data = sv.ones(3, 2)
    layer.weight.data.mul_(2)
    assert layer.weight.tolist() == [[2, 2]] * 3 and layer.weight.requires_grad
    assert layer(sv.ones(2)).shape == (3,)


def test_repr_of_nested_modules_with_extra_lines(torch):
    def build(lib):
        class Net(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.a = lib.nn.Sequential(lib.nn.Conv2d(1, 2, 3), lib.nn.Sequential(lib.nn.ReLU()))
                self.b = lib.nn.ModuleList([lib.nn.Linear(2, 2) for _ in range(3)] + [lib.nn.Sequential(lib.nn.Tanh())] * 2)
                self.c = None
                self.d = lib.nn.ModuleDict({"x": lib.nn.Identity()})

            def extra_repr(self):
                return "one line\nand another"

        return Net()

    assert repr(build(sv)) == repr(build(torch))
