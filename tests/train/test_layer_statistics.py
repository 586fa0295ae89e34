"""Statistics of arrays against NumPy in float64; a probe that leaves nothing behind."""

import math

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.array import Device, default_generator, get_backend
from scratchvgg.array.dtypes import as_dtype
from scratchvgg.nn import functional as F
from scratchvgg.train import layer_statistics as look

CPU = get_backend(Device("cpu"))
SHAPES = [(3, 5, 6, 7), (200, 64, 9, 9), (128, 40), (2, 70000), (1, 2, 300, 300), (7, 3, 1)]


def arrays():
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        x = np.maximum(rng.standard_normal(shape) * 3 + 100 * (len(shape) == 2), 0).astype(np.float32)
        x[:, 0] = 0
        yield x
        if len(shape) == 4:
            yield np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # channels last
            yield np.ascontiguousarray(x.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)[:, :, ::2]  # channels first of all, with gaps
    yield rng.standard_normal((4, 6)).astype(np.float64)


@pytest.mark.parametrize("x", list(arrays()), ids=lambda x: f"{x.shape}{x.strides}")
def test_of_arrays_in_every_layout(x):
    found, exact = look.statistics(CPU, x, histogram=True), x.astype(np.float64)
    flat = np.moveaxis(exact, 1, 0).reshape(x.shape[1], -1)
    expected = {
        "count": x.size, "channels": x.shape[1], "mean": exact.mean(), "std": exact.std(), "min": exact.min(), "max": exact.max(),
        "norm": np.linalg.norm(exact), "zeros": np.mean(exact == 0), "finite": 1.0, "dead_channels": np.mean((flat == 0).all(1)),
        "constant_channels": np.mean(flat.min(1) == flat.max(1)), "saturated": None,
        "image_std": math.sqrt(exact.var(0).mean()) if x.ndim == 2 else None,
    }
    histogram = found.pop("histogram")
    assert found == {k: v if v is None else pytest.approx(v, rel=2e-5, abs=1e-12) for k, v in expected.items()}
    assert (histogram["low"], histogram["high"]) == (found["min"], found["max"]) and len(histogram["counts"]) == look.BINS
    assert sum(histogram["counts"]) == min(x.size, look.SAMPLE) and len(look.edges(histogram)) == look.BINS + 1
    if x.size <= look.SAMPLE:
        low, high = histogram["low"], histogram["high"]
        assert histogram["counts"] == np.histogram(np.clip(exact, low, high), look.BINS, (low, high))[0].tolist()
    else:  # a sample: each bin's share within five standard deviations of a random one's
        shares = np.histogram(exact, look.BINS, (exact.min(), exact.max()))[0] / x.size
        assert np.all(np.abs(np.array(histogram["counts"]) / look.SAMPLE - shares) < 5 * np.sqrt(shares / look.SAMPLE) + 1e-3)


@pytest.mark.parametrize("x", list(arrays()), ids=lambda x: f"{x.shape}{x.strides}")
def test_pieces_say_what_plain_reductions_say(x):
    view = look._by_channel(np, x)
    for a, b in zip(look._pieces(np, view), look._reduced(np, view), strict=True):
        assert np.allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_types(dtype):
    x = np.random.default_rng(1).standard_normal((8, 4, 5, 5)).astype(as_dtype(dtype).numpy)
    found, exact = look.statistics(CPU, x), x.astype(np.float64)
    assert found["std"] == pytest.approx(exact.std(), rel=1e-5) and found["norm"] == pytest.approx(np.linalg.norm(exact), rel=1e-5)


def test_a_constant_has_no_deviation():
    found = look.statistics(CPU, np.full((64, 10), 12.3456, np.float32), histogram=True)
    assert found["std"] < 1e-6 and found["image_std"] == 0 and found["constant_channels"] == 1 and found["dead_channels"] == 0
    assert sum(found["histogram"]["counts"]) == 640 and found["histogram"]["low"] < 12.3456 < found["histogram"]["high"]


def test_nan_and_infinity_are_counted_and_left_out():
    x = np.random.default_rng(2).standard_normal((6, 5, 4, 4)).astype(np.float32)
    x[0, 1, 0, 0], x[1, 2, 1, 1], x[2, 2] = np.nan, np.inf, -np.inf
    found, rest = look.statistics(CPU, x, histogram=True), x[np.isfinite(x)].astype(np.float64)
    assert found["finite"] == pytest.approx(rest.size / x.size) and found["max"] == pytest.approx(rest.max())
    assert found["mean"] == pytest.approx(rest.mean(), rel=1e-5) and found["norm"] == pytest.approx(np.linalg.norm(rest), rel=1e-5)
    nothing = look.statistics(CPU, np.full((2, 3), np.nan, np.float32), histogram=True)
    assert nothing["finite"] == 0 and nothing["mean"] is nothing["std"] is nothing["norm"] is nothing["histogram"] is None
    assert look.moments(CPU, np.array([1.0, np.nan])) == {"mean": None, "std": None, "norm": None}


def test_numbers_whose_squares_leave_float32():
    x = np.array([[3e25, 4e25], [0, 0]], np.float32)
    assert look.statistics(CPU, x)["norm"] == pytest.approx(5e25, rel=1e-5) and look.moments(CPU, x)["norm"] == pytest.approx(5e25, rel=1e-5)
    assert look.distance(CPU, x, np.zeros_like(x)) == pytest.approx(5e25, rel=1e-5)


def test_saturation_is_about_bounds():
    x = np.array([[0.001, 0.5], [0.995, 0.989]], np.float32)
    assert look.statistics(CPU, x, bounds=(0.0, 1.0))["saturated"] == 0.5 and look.statistics(CPU, x)["saturated"] is None


@pytest.mark.parametrize("device", ["cpu", "emulator"])
def test_a_probe_sees_what_torch_sees(device):
    torch = pytest.importorskip("torch")
    sv.manual_seed(3)
    net = sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3, batch_norm=False).train().to(device)
    images, labels = sv.randn(5, 3, 8, 8).to(device), sv.tensor([0, 2, 1, 1, 0]).to(device)
    layers = {layer["name"]: layer for layer in look.probe(net, lambda: F.cross_entropy(net(images), labels) * 8.0, scale=8.0, histogram=True)}
    assert list(layers) == ["features.0", "features.1", "features.2", "features.3", "features.4", "features.5", "avgpool", "classifier.1"]

    def theirs(tensor):
        return torch.tensor(tensor.detach().cpu().numpy())

    w = {name: theirs(p) for name, p in net.state_dict().items()}
    conv, pool, relu = torch.nn.functional.conv2d, torch.nn.functional.max_pool2d, torch.relu
    steps, x = {}, theirs(images).requires_grad_()
    for name, step in [
        ("features.0", lambda x: conv(x, w["features.0.weight"], w["features.0.bias"], padding=1)), ("features.1", relu),
        ("features.2", lambda x: pool(x, 2)), ("features.3", lambda x: conv(x, w["features.3.weight"], w["features.3.bias"], padding=1)),
        ("features.4", relu), ("features.5", lambda x: pool(x, 2)), ("avgpool", lambda x: x.mean((2, 3), keepdim=True)),
        ("classifier.1", lambda x: x.flatten(1) @ w["classifier.1.weight"].T + w["classifier.1.bias"]),
    ]:
        x = steps[name] = step(x)
        x.retain_grad()
    torch.nn.functional.cross_entropy(x, torch.tensor([0, 2, 1, 1, 0])).backward()
    for name, tensor in steps.items():
        for what, array in (("activation", tensor.detach()), ("gradient", tensor.grad)):
            found = layers[name][what]
            assert found["norm"] == pytest.approx(array.norm().item(), rel=1e-4), (name, what)
            assert found["std"] == pytest.approx(array.std(correction=0).item(), rel=1e-4), (name, what)
            assert found["zeros"] == pytest.approx((array == 0).double().mean().item(), abs=1e-6), (name, what)
            assert found["max"] == pytest.approx(array.max().item(), rel=1e-4, abs=1e-6), (name, what)


def test_a_probe_leaves_nothing_behind():
    net = sv.models.small_vgg(widths=(4, "M"), num_classes=3, dropout=0.5).train()
    images, labels = sv.randn(4, 3, 8, 8), sv.tensor([0, 1, 2, 0])
    F.cross_entropy(net(images), labels).backward()
    state, random = {k: v.numpy().copy() for k, v in net.state_dict().items()}, default_generator.get_state()
    gradients = [(p.grad, p.grad.numpy().copy()) for p in net.parameters()]

    def fails():
        net(images)
        raise RuntimeError("half way")

    look.probe(net, lambda: F.cross_entropy(net(images), labels))
    with pytest.raises(RuntimeError, match="half way"):
        look.probe(net, fails)
    assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()) and default_generator.get_state() == random
    assert all(p.grad is before and np.array_equal(before.numpy(), copy) for p, (before, copy) in zip(net.parameters(), gradients, strict=True))
    assert not any(m._forward_hooks for m in net.modules())


def test_a_layer_alone_and_one_without_gradient():
    layer = nn.Conv2d(3, 2, 3).requires_grad_(False)
    (seen,) = look.probe(layer, lambda: layer(sv.randn(1, 3, 4, 4)).sum())
    assert seen["name"] == seen["type"] == "Conv2d" and seen["gradient"] is None and seen["activation"]["count"] == 8
