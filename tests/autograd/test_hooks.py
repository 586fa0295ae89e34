"""Hooks on tensors, retain_grad, anomaly mode."""

import numpy as np
import pytest

import scratchvgg as sv


def leaf(*values):
    return sv.tensor(np.array(values), requires_grad=True)


def test_on_a_leaf_sees_the_complete_gradient_once():
    x, seen = leaf(1.0, 2.0), []
    x.register_hook(lambda g: seen.append(g.numpy().copy()))
    (x * 2 + x * 3).sum().backward()
    np.testing.assert_array_equal(seen, [[5, 5]])


def test_on_an_intermediate_replaces():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [22, 22])


def test_replacing_on_a_leaf_leaves_the_others_alone():
    x, y = leaf(1.0), leaf(2.0)
    x.register_hook(lambda g: g * 0)
    (x + y).sum().backward()
    assert x.grad.item() == 0 and y.grad.item() == 1


def test_removal():
    x, seen = leaf(1.0), []
    handle = x.register_hook(lambda g: seen.append(1))
    handle.remove()
    handle.remove()
    with x.register_hook(lambda g: seen.append(2)):
        x.sum().backward()
    x.sum().backward()
    assert seen == [2]


def test_survive_many_backwards():
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    for _ in range(3):
        (x * 2).sum().backward()
    assert seen == [2, 2, 2]


def test_what_hooks_refuse():
    with pytest.raises(RuntimeError, match="gradient"):
        sv.ones(2).register_hook(print)
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="hook"):
        (x * 2).sum().backward()


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    z = y * 3
    (z.sum() + y.sum()).backward()
    np.testing.assert_array_equal(y.grad, [4, 4])
    assert z.grad is None
    np.testing.assert_array_equal(x.grad, [8, 8])
    assert not np.shares_memory(x.grad.array, y.grad.array)
    with pytest.raises(RuntimeError, match="retain_grad"):
        sv.ones(2).retain_grad()


def test_anomaly_mode_names_the_forward_operation_and_the_line():
    x = leaf(1.0, -1.0)
    with (
        sv.autograd.detect_anomaly(),
        pytest.raises(RuntimeError, match=r"(?s)Log made the first NaN.*output 0, shape \(2,\).*x\.log\(\)"),
    ):
        x.log()  # the line that is looked for: x.log()
    assert not np.isfinite(x.log().detach().numpy()).all()  # outside nobody looks


def test_anomaly_mode_names_the_operation_whose_backward_broke():
    x = leaf(0.0, 1.0)
    with sv.autograd.detect_anomaly():
        y = x.sqrt()
        z = (y * 0).sum()
        with pytest.raises(RuntimeError, match=r"(?s)SqrtBackward made the first NaN.*argument 0.*y = x\.sqrt\(\)"):
            z.backward()


def test_anomaly_mode_reports_inf():
    with sv.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match=r"Div made .* Inf"):
        sv.ones(2) / sv.zeros(2)
