"""Every map equals an independent computation by torch: its own autograd on torchvision's net with the same weights."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.array import Generator
from scratchvgg.study import attribution
from tests.torchvision_reference import torchvision

from .nets import NETS, pair, picture

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the largest number
LAST_RELU = {"vgg11": 19, "vgg11_bn": 27, "vgg16": 29}
every_net = pytest.mark.parametrize("name", NETS)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def close(got, expected, dtype):
    scale = np.abs(expected).max()
    assert got.shape == expected.shape and got.dtype == dtype and scale > 0
    difference = float(np.abs(got - expected).max() / scale)
    print(f"largest difference, relative: {difference:.1e}")
    assert difference <= TOLERANCE[dtype]


def score_and_leaf(torch, net, x, index):
    leaf = torch.tensor(x, requires_grad=True)
    logits = net(leaf)
    return logits[0, logits.argmax() if index is None else index], leaf, logits


def gradient(torch, net, x, index=None):
    score, leaf, _ = score_and_leaf(torch, net, x, index)
    return torch.autograd.grad(score, leaf)[0][0].numpy()


def guide(torch, net):
    """Every ReLU of a torch net becomes one whose backward keeps positive gradients at positive inputs."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return torch.where((x > 0) & (g > 0), g, torch.zeros_like(g))

    class Layer(torch.nn.Module):
        def forward(self, x):
            return Guided.apply(x)

    for part in (net.features, net.classifier):
        for place, module in enumerate(part):
            if isinstance(module, torch.nn.ReLU):
                part[place] = Layer()
    return net


def grad_cam(torch, net, x, place, index=None):
    """(the small map, the enlarged one), by cutting the net in two behind ``features[place]``."""
    with torch.no_grad():
        maps = net.features[: place + 1](torch.tensor(x))
    maps = maps.clone().requires_grad_(True)
    logits = net.classifier(torch.flatten(net.avgpool(net.features[place + 1 :](maps * 1)), 1))
    score = logits[0, logits.argmax() if index is None else index]
    (g,) = torch.autograd.grad(score, maps)
    small = torch.relu(torch.einsum("k,khw->hw", g[0].mean((1, 2)), maps[0].detach()))
    large = torch.nn.functional.interpolate(small[None, None], size=x.shape[2:], mode="bilinear", align_corners=False)
    return small.numpy(), large[0, 0].numpy()


@every_dtype
@every_net
def test_gradient(torch, name, dtype):
    ours, theirs = pair(torch, name, dtype)
    x = picture(dtype=dtype)
    found, expected = attribution.METHODS["gradient"](ours, x), gradient(torch, theirs, x)
    close(found.raw, expected, dtype)
    close(found.map, np.abs(expected).max(0), dtype)
    close(attribution.METHODS["gradient-input"](ours, x).map, (expected * x[0]).sum(0), dtype)
    other = (found.target.index + 1) % 10
    close(attribution.METHODS["gradient"](ours, x, other).raw, gradient(torch, theirs, x, other), dtype)


@every_dtype
@every_net
def test_guided_backpropagation(torch, name, dtype):
    ours, theirs = pair(torch, name, dtype)
    x = picture(dtype=dtype)
    plain = gradient(torch, theirs, x)
    expected = gradient(torch, guide(torch, theirs), x)
    found = attribution.METHODS["guided"](ours, x)
    close(found.raw, expected, dtype)
    assert np.abs(expected - plain).max() > 0.1 * np.abs(plain).max(), "the rule matters here"
    assert found.settings["relus"] == sum(isinstance(m, sv.nn.ReLU) for m in ours.modules())


@every_dtype
@every_net
def test_grad_cam(torch, name, dtype):
    ours, theirs = pair(torch, name, dtype)
    x, place = picture(96, dtype=dtype), LAST_RELU[name]
    assert isinstance(theirs.features[place + 1], torch.nn.MaxPool2d), "the last ReLU before pool5"
    both = ((index, *grad_cam(torch, theirs, x, place, index)) for index in range(10))
    index, small, large = max(both, key=lambda found: min((found[1] > 0).mean(), (found[1] == 0).mean() + 0.01))  # some places speak for it
    assert small.shape == (6, 6) and small.any()
    found = attribution.METHODS["grad-cam"](ours, x, index)
    assert found.layer == f"features.{place}"
    close(found.raw, small, dtype)
    close(found.map, large, dtype)


def test_grad_cam_of_any_layer_and_class(torch):
    ours, theirs = pair(torch, "vgg11", "float64")
    x = picture(64)
    for place in (0, 4, 9, 20):  # convolutions that an in-place ReLU follows, ReLUs, a pooling
        expected = {index: grad_cam(torch, theirs, x, place, index)[1] for index in (0, 4, 7)}
        assert any(map.any() for map in expected.values())
        for index, map in expected.items():
            found = attribution.METHODS["grad-cam"](ours, x, index, layer=f"features.{place}").map
            assert np.abs(found - map).max() <= 1e-10 * np.abs(map).max(), (place, index)


@every_dtype
def test_smoothgrad(torch, dtype):
    ours, theirs = pair(torch, "vgg11", dtype)
    x = picture(dtype=dtype)
    index = int(theirs(torch.tensor(x)).argmax())
    noise, spread = Generator(3), 0.2 * float(np.ptp(x))
    copies = [(x + spread * noise.normal(x.shape[1:])).astype(dtype) for _ in range(4)]
    expected = np.mean([gradient(torch, theirs, copy, index).astype(np.float64) for copy in copies], 0)
    close(attribution.METHODS["smoothgrad"](ours, x, samples=4, noise=0.2, seed=3).raw, expected.astype(dtype), dtype)


@every_dtype
@pytest.mark.parametrize(("patch", "stride", "fill", "score"), [
    (12, 6, "mean", "probability"), (13, 9, 0.0, "logit"), (32, 32, [0.1, -0.2, 0.3], "logit"), (9, 9, "mean", "logit")], ids=str)
def test_occlusion_equals_a_plain_loop(torch, patch, stride, fill, score, dtype):
    ours, theirs = pair(torch, "vgg11", dtype)
    x = picture(32, dtype=dtype)

    def ask(image):
        with torch.no_grad():
            logits = theirs(torch.tensor(image))[0]
        return (logits.softmax(0) if score == "probability" else logits).numpy()

    before = ask(x)
    index = before.argmax()
    colour = x[0].mean((1, 2)) if fill == "mean" else np.broadcast_to(np.array(fill, dtype), 3)
    total, count, drops = np.zeros((32, 32)), np.zeros((32, 32)), []
    starts = sorted({*range(0, 32 - patch + 1, stride), 32 - patch})
    for top in starts:
        for left in starts:
            covered = x.copy()
            for c in range(3):
                covered[0, c, top : top + patch, left : left + patch] = colour[c]
            drops.append(before[index] - ask(covered)[index])
            total[top : top + patch, left : left + patch] += drops[-1]
            count[top : top + patch, left : left + patch] += 1
    assert count.min() >= 1
    said = []
    found = attribution.METHODS["occlusion"](ours, x, patch=patch, stride=stride, fill=fill, score=score, batch_size=3, progress=said.append)
    scale = np.abs(before).max() / np.abs(drops).max()  # a drop is a difference of numbers of the size of ``before``
    assert np.abs(found.raw.ravel() - drops).max() <= TOLERANCE[dtype] * scale * np.abs(drops).max()
    assert np.abs(found.map - total / count).max() <= TOLERANCE[dtype] * scale * np.abs(drops).max() and found.map.dtype == dtype
    assert found.raw.shape == (len(starts),) * 2 and len(said) == -(-len(drops) // 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_full_nets_at_224(torch, name):
    torch.manual_seed(0)
    theirs = getattr(torchvision().models, name)(weights=None).eval()
    with sv.nn.init.skip():
        ours = sv.models.get_model(name, init_weights=False).eval()
    ours.load_state_dict({key: sv.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    x, place = picture(224, dtype="float32"), {"vgg11": 19, "vgg16_bn": 42}[name]
    ours, theirs, x = ours.to(sv.float64), theirs.double(), x.astype(np.float64)  # decisions of ReLUs and pools do not flip
    found = attribution.attribute(ours, x, methods="grad-cam,guided,gradient")
    close(found["grad-cam"].map, grad_cam(torch, theirs, x, place)[1], "float64")
    close(found["gradient"].raw, gradient(torch, theirs, x), "float64")
    close(found["guided"].raw, gradient(torch, guide(torch, theirs), x), "float64")
