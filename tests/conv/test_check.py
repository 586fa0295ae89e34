"""The checker finds what is wrong with an algorithm: each kind of fault is planted once in a right one."""

import re
import sys

import numpy as np
import pytest

from scratchvgg.conv import Im2col, Problem, algorithms, check, get
from scratchvgg.conv.problems import GRID

FAST = [name for name in algorithms() if name != "direct"]
FEW = GRID[:16]


class Right(Im2col):
    """im2col under another name; not registered."""

    name = "right"
    fuses = prepares = False

    def workspace(self, problem, dtype, which="forward"):
        return 1 << 24


def faulty(**methods):
    """An algorithm like :class:`Right` with some methods replaced."""
    return type("Faulty", (Right,), {"name": "faulty"} | methods)()


def edited(method, edit):
    """A method of Right whose result ``edit`` changes."""

    def changed(self, *args, **options):
        return edit(getattr(Right, method)(self, *args, **options), *args)

    return changed


@pytest.mark.parametrize("name", FAST)
def test_our_own_are_right(name):
    report = check(name, GRID, draws=10)
    assert report.ok, report
    assert report.failure is None and report.problems + report.unsupported >= len(GRID)
    for error, bound in report.errors.values():
        assert error <= bound


def test_the_report():
    report = check(Right(), FEW, draws=5)
    assert report and "right is right: " in str(report) and "hypothesis" in str(report)
    assert {which for which, _ in report.errors} == {"forward", "grad_input", "grad_weight"}
    assert report.cases >= len(FEW) * 9


def wrong_padding(self, backend, problem, x, w, bias=None, out=None):
    """Takes the bottom's padding for the top's."""
    (top, bottom), sides = problem.padding
    other = Problem(**{**vars(problem), "padding": ((bottom, top), sides)})
    return Right.forward(self, backend, other, x, w, bias, out)


def writes_to_its_input(self, backend, problem, dy, x, out=None):
    if x.size:
        x[...] *= 1.5
    return Right.grad_weight(self, backend, problem, dy, x, out)


def in_float64(self, backend, problem, dy, w, out=None):
    return Right.grad_input(self, backend, problem, dy.astype(np.float64), w.astype(np.float64), out)


def ignores_out(self, backend, problem, x, w, bias=None, out=None):
    return Right.forward(self, backend, problem, x, w, bias)


def half_fills_out(self, backend, problem, dy, w, out=None):
    dx = Right.grad_input(self, backend, problem, dy, w)
    if out is None:
        return dx
    out[: len(dx) // 2 + 1] = dx[: len(dx) // 2 + 1]
    return out


def raises(self, backend, problem, dy, x, out=None):
    if problem.dilation != (1, 1):
        raise NotImplementedError("no dilation here")
    return Right.grad_weight(self, backend, problem, dy, x, out)


def hoards(self, backend, problem, x, w, bias=None, out=None):
    backend.workspace("hoard", (1 << 20,), "uint8")
    return Right.forward(self, backend, problem, x, w, bias, out)


def plus_one(self, backend, problem, x, w, bias=None, out=None):
    y = Right.forward(self, backend, problem, x, w, bias, out)
    if y.size:
        y[-1, -1, -1, -1] += 1
    return y


FAULTS = {
    "wrong padding": ({"forward": wrong_padding}, r"forward, float.*elements are wrong, the first at \[n=0, k=0, p="),
    "changed input": ({"grad_weight": writes_to_its_input}, r"changed its input x"),
    "wrong dtype": ({"grad_input": in_float64}, r"grad_input, float32.*expected float32, got float64"),
    "out ignored": ({"forward": ignores_out}, r"returned another array"),
    "out half filled": ({"grad_input": half_fills_out}, r"with out=: .*got nan"),
    "raises": ({"grad_weight": raises}, r"raised NotImplementedError: no dilation here \(test_check.py, line \d+\)"),
    "scratch": ({"forward": hoards, "workspace": lambda *a: 0}, r"bytes of scratch; workspace\(\) declares 0"),
    "last element": ({"forward": plus_one}, r"1 of \d+ elements are wrong"),
    "half precision": ({"forward": edited("forward", lambda y, *_: y.astype(np.float16).astype(y.dtype))}, r"float32.*elements are wrong|another"),
    "no bias": ({"forward": lambda self, b, g, x, w, bias=None, out=None: Right.forward(self, b, g, x, w, None, out)}, r"elements are wrong"),
    "shape": ({"forward": edited("forward", lambda y, *_: y[:, :1])}, r"expected shape|another array"),
    "not an array": ({"grad_weight": lambda *a, **o: None}, r"expected an array, got NoneType"),
    "shared memory": ({"grad_input": edited("grad_input", lambda dx, b, g, dy, *_: dy if dy.shape == dx.shape else dx)}, r"wrong|shares memory"),
    "bound too small": ({"error_bound": lambda *a: 0.0}, r"elements are wrong"),
    "bound says nothing": ({"error_bound": lambda *a: float("inf")}, r"error_bound\(\) is inf"),
    "negative cost": ({"cost": lambda *a: -1.0}, r"cost\(\) is -1.0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault):
    methods, message = FAULTS[fault]
    report = check(faulty(**methods), FEW, draws=25)
    assert not report.ok
    assert re.search(message, str(report), re.DOTALL), report
    assert "faulty is WRONG" in str(report)


def test_the_failing_problem_is_small():
    """Wrong only for dilated filters of more than one row: the smallest has two rows, one channel and one image."""

    def forward(self, backend, problem, x, w, bias=None, out=None):
        y = Right.forward(self, backend, problem, x, w, bias, out)
        if problem.dilation[0] > 1 and problem.R > 1:
            y += 1
        return y

    g = check(faulty(forward=forward), draws=100).failure.problem
    assert (g.N, g.C, g.K, g.R, g.S) == (1, 1, 1, 2, 1) and g.macs == 2


@pytest.mark.parametrize("right", [True, False])
def test_without_hypothesis(monkeypatch, right):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    report = check(Right() if right else faulty(forward=plus_one), FEW[:4], draws=20)
    assert report.ok == right
    assert "scratchvgg[test]" in report.drawn


def test_random_problems_need_hypothesis(monkeypatch):
    from scratchvgg.conv.problems import problems

    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"scratchvgg\[test\]"):
        problems()


def test_progress_and_names():
    told = []
    check("gemm_1x1", FEW[:5], draws=3, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (1, 8) and told[-1] == (8, 8) and told == sorted(told)
    with pytest.raises(ValueError, match="no algorithm 'fast'"):
        check("fast")
    with pytest.raises(ValueError, match="supports none"):
        check(faulty(supports=lambda *a: False), FEW, draws=3)


def test_draws_keep_to_what_is_supported():
    """An algorithm of few problems is still tried on as many as asked for."""
    report = check("gemm_1x1", (), draws=20)
    assert report.ok and report.problems >= 20
    assert get("gemm_1x1").supports(GRID[0], "float32")
