"""Trajectories of the schedules beside torch's, their states and argument checks."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from scratchvgg import optim
from scratchvgg.autograd import Tensor
from scratchvgg.optim import lr_scheduler

from .cases import SCHEDULE_CASES, SCHEDULES

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
STEPS = 60


def optimizer(module, make, name="SGD", **options):
    """An optimiser with two groups."""
    w, v = make([1.0], requires_grad=True), make([2.0], requires_grad=True)
    options = options or ({"momentum": 0.9} if name == "SGD" else {})
    return getattr(module, name)([{"params": [w]}, {"params": [v], "lr": 0.03}], lr=0.1, **options)


def pair(make_schedule, name="SGD"):
    """(optimiser, [schedules]) here and in torch."""
    out = []
    for module, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        o = optimizer(module, make, name)
        schedules = make_schedule(module.lr_scheduler, o)
        out.append((o, schedules if isinstance(schedules, list) else [schedules]))
    return out


def metric(t):
    """A loss that falls, stalls, rises and falls again."""
    return [2.0, 1.0, 1.05, 0.99, 0.99, 1.2, 0.5][t % 7] - 0.01 * (t // 14)


def advance(schedules, t):
    """One step of each."""
    for s in schedules:
        s.step(metric(t)) if type(s).__name__ == "ReduceLROnPlateau" else s.step()


def watched(o, schedules):
    """Everything a schedule sets, as numbers."""
    rates = [float(g["lr"]) for g in o.param_groups]
    momenta = [g.get("momentum", 0.0) for g in o.param_groups] + [b for g in o.param_groups for b in g.get("betas", ())]
    last = [float(lr) for s in schedules for lr in s.get_last_lr()]
    return np.array([*rates, *momenta, *last, *(s.last_epoch for s in schedules)])


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("case", SCHEDULE_CASES, ids=lambda case: case[0])
def test_trajectory_is_torchs(case, name):
    (ours, our_schedules), (theirs, their_schedules) = pair(case[1], name)
    for t in range(STEPS + 1):
        np.testing.assert_allclose(watched(ours, our_schedules), watched(theirs, their_schedules), rtol=1e-12, atol=1e-16)
        if t < STEPS:
            advance(our_schedules, t)
            advance(their_schedules, t)
    for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert set(a) == set(b)
        assert a.get("initial_lr") == b.get("initial_lr")


@pytest.mark.parametrize("source", ["ours", "torch"])
@pytest.mark.parametrize("case", SCHEDULE_CASES, ids=lambda case: case[0])
def test_state_dict_midway(case, source):
    (ours, our_schedules), (theirs, their_schedules) = pair(case[1])
    for t in range(STEPS):
        if t == 17:
            kept = [copy.deepcopy(s.state_dict()) for s in (our_schedules if source == "ours" else their_schedules)]
            groups = [{k: v for k, v in g.items() if k != "params"} for g in (ours if source == "ours" else theirs).param_groups]
            (ours, our_schedules), _ = pair(case[1])
            for s, state in zip(our_schedules, kept, strict=True):
                s.load_state_dict(state)
            for group, values in zip(ours.param_groups, groups, strict=True):
                group.update(values)
        advance(our_schedules, t)
        advance(their_schedules, t)
        np.testing.assert_allclose(watched(ours, our_schedules), watched(theirs, their_schedules), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "ExponentialLR", "LinearLR", "CosineAnnealingLR", "ConstantLR", "LambdaLR", "OneCycleLR"])
def test_jump_and_go_on(name):
    for make in SCHEDULES[name]:
        (ours, our_schedules), (theirs, their_schedules) = pair(make)
        for jump in (5, 31, None, None, 2, None):
            our_schedules[0].step(jump)
            their_schedules[0].step(jump)
            np.testing.assert_allclose(watched(ours, our_schedules), watched(theirs, their_schedules), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "ExponentialLR", "LinearLR", "CosineAnnealingLR", "ConstantLR", "LambdaLR"])
def test_start_at_last_epoch(name):
    options = {
        "StepLR": (7,), "MultiStepLR": ([3, 15],), "ExponentialLR": (0.9,), "LinearLR": (), "ConstantLR": (), "CosineAnnealingLR": (20,),
        "LambdaLR": (lambda t: 0.9**t,),
    }[name]  # fmt: skip
    runs = []
    for module, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        o = optimizer(module, make)
        for g in o.param_groups:
            g["initial_lr"] = 0.2
        s = getattr(module.lr_scheduler, name)(o, *options, last_epoch=9)
        rates = []
        for _ in range(20):
            rates.append(watched(o, [s]))
            s.step()
        runs.append(np.array(rates))
    np.testing.assert_allclose(*runs, rtol=1e-12)


def test_callable_objects_keep_their_attributes():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, t):
            return self.rate**t

    o = optimizer(optim, Tensor)
    kept = lr_scheduler.LambdaLR(o, [Decay(0.5), lambda t: 1.0]).state_dict()
    assert kept["lr_lambdas"] == [{"rate": 0.5}, None]
    other = lr_scheduler.LambdaLR(o, [Decay(0.9), lambda t: 1.0])
    other.load_state_dict(kept)
    assert other.lr_lambdas[0].rate == 0.5


def test_piecewise_linear():
    o = optimizer(optim, Tensor)
    s = lr_scheduler.PiecewiseLinearLR(o, [0, 11.5, 50], [0.2, 1.0, 0.07])
    for t in range(STEPS):
        factor = np.interp(t, [0, 11.5, 50], [0.2, 1.0, 0.07])
        np.testing.assert_allclose(s.get_last_lr(), [0.1 * factor, 0.03 * factor], rtol=1e-12)
        if t == 20:
            kept = copy.deepcopy(s.state_dict())
            s = lr_scheduler.PiecewiseLinearLR(o, [0, 1], [1, 1])
            s.load_state_dict(kept)
        s.step()
    late = lr_scheduler.PiecewiseLinearLR(optimizer(optim, Tensor), [3, 4], [0.5, 1.0])
    assert late.get_last_lr() == [0.05, 0.015]
    for milestones, factors in (([], []), ([0, 1], [1.0]), ([2, 1], [1.0, 1.0]), ([1, 1], [1.0, 1.0])):
        with pytest.raises(ValueError):
            lr_scheduler.PiecewiseLinearLR(o, milestones, factors)


def test_step_before_the_optimizer_warns():
    o = optimizer(optim, Tensor)
    s = lr_scheduler.ExponentialLR(o, 0.9)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        s.step()


def test_a_step_too_many_changes_nothing():
    o = optimizer(optim, Tensor)
    s = lr_scheduler.OneCycleLR(o, 0.5, total_steps=3)
    for _ in range(3):
        s.step()
    before, rates = copy.deepcopy(s.state_dict()), [g["lr"] for g in o.param_groups]
    with pytest.raises(ValueError, match="after the end"):
        s.step()
    assert s.state_dict() == before and [g["lr"] for g in o.param_groups] == rates


def test_a_cycle_that_only_rises():
    s = lr_scheduler.OneCycleLR(optimizer(optim, Tensor), 0.5, total_steps=5, pct_start=1.0, anneal_strategy="linear", div_factor=5)
    rates = [s.get_last_lr()[0]]
    for _ in range(4):
        s.step()
        rates.append(s.get_last_lr()[0])
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-12)


class Stateless:
    """Neither an optimiser nor a schedule."""


REJECTED = {
    "not an optimizer": lambda m, o: m.StepLR(Stateless(), 3),
    "plateau: not an optimizer": lambda m, o: m.ReduceLROnPlateau(Stateless()),
    "one cycle: not an optimizer": lambda m, o: m.OneCycleLR(Stateless(), 0.1, total_steps=3),
    "resumed without initial_lr": lambda m, o: m.ExponentialLR(o, 0.9, last_epoch=3),
    "one lambda for two groups": lambda m, o: m.LambdaLR(o, [lambda t: 1.0]),
    "constant factor": lambda m, o: m.ConstantLR(o, factor=1.5),
    "linear start of 0": lambda m, o: m.LinearLR(o, start_factor=0.0),
    "linear start": lambda m, o: m.LinearLR(o, start_factor=1.1),
    "linear end": lambda m, o: m.LinearLR(o, end_factor=-0.1),
    "plateau factor": lambda m, o: m.ReduceLROnPlateau(o, factor=1.0),
    "plateau mode": lambda m, o: m.ReduceLROnPlateau(o, mode="best"),
    "plateau threshold mode": lambda m, o: m.ReduceLROnPlateau(o, threshold_mode="ratio"),
    "plateau min_lr": lambda m, o: m.ReduceLROnPlateau(o, min_lr=[0.1]),
    "one cycle without steps": lambda m, o: m.OneCycleLR(o, 0.1),
    "one cycle, epochs only": lambda m, o: m.OneCycleLR(o, 0.1, epochs=3),
    "one cycle, 0 steps": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=0),
    "one cycle, 2.5 steps": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=2.5),
    "one cycle, negative epochs": lambda m, o: m.OneCycleLR(o, 0.1, epochs=-1, steps_per_epoch=3),
    "one cycle, pct_start": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=9, pct_start=1.5),
    "one cycle, integer pct_start": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=9, pct_start=1),
    "one cycle, strategy": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=9, anneal_strategy="step"),
    "one cycle, max_lr": lambda m, o: m.OneCycleLR(o, [0.1], total_steps=9),
    "sequence of none": lambda m, o: m.SequentialLR(o, [], []),
    "sequence of things": lambda m, o: m.SequentialLR(o, [Stateless()], []),
    "sequence with plateau": lambda m, o: m.SequentialLR(o, [m.ReduceLROnPlateau(o)], []),
    "sequence milestones": lambda m, o: m.SequentialLR(o, [m.ConstantLR(o), m.ConstantLR(o)], [1, 2]),
    "abstract": lambda m, o: m.LRScheduler(o),
}


@pytest.mark.parametrize("what", REJECTED)
def test_rejected_as_in_torch(what):
    with pytest.raises(Exception) as theirs:
        REJECTED[what](torch.optim.lr_scheduler, optimizer(torch.optim, torch.tensor))
    ours = optimizer(optim, Tensor)
    with pytest.raises(type(theirs.value)):
        REJECTED[what](lr_scheduler, ours)
    assert [g["lr"] for g in ours.param_groups] == [0.1, 0.03] or "sequence" in what


def test_other_optimizers_schedule_and_missing_momentum_are_rejected():
    for module, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        a, b = optimizer(module, make), optimizer(module, make)
        m = module.lr_scheduler
        with pytest.raises(ValueError):
            m.SequentialLR(a, [m.ConstantLR(b)], [])
        a.defaults.pop("momentum")
        with pytest.raises(ValueError):
            m.OneCycleLR(a, 0.1, total_steps=9)


def test_plateau_with_a_group_added_later():
    for module, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        o = optimizer(module, make)
        free, listed = module.lr_scheduler.ReduceLROnPlateau(o, patience=0), module.lr_scheduler.ReduceLROnPlateau(o, patience=0, min_lr=[0, 0])
        o.add_param_group({"params": [make([1.0], requires_grad=True)], "lr": 1.0})
        for _ in range(2):
            free.step(1.0)
        assert [g["lr"] for g in o.param_groups] == pytest.approx([0.01, 0.003, 0.1])
        with pytest.raises(RuntimeError):
            for _ in range(2):
                listed.step(1.0)
