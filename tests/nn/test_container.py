"""Containers: the same program on both libraries gives the same keys, reprs and errors."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import scratchvgg as sv


def layers(nn, n=4):
    return [nn.Linear(i + 1, 1) for i in range(n)]


PROGRAMS = {
    "slice": lambda nn: nn.Sequential(*layers(nn))[1:3],
    "slice of names": lambda nn: nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh(), c=nn.ReLU()))[::2],
    "negative index": lambda nn: nn.Sequential(*layers(nn))[-2],
    "set": lambda nn: _do(nn.Sequential(*layers(nn)), lambda s: s.__setitem__(-1, nn.Tanh())),
    "delete": lambda nn: _do(nn.Sequential(*layers(nn)), lambda s: s.__delitem__(1)),
    "delete slice": lambda nn: _do(nn.Sequential(*layers(nn)), lambda s: s.__delitem__(slice(0, 2))),
    "append": lambda nn: nn.Sequential(*layers(nn)).append(nn.ReLU()),
    "extend": lambda nn: nn.Sequential(nn.ReLU()).extend(nn.Sequential(*layers(nn, 2))),
    "insert": lambda nn: nn.Sequential(*layers(nn)).insert(1, nn.Tanh()),
    "add": lambda nn: nn.Sequential(*layers(nn, 2)) + nn.Sequential(nn.ReLU()),
    "pop": lambda nn: nn.Sequential(nn.ReLU(), nn.Sequential(*layers(nn, 2))).pop(1),
    "after pop": lambda nn: _do(nn.Sequential(*layers(nn)), lambda s: s.pop(0)),
    "list": lambda nn: nn.ModuleList(layers(nn)),
    "list slice": lambda nn: nn.ModuleList(layers(nn))[::-1],
    "list edits": lambda nn: _do(
        nn.ModuleList(layers(nn)), lambda m: (m.insert(0, nn.ReLU()), m.append(nn.ReLU()), m.pop(2), m.extend([nn.Tanh()] * 3))
    ),
    "list +=": lambda nn: _do(nn.ModuleList(layers(nn, 1)), lambda m: m.__iadd__([nn.ReLU()])),
    "list add": lambda nn: nn.ModuleList(layers(nn, 1)) + nn.ModuleList([nn.ReLU()]),
    "list delete": lambda nn: _do(nn.ModuleList(layers(nn)), lambda m: m.__delitem__(-1)),
    "dict": lambda nn: _do(nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()}), lambda m: (m.pop("b"), m.update({"c": nn.Linear(1, 1)}))),
    "dict clear": lambda nn: _do(nn.ModuleDict({"a": nn.ReLU()}), lambda m: m.clear()),
}

ERRORS = {
    "index": lambda nn: nn.Sequential(nn.ReLU())[1],
    "index type": lambda nn: nn.Sequential(nn.ReLU())["0"],
    "not a module": lambda nn: nn.Sequential(nn.ReLU(), 3),
    "a function": lambda nn: nn.Sequential(lambda x: x),
    "insert": lambda nn: nn.Sequential().insert(2, nn.ReLU()),
    "dict key": lambda nn: nn.ModuleDict()["a"],
    "dict value": lambda nn: nn.ModuleDict({"a": 3}),
    "dict dot": lambda nn: nn.ModuleDict({"a.b": nn.ReLU()}),
    "dict taken": lambda nn: nn.ModuleDict({"forward": nn.ReLU()}),
    "list index": lambda nn: nn.ModuleList()[0],
    "list value": lambda nn: nn.ModuleList([3]),
    "list extend by number": lambda nn: nn.ModuleList().extend(3),
}


def _do(module, edit):
    edit(module)
    return module


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_same_structure(program, torch):
    ours, theirs = program(sv.nn), program(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("program", ERRORS.values(), ids=ERRORS.keys())
def test_same_errors(program, torch):
    with pytest.raises(Exception) as expected:
        program(torch.nn)
    with pytest.raises(expected.type):
        program(sv.nn)


def test_lengths_iteration_and_membership():
    nn = sv.nn
    s = nn.Sequential(*layers(nn, 3))
    assert len(s) == 3 and [m.in_features for m in s] == [1, 2, 3]
    d = nn.ModuleDict({"a": s, "b": nn.ReLU()})
    assert "a" in d and "c" not in d and list(d) == ["a", "b"] and len(d) == 2
    assert dict(d.items())["a"] is s and next(iter(d.values())) is s and list(d.keys()) == ["a", "b"]
