"""Whole nets on the devices that run the CUDA kernels: the same logits, gradients and running statistics as on the CPU."""

import copy

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.models import cifar_vgg, get_model
from scratchvgg.models.vgg import cfgs
from tests.harness import DEVICES

LETTERS = ("A", "A-LRN", "B", "C", "D", "E")
ELSEWHERE = [pytest.param(d, marks=[pytest.mark.gpu] if d == "cuda" else []) for d in DEVICES if d != "cpu"]
NETS = pytest.mark.parametrize(("letter", "batch_norm"), [(letter, norm) for letter in LETTERS for norm in (False, True)])


def narrow(letter):
    """The configuration with an eighth of the channels; entries are 64, "M", "LRN" or "conv1-256"."""
    return [eighth(entry) for entry in cfgs[letter]]


def eighth(entry):
    """One entry of :func:`narrow`."""
    if isinstance(entry, int):
        return entry // 8
    kind, dash, channels = entry.partition("-")
    return f"{kind}-{int(channels) // 8}" if dash else entry


def small_net(letter, batch_norm):
    sv.manual_seed(1)
    return cifar_vgg(narrow(letter), batch_norm=batch_norm, dropout=0.3).train()


def step(net, device, dtype, images=2, side=32):
    """(logits, gradients, buffers) of one training step on a device, as float64 arrays; the net is left as it was."""
    there = copy.deepcopy(net).to(device=device, dtype=dtype)
    rng = np.random.default_rng(5)
    x = sv.tensor(rng.standard_normal((images, 3, side, side)), dtype=dtype, device=device)
    t = sv.tensor(rng.integers(0, 10, images), device=device)
    sv.manual_seed(7)  # the dropout masks are the same on every device
    logits = there(x)
    nn.functional.cross_entropy(logits, t).backward()
    wide = lambda t: t.detach().cpu().numpy().astype(np.float64)
    return wide(logits), {n: wide(p.grad) for n, p in there.named_parameters()}, {n: wide(b) for n, b in there.named_buffers()}


def distance(a, b):
    """‖a − b‖ / ‖b‖."""
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def far(ours, truth):
    """(name, distance) of the worst array; gradients that are zero in truth (biases before batch norm) count against their layer's weight."""
    found = {}
    for name, value in ours.items():
        size = np.linalg.norm(truth[name])
        twin = name.replace("bias", "weight")
        if size < 1e-6 * np.linalg.norm(truth.get(twin, truth[name])):
            found[name] = np.linalg.norm(value - truth[name]) / np.linalg.norm(truth[twin])
        else:
            found[name] = distance(value, truth[name])
    return max(found.items(), key=lambda pair: pair[1])


@pytest.mark.parametrize("device", ELSEWHERE)
@NETS
def test_float64_to_ten_digits(device, letter, batch_norm):
    net = small_net(letter, batch_norm)
    logits, gradients, buffers = step(net, "cpu", sv.float64)
    ours = step(net, device, sv.float64)
    assert distance(ours[0], logits) < 1e-10
    assert far(ours[1], gradients)[1] < 1e-10
    assert all(np.allclose(ours[2][n], b, rtol=1e-12, atol=1e-13) for n, b in buffers.items())


@pytest.mark.parametrize("algorithm", ["im2col", "implicit_gemm"])
@pytest.mark.parametrize("device", ELSEWHERE)
@NETS
def test_float32_with_the_decisions_of_one_run(torch, device, letter, batch_norm, algorithm):
    from benchmarks.frozen import frozen, record_ours

    net = small_net(letter, batch_norm)
    with record_ours() as decisions:
        logits, gradients, _ = step(net, "cpu", sv.float32)
    with sv.conv.using(algorithm), frozen(decisions):
        ours = step(net, device, sv.float32)
    assert distance(ours[0], logits) < 1e-4
    name, error = far(ours[1], gradients)
    assert error < 1e-4, f"{name}: {error:.1e}"


@pytest.mark.parametrize("device", ELSEWHERE)
@NETS
def test_logits_of_the_fused_net(device, letter, batch_norm):
    net = small_net(letter, batch_norm).eval()
    x = sv.tensor(np.random.default_rng(2).standard_normal((3, 3, 32, 32)), dtype=sv.float32)
    with sv.no_grad():
        expected = net(x).numpy()
        ours = copy.deepcopy(net).to(device)(x.to(device)).cpu().numpy()
    assert distance(ours, expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("device", ELSEWHERE)
@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn", "vgg19", "vgg_a_lrn", "vgg_c"])
def test_nets_of_the_paper_in_full(torch, device, name):
    from benchmarks.frozen import frozen, record_ours

    sv.manual_seed(1)
    net = get_model(name).train()
    with record_ours() as decisions:
        logits, gradients, _ = step(net, "cpu", sv.float32, side=64)
    with frozen(decisions):
        ours = step(net, device, sv.float32, side=64)
    assert distance(ours[0], logits) < 1e-4
    name, error = far(ours[1], gradients)
    assert error < 1e-4, f"{name}: {error:.1e}"
