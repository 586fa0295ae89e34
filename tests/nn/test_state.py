"""state_dict and load_state_dict: torch's names, report and effect."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn


def net(lib):
    return lib.nn.Sequential(lib.nn.Conv2d(2, 3, 3), lib.nn.BatchNorm2d(3), lib.nn.Sequential(lib.nn.Linear(3, 2)))


def test_round_trip_copies_in_place():
    a, b = net(sv), net(sv)
    a[1](a[0](sv.randn(2, 2, 5, 5)))
    held = b[0].weight
    keys = b.load_state_dict(a.state_dict())
    assert (keys.missing_keys, keys.unexpected_keys) == ([], []) and repr(keys) == "<All keys matched successfully>"
    assert b[0].weight is held and b[1].num_batches_tracked.item() == 1
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        assert np.array_equal(x.numpy(), y.numpy())
        assert not np.may_share_memory(x.numpy(), y.numpy())


def test_entries_are_detached_and_share_memory():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    assert isinstance(state, OrderedDict) and not state["weight"].requires_grad
    state["weight"].fill_(3)
    assert layer.weight.tolist() == [[3, 3], [3, 3]]
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    assert list(layer.state_dict(prefix="head.")) == ["head.weight", "head.bias"]
    assert layer.state_dict(destination=state, prefix="x.") is state and "x.bias" in state


def spoiled(lib, state):
    state = OrderedDict(state)
    del state["0.bias"], state["2.0.weight"]
    state["extra"] = lib.zeros(1)
    state["1.more"] = lib.zeros(1)
    state["0.weight"] = lib.zeros(3, 2, 5, 5)
    state["1.running_mean"] = lib.zeros(4)
    return state


@pytest.mark.parametrize("strict", [True, False])
def test_report_equals_torchs(torch, strict):
    messages = []
    for lib in (torch, sv):
        model = net(lib)
        with pytest.raises(RuntimeError) as error:
            model.load_state_dict(spoiled(lib, model.state_dict()), strict=strict)
        messages.append(str(error.value).replace("torch.Size", "Size"))
    assert messages[0] == messages[1]


def test_not_strict_reports_and_loads_the_rest(torch):
    results = []
    for lib in (torch, sv):
        model = net(lib)
        state = OrderedDict((k, v * 0 + 5) for k, v in model.state_dict().items() if k != "0.bias")
        state["extra"] = lib.zeros(1)
        keys = model.load_state_dict(state, strict=False)
        results.append((keys.missing_keys, keys.unexpected_keys))
        assert model[2][0].bias[0].item() == 5
    assert results[0] == results[1] == (["0.bias"], ["extra"])


def test_nothing_changes_on_error():
    model = net(sv)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        model.load_state_dict(spoiled(sv, {k: v * 0 for k, v in model.state_dict().items()}))
    assert all(np.array_equal(before[k], v.numpy()) for k, v in model.state_dict().items())


def test_old_checkpoints_without_batch_counts_load():
    model = net(sv)
    state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    assert model.load_state_dict(state).missing_keys == []


def test_arrays_and_torch_tensors_load(torch):
    theirs, ours = net(torch).double(), net(sv).double()
    ours.load_state_dict(theirs.state_dict())
    other = net(sv)
    other.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for key, value in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[key].numpy(), value.numpy())
        assert np.array_equal(other.state_dict()[key].numpy(), value.numpy().astype("f4" if value.is_floating_point() else "i8"))
    torch.nn.Module.load_state_dict(theirs, {k: torch.from_dlpack(v) for k, v in ours.state_dict().items()})


def test_wrong_kinds_of_values():
    layer = nn.Linear(1, 1)
    with pytest.raises(TypeError, match="dict-like"):
        layer.load_state_dict([1, 2])
    with pytest.raises(RuntimeError, match='While copying the parameter named "bias"'):
        layer.load_state_dict({"weight": sv.zeros(1, 1), "bias": "zero"})


def test_scalar_entries_may_have_one_dimension():
    norm = nn.BatchNorm2d(2)
    norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": sv.tensor([7])})
    assert norm.num_batches_tracked.item() == 7 and norm.num_batches_tracked.shape == ()


def test_assign_takes_the_tensors_over():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    state = {"weight": sv.ones(2, 2, dtype=sv.float64), "bias": sv.zeros(2, dtype=sv.float64)}
    layer.load_state_dict(state, assign=True)
    assert layer.weight.dtype is sv.float64 and isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad and not layer.bias.requires_grad
    assert np.may_share_memory(layer.weight.array, state["weight"].array)


def test_loading_is_noticed_by_backward():
    layer = nn.Linear(2, 2)
    x = sv.ones(1, 2, requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()
