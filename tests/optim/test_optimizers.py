"""Trajectories of the optimisers beside torch's, their states, groups and argument checks."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from scratchvgg import optim
from scratchvgg.autograd import Tensor
from scratchvgg.optim import blocks as blocks_module

from .cases import OPTIMIZER_CASES

torch = pytest.importorskip("torch")
STEPS = 60
CLOSE = {"float64": 1e-12, "float32": 3e-5}


def start_values(dtype):
    """A linear weight, a convolution weight (channels-last in memory), a bias and a number."""
    rng = np.random.default_rng(1)
    conv = rng.standard_normal((4, 3, 3, 5)).astype(dtype).transpose(0, 3, 1, 2)
    return [rng.standard_normal((6, 7)).astype(dtype), conv, rng.standard_normal(9).astype(dtype), np.array(0.7, dtype)]


class Twins:
    """The same parameters here and in torch, given the same gradients."""

    def __init__(self, dtype="float64"):
        self.ours = [Tensor(v, requires_grad=True) for v in start_values(dtype)]
        self.theirs = [torch.tensor(v, requires_grad=True) for v in start_values(dtype)]

    def optimizers(self, name, ours=(), **options):
        """Both optimisers of that name; two groups with different learning rates."""
        rate = options.pop("lr", 1e-3)
        return tuple(
            getattr(module, name)([{"params": p[:2]}, {"params": p[2:], "lr": rate / 2}], lr=rate, **options)
            for module, p in ((optim, self.ours), (torch.optim, self.theirs))
        )

    def set_gradients(self, t):
        """Pull towards 0 plus noise that depends on the step; one parameter misses every third gradient."""
        rng = np.random.default_rng(t)
        for i, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True)):
            noise = rng.standard_normal(a.shape)
            a.grad = None if i == 2 and t % 3 == 0 else Tensor((0.3 * a.array + noise).astype(a.array.dtype))
            b.grad = None if a.grad is None else (0.3 * b.detach() + torch.tensor(noise)).to(b.dtype)

    def check_close(self, tolerance):
        """All parameters agree."""
        for a, b in zip(self.ours, self.theirs, strict=True):
            np.testing.assert_allclose(a.array, b.detach().numpy(), rtol=tolerance, atol=tolerance)


def to_numpy(state_dict):
    """A torch state dict with NumPy arrays in the place of tensors."""
    state = {k: {n: v.numpy().copy() if isinstance(v, torch.Tensor) else v for n, v in s.items()} for k, s in state_dict["state"].items()}
    return {"state": state, "param_groups": state_dict["param_groups"]}


def to_torch(state_dict):
    """The other way round."""
    state = {k: {n: torch.tensor(v.array) if isinstance(v, Tensor) else v for n, v in s.items()} for k, s in state_dict["state"].items()}
    return {"state": state, "param_groups": state_dict["param_groups"]}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name, options", OPTIMIZER_CASES)
def test_trajectory_is_torchs(name, options, dtype):
    twins = Twins(dtype)
    ours, theirs = twins.optimizers(name, **options)
    for t in range(STEPS):
        twins.set_gradients(t)
        ours.step()
        theirs.step()
        twins.check_close(CLOSE[dtype])
    for p, start in zip(twins.ours, start_values(dtype), strict=True):
        assert p.array.dtype == dtype
        assert p.array.strides == start.strides
        assert options.get("lr") == 0 or not np.array_equal(p.array, start)


@pytest.mark.parametrize("name, options", OPTIMIZER_CASES)
def test_states_travel_to_torch_and_back(name, options):
    twins = Twins()
    ours, theirs = twins.optimizers(name, **options)
    for t in range(3 * STEPS):
        twins.set_gradients(t)
        ours.step()
        theirs.step()
        if t == STEPS // 2:  # a fresh optimiser with torch's state
            ours, _ = twins.optimizers(name, **options)
            ours.load_state_dict(to_numpy(theirs.state_dict()))
        if t == STEPS:  # and a fresh one of torch with ours
            _, theirs = twins.optimizers(name, **options)
            theirs.load_state_dict(to_torch(ours.state_dict()))
    twins.check_close(1e-11)
    a, b = ours.state_dict(), theirs.state_dict()
    assert [set(g) for g in a["param_groups"]] == [set(g) for g in b["param_groups"]]
    assert {k: set(s) for k, s in a["state"].items()} == {k: set(s) for k, s in b["state"].items()}


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_restored_run_has_the_same_bits(name, how):
    options = {"lr": 0.1, "momentum": 0.9} if name == "SGD" else {"lr": 0.1, "amsgrad": True}
    straight, broken = Twins("float32"), Twins("float32")
    one, two = straight.optimizers(name, **options)[0], broken.optimizers(name, **options)[0]
    for t in range(20):
        if t == 11:
            if how == "state_dict":
                kept = copy.deepcopy(two.state_dict())
                two = broken.optimizers(name, **options)[0]
                two.load_state_dict(kept)
            else:
                two = copy.deepcopy(two) if how == "deepcopy" else pickle.loads(pickle.dumps(two))
                broken.ours = [p for group in two.param_groups for p in group["params"]]
        for twins, optimizer in ((straight, one), (broken, two)):
            twins.set_gradients(t)
            optimizer.step()
    for a, b in zip(straight.ours, broken.ours, strict=True):
        assert a.array.tobytes() == b.array.tobytes()


def test_blocks_change_nothing(monkeypatch):
    whole, cut = Twins("float32"), Twins("float32")
    for size, twins in ((1 << 16, whole), (7, cut)):
        monkeypatch.setattr(blocks_module.blocks, "__defaults__", (size,))
        for name in ("SGD", "Adam"):
            optimizer, _ = twins.optimizers(name, lr=0.1, weight_decay=0.1)
            for t in range(5):
                twins.set_gradients(t)
                twins.ours[1].grad = Tensor(np.ascontiguousarray(twins.ours[1].grad.array))  # another memory order than the weight's
                optimizer.step()
    for a, b in zip(whole.ours, cut.ours, strict=True):
        assert a.array.tobytes() == b.array.tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_learning_rate_as_a_tensor(name, dtype):
    twins = Twins(dtype)
    ours = getattr(optim, name)(twins.ours, lr=Tensor(0.01))
    theirs = getattr(torch.optim, name)(twins.theirs, lr=torch.tensor(0.01))
    schedules = optim.lr_scheduler.ExponentialLR(ours, 0.9), torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9)
    for t in range(20):
        twins.set_gradients(t)
        ours.step()
        theirs.step()
        schedules[0].step()
        schedules[1].step()
    assert isinstance(ours.param_groups[0]["lr"], Tensor)
    twins.check_close(1e-5)


def test_step_with_a_closure():
    w = Tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = w * w
        loss.backward()
        return loss

    assert float(optimizer.step(closure).array[0]) == 9.0
    assert w.array[0] == 1.5


def test_zero_grad():
    w, v = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w, v])
    w.grad = Tensor([2.0])
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.array[0] == 0 and v.grad is None
    optimizer.zero_grad()
    assert w.grad is None


def test_a_step_counts_as_a_write():
    w = Tensor([2.0], requires_grad=True)
    loss = w * w
    w.grad = Tensor([1.0])
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        loss.backward()


def test_a_wrong_gradient_changes_nothing():
    w, v = (Tensor(np.ones(3, "float32"), requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([w, v])
    w.grad = Tensor(np.ones(3, "float32"))
    for wrong in (np.ones(4, "float32"), np.ones(3, "float64")):
        v._grad = Tensor(wrong)  # assigning to v.grad would refuse it
        with pytest.raises(RuntimeError, match="gradient"):
            optimizer.step()
    assert np.array_equal(w.array, np.ones(3))


def test_groups_added_later_and_named_parameters():
    for module, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        w, v = make([1.0], requires_grad=True), make([2.0], requires_grad=True)
        optimizer = module.SGD([("first.weight", w)], lr=0.5)
        optimizer.add_param_group({"params": [("second.weight", v)], "lr": 0.25, "weight_decay": 0.1})
        w.grad, v.grad = make([1.0]), make([1.0])
        optimizer.step()
        groups = optimizer.state_dict()["param_groups"]
        assert [g["param_names"] for g in groups] == [["first.weight"], ["second.weight"]]
        assert [g["params"] for g in groups] == [[0], [1]]
        assert [w.tolist()[0], v.tolist()[0]] == pytest.approx([0.5, 1.7])
        with pytest.raises(ValueError, match="name"):
            optimizer.add_param_group({"params": [make([1.0], requires_grad=True)]})


def test_repr_is_torchs():
    ours, theirs = Twins().optimizers("SGD", lr=0.5, momentum=0.9)
    assert repr(ours) == repr(theirs)
    ours, theirs = Twins().optimizers("AdamW", lr=0.5)
    assert repr(ours) == repr(theirs)


def leaf(make):
    return make([1.0], requires_grad=True)


REJECTED = {
    "a tensor for params": lambda o, make: o.SGD(leaf(make)),
    "no params": lambda o, make: o.SGD([]),
    "not tensors": lambda o, make: o.SGD([1.0]),
    "a set in a group": lambda o, make: o.SGD([{"params": {leaf(make)}}]),
    "no params in a group": lambda o, make: o.SGD([{"lr": 0.1}]),
    "a result": lambda o, make: o.SGD([leaf(make) * 2]),
    "the same twice": lambda o, make: (lambda w: o.SGD([{"params": [w]}, {"params": [w]}]))(leaf(make)),
    "group is no dict": lambda o, make: o.SGD([leaf(make)]).add_param_group([leaf(make)]),
    "some names missing": lambda o, make: o.SGD([("w", leaf(make)), leaf(make)]),
    "negative lr": lambda o, make: o.SGD([leaf(make)], lr=-0.1),
    "lr of two elements": lambda o, make: o.SGD([leaf(make)], lr=make([0.1, 0.2])),
    "negative momentum": lambda o, make: o.SGD([leaf(make)], momentum=-0.1),
    "negative decay": lambda o, make: o.SGD([leaf(make)], weight_decay=-0.1),
    "nesterov without momentum": lambda o, make: o.SGD([leaf(make)], nesterov=True),
    "nesterov with dampening": lambda o, make: o.SGD([leaf(make)], momentum=0.9, dampening=0.1, nesterov=True),
    "adam: negative lr": lambda o, make: o.Adam([leaf(make)], lr=-0.1),
    "adam: nan lr": lambda o, make: o.Adam([leaf(make)], lr=float("nan")),
    "adam: negative eps": lambda o, make: o.Adam([leaf(make)], eps=-1e-9),
    "adam: beta1 of 1": lambda o, make: o.Adam([leaf(make)], betas=(1.0, 0.9)),
    "adam: negative beta2": lambda o, make: o.Adam([leaf(make)], betas=(0.9, -0.1)),
    "adam: integer beta": lambda o, make: o.Adam([leaf(make)], betas=(0, 0.9)),
    "adam: negative decay": lambda o, make: o.AdamW([leaf(make)], weight_decay=-0.1),
    "state of more groups": lambda o, make: o.SGD([leaf(make)]).load_state_dict(
        o.SGD([{"params": [leaf(make)]}, {"params": [leaf(make)]}]).state_dict()
    ),
    "state of a larger group": lambda o, make: o.SGD([leaf(make)]).load_state_dict(o.SGD([leaf(make), leaf(make)]).state_dict()),
}


@pytest.mark.parametrize("what", REJECTED)
def test_rejected_as_in_torch(what):
    with pytest.raises(Exception) as theirs:
        REJECTED[what](torch.optim, torch.tensor)
    with pytest.raises(type(theirs.value)):
        REJECTED[what](optim, Tensor)


def test_differentiable_steps_are_refused():
    for name in ("SGD", "Adam", "AdamW"):
        with pytest.raises(RuntimeError, match="first derivatives"):
            getattr(optim, name)([leaf(Tensor)], differentiable=True)


def test_a_parameter_twice_in_a_group_warns():
    w = leaf(Tensor)
    with pytest.warns(UserWarning, match="twice"):
        optim.SGD([w, w])
