"""Every module against torch's from the same weights: forward, gradients, buffers, names in the state dict, repr."""

from __future__ import annotations

import inspect
import zlib

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from tests.closeness import Accuracy, assert_close64, rms_error

from .cases import ALL, CASES, IDS

torch = pytest.importorskip("torch")

BASES = {"Module", "Parameter"}


def test_every_public_module_has_cases():
    public = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert public - BASES == set(CASES)


def draw(name, case):
    rng = np.random.default_rng(zlib.crc32(f"{name}{case.title}".encode()))
    return [a.astype("f4").astype("f8") if a.dtype.kind == "f" else a for a in (i.draw(rng) for i in case.inputs)]


def run(library, build, case, arrays, dtype, training, state=None):
    """(state dict before, everything computed by name) of one forward and backward."""
    tensor = library.tensor
    module = build(library.nn).train(training)
    module.double() if dtype == "float64" else module.float()
    if state is not None:
        module.load_state_dict({k: tensor(v) for k, v in state.items()})
    before = {k: v.detach().numpy().copy() for k, v in module.state_dict().items()}
    inputs = []
    for array, spec in zip(arrays, case.inputs, strict=True):
        x = tensor(array.astype(dtype) if array.dtype.kind == "f" else array)
        inputs.append(x.requires_grad_(spec.grad and array.dtype.kind == "f"))
    results = case.call(library.nn, module, *inputs)
    results = results if isinstance(results, tuple) else (results,)
    named = {f"result {i}": r.detach().numpy() for i, r in enumerate(results)}
    rng = np.random.default_rng(1)
    loss = 0
    for r in results:
        if r.requires_grad:
            loss = loss + (r * tensor(rng.normal(size=tuple(r.shape)).astype("f4").astype(dtype))).sum()
    loss.backward()
    for i, x in enumerate(inputs):
        named[f"gradient of input {i}"] = None if x.grad is None else x.grad.numpy()
    for key, p in module.named_parameters():
        named[f"gradient of {key}"] = None if p.grad is None else p.grad.numpy()
    for key, b in module.named_buffers():
        named[f"buffer {key}"] = b.numpy()
    return before, named


def spread(state):
    """Running variances stay positive and weights are not at their starting values 0 and 1."""
    rng = np.random.default_rng(2)
    return {k: rng.uniform(0.5, 1.5, v.shape).astype("f4").astype(v.dtype) if v.dtype.kind == "f" else v for k, v in state.items()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "case"), ALL, ids=IDS)
def test_forward_and_gradients(name, case, training):
    if training not in case.modes:
        return
    arrays = draw(name, case)
    state = spread({k: v.detach().double().numpy() if v.is_floating_point() else v.numpy() for k, v in case.build(torch.nn).state_dict().items()})
    _, truth = run(torch, case.build, case, arrays, "float64", training, state)
    _, ours = run(sv, case.build, case, arrays, "float64", training, state)
    assert list(ours) == list(truth)
    for what, expected in truth.items():
        if expected is None:
            assert ours[what] is None, what
        elif expected.dtype.kind == "f":
            assert ours[what].dtype == expected.dtype and ours[what].shape == expected.shape, what
            assert_close64(what, ours[what], expected)
        else:
            assert np.array_equal(ours[what], expected), what
    single = {k: v.astype("f4") if v.dtype.kind == "f" else v for k, v in state.items()}
    _, theirs32 = run(torch, case.build, case, arrays, "float32", training, single)
    _, ours32 = run(sv, case.build, case, arrays, "float32", training, single)
    for what, expected in truth.items():
        if expected is not None and expected.dtype.kind == "f":
            assert ours32[what].dtype == np.float32, what
            accuracy = Accuracy.of(ours32[what], expected, rms_error(theirs32[what], expected))
            assert accuracy.error <= 2 * accuracy.limit, f"{what}: {accuracy}"  # the harness judges operations over several seeds


@pytest.mark.parametrize(("name", "case"), ALL, ids=IDS)
def test_structure(name, case):
    ours, theirs = case.build(nn), case.build(torch.nn)
    assert type(ours).__name__ == name
    assert repr(ours) == repr(theirs)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert [(k, tuple(v.shape), v.dtype.name) for k, v in mine.items()] == [
        (k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in other.items()
    ]
    for walk in ("named_modules", "named_children", "named_parameters", "named_buffers"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()], walk


WEIGHTED = [(n, c) for n, c in ALL if n in ("Conv2d", "ConvTranspose2d", "Linear")]


@pytest.mark.parametrize(("name", "case"), WEIGHTED, ids=[f"{n}: {c.title}" for n, c in WEIGHTED])
def test_default_initialisation_has_torchs_bounds(name, case):
    widest = {}
    for library in (nn, torch.nn):
        module = case.build(library)
        for _ in range(30):
            module.reset_parameters()
            for key, p in module.named_parameters():
                widest[library, key] = max(widest.get((library, key), 0), np.abs(p.detach().numpy()).max())
    bound = 1 / np.sqrt(np.prod(module.weight.shape[1:]))
    assert all(0.8 * bound < w <= bound * (1 + 1e-6) for w in widest.values())
    assert abs(case.build(nn).weight.detach().numpy().mean()) < 0.5 * bound


def test_conv_weights_lie_channels_last_in_memory():
    for conv in (nn.Conv2d(8, 5, 3), nn.ConvTranspose2d(8, 5, 3)):
        assert conv.weight.array.transpose(0, 2, 3, 1).flags.c_contiguous
        assert conv.double().weight.array.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("build", [
    lambda nn: nn.Conv2d(4, 6, 3, groups=0),
    lambda nn: nn.Conv2d(4, 6, 3, groups=4),
    lambda nn: nn.Conv2d(3, 6, 3, groups=2),
    lambda nn: nn.Conv2d(4, 6, 3, padding="full"),
    lambda nn: nn.Conv2d(4, 6, 3, padding="same", stride=2),
    lambda nn: nn.Conv2d(4, 6, 3, padding_mode="mirror"),
    lambda nn: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"),
    lambda nn: nn.Dropout(1.5),
    lambda nn: nn.Dropout2d(-0.1),
    lambda nn: nn.Unflatten(1, 3.5),
], ids=range(10))
def test_constructors_reject_what_torch_rejects(build):
    with pytest.raises((ValueError, TypeError)) as expected:
        build(torch.nn)
    with pytest.raises(expected.type):
        build(nn)


@pytest.mark.parametrize(("build", "shape", "call"), [
    (lambda nn: nn.BatchNorm2d(3), (2, 3, 4), lambda m, x: m(x)),
    (lambda nn: nn.BatchNorm1d(3), (2, 3, 4, 4), lambda m, x: m(x)),
    (lambda nn: nn.BatchNorm2d(3), (1, 3, 1, 1), lambda m, x: m(x)),
    (lambda nn: nn.Linear(3, 4), (2, 5), lambda m, x: m(x)),
    (lambda nn: nn.Conv2d(3, 4, 3), (2, 5, 8, 8), lambda m, x: m(x)),
    (lambda nn: nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 4, 4), lambda m, x: m(x, output_size=(30, 30))),
    (lambda nn: nn.ModuleList(), (2,), lambda m, x: m(x)),
    (lambda nn: nn.Module(), (2,), lambda m, x: m(x)),
], ids=["BatchNorm2d 3D", "BatchNorm1d 4D", "one value a channel", "Linear", "Conv2d", "output_size", "ModuleList", "Module"])
def test_forward_rejects_what_torch_rejects(build, shape, call):
    with pytest.raises((ValueError, RuntimeError)) as expected:
        call(build(torch.nn), torch.zeros(shape))
    with pytest.raises(expected.type):
        call(build(nn), sv.zeros(shape))


def test_dropout_drops_in_training_only():
    x = sv.ones(4000)
    for layer in (nn.Dropout(0.25), nn.Dropout(0.25).eval()):
        y = layer(x).numpy()
        assert set(np.unique(y)) == ({np.float32(0), np.float32(1 / 0.75)} if layer.training else {np.float32(1)})
    assert 0.7 < (nn.Dropout(0.25)(x).numpy() > 0).mean() < 0.8


def test_dropout2d_drops_whole_channels():
    y = nn.Dropout2d(0.5)(sv.ones(30, 20, 3, 2)).numpy().reshape(600, 6)
    assert ((y == 0).all(1) | (y == 2).all(1)).all() and 200 < (y[:, 0] == 0).sum() < 400


def test_batch_norm_writes_in_training_only():
    norm = nn.BatchNorm2d(3)
    norm(sv.randn(4, 3, 2, 2))
    before = {k: v.numpy().copy() for k, v in norm.state_dict().items()}
    assert before["num_batches_tracked"] == 1 and np.abs(before["running_mean"]).min() > 0
    norm.eval()(sv.randn(4, 3, 2, 2))
    assert all(np.array_equal(before[k], v.numpy()) for k, v in norm.state_dict().items())
