"""Hooks: the same program on both libraries gives the same record."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import scratchvgg as sv


def values(item):
    if isinstance(item, (tuple, list)):
        return tuple(values(i) for i in item)
    return None if item is None else np.round(item.detach().numpy().astype("f8"), 5).tolist()


def linear(lib):
    layer = lib.nn.Linear(2, 2)
    layer.load_state_dict({"weight": lib.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": lib.tensor([0.5, -0.5])})
    return layer


def forward_hooks(lib, log):
    layer = linear(lib)
    layer.register_forward_pre_hook(lambda m, a: log.append(("second", values(a))))
    layer.register_forward_pre_hook(lambda m, a: (log.append("first"), a[0] * 2)[1], prepend=True)
    layer.register_forward_hook(lambda m, a, out: log.append(("out", values(a), values(out))))
    layer.register_forward_hook(lambda m, a, out: out + 1)
    handle = layer.register_forward_hook(lambda m, a, out: log.append("removed"))
    handle.remove()
    log.append(values(layer(lib.tensor([1.0, -1.0]))))


def hooks_with_kwargs(lib, log):
    class Scale(lib.nn.Module):
        def forward(self, x, *, by=1.0):
            return x * by

    layer = Scale()
    layer.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, a, k, out: log.append((values(a), k["by"])), with_kwargs=True)
    log.append(values(layer(lib.tensor([1.0, 2.0]), by=2.0)))


def backward_hooks(lib, log):
    layer = linear(lib)
    layer.register_full_backward_pre_hook(lambda m, g: log.append(("pre", values(g))))
    layer.register_full_backward_hook(lambda m, gi, go: log.append(("post", values(gi), values(go))))
    x = lib.tensor([[1.0, -1.0]], requires_grad=True)
    layer(x).sum().backward()
    log.append(values((x.grad, layer.weight.grad)))


def replaced_gradients(lib, log):
    layer = linear(lib)
    layer.register_full_backward_pre_hook(lambda m, g: (g[0] * 2,))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    x = lib.tensor([[1.0, -1.0]], requires_grad=True)
    (layer(x) ** 2).sum().backward()
    log.append(values((x.grad, layer.weight.grad, layer.bias.grad)))


def two_inputs_two_outputs(lib, log):
    class Both(lib.nn.Module):
        def forward(self, a, b, c, n):
            return a * b, b + c * n

    layer = Both()
    layer.register_full_backward_hook(lambda m, gi, go: log.append((values(gi), values(go))))
    a, b = lib.tensor([2.0], requires_grad=True), lib.tensor([3.0], requires_grad=True)
    p, q = layer(a, b, lib.tensor([4.0]), 5)
    (p * 7 + q).sum().backward()
    log.append(values((a.grad, b.grad)))


def no_input_requires_grad(lib, log):
    layer = linear(lib)
    layer.register_full_backward_hook(lambda m, gi, go: log.append((values(gi), values(go))))
    layer(lib.tensor([[1.0, -1.0]])).sum().backward()
    log.append(values(layer.weight.grad))


def nothing_recorded(lib, log):
    layer = linear(lib)
    layer.register_full_backward_hook(lambda m, gi, go: log.append("never"))
    with lib.no_grad():
        log.append(values(layer(lib.ones(1, 2))))


def retained_graph(lib, log):
    layer = linear(lib)
    layer.register_full_backward_hook(lambda m, gi, go: log.append(values(gi)))
    x = lib.ones(1, 2)
    x.requires_grad_()
    y = layer(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    log.append(values(x.grad))


def nested_modules(lib, log):
    net = lib.nn.Sequential(linear(lib), lib.nn.ReLU(), linear(lib))
    for i, module in enumerate(net.modules()):
        module.register_full_backward_hook(lambda m, gi, go, i=i: log.append((i, values(gi), values(go))))
    x = lib.tensor([[1.0, 0.5]], requires_grad=True)
    net(x).sum().backward()


PROGRAMS = [
    forward_hooks, hooks_with_kwargs, backward_hooks, replaced_gradients, two_inputs_two_outputs, no_input_requires_grad,
    nothing_recorded, retained_graph, nested_modules,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_same_record_as_torch(program, torch):
    logs = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lib, log in zip((torch, sv), logs, strict=True):
            program(lib, log)
    assert logs[0] and logs[1] == logs[0]


def test_wrong_number_of_gradients(torch):
    for lib in (torch, sv):
        for register in ("register_full_backward_hook", "register_full_backward_pre_hook"):
            layer = linear(lib)
            getattr(layer, register)(lambda m, *grads: (grads[0][0], grads[0][0]))
            with pytest.raises(RuntimeError):
                layer(lib.ones(1, 2).requires_grad_()).sum().backward()


def test_wrong_kwargs_hook(torch):
    for lib in (torch, sv):
        layer = linear(lib)
        layer.register_forward_pre_hook(lambda m, a, k: a[0], with_kwargs=True)
        with pytest.raises(RuntimeError):
            layer(lib.ones(1, 2))


def test_handle_is_a_context_manager():
    layer, seen = linear(sv), []
    with layer.register_forward_hook(lambda *_: seen.append(1)):
        layer(sv.ones(2))
    layer(sv.ones(2))
    assert seen == [1]
