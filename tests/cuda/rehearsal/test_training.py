"""Training on a pretended GPU: the same numbers as on the CPU, and not one wait for the device in a step."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.nn import functional as F

from .arrays import no_waits
from .stage import rehearsal


@pytest.fixture
def cupy():
    with rehearsal(2) as module:
        yield module


def train(device, model, make, steps: int = 3, clip: float | None = None):
    """The losses of a few steps on one batch, and the weights and their average afterwards."""
    sv.manual_seed(5)
    model = model().to(device)
    optimizer = make(model.parameters())
    schedule, average = sv.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20), sv.optim.EMA(model, 0.9)
    images, labels = sv.randn(2, 3, 8, 8, device=device), sv.tensor([1, 2]).to(device)
    losses = []
    for step in range(steps):
        with no_waits("in a training step") if step and device != "cpu" else sv.enable_grad():
            loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            schedule.step()
            average.update()
        losses.append(loss.detach())
    return [v.item() for v in losses], [t.cpu() for t in model.state_dict().values()], [a.cpu() for a in average.state_dict()["averages"].values()]


def net(batch_norm=True):
    return lambda: sv.models.small_vgg(widths=(4, "M", 8), dropout=0.2, batch_norm=batch_norm)


def paper():
    """VGG's own order of layers, as torchvision builds it: convolutions with ReLU, pools, a head with dropout."""
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2)]
    head = [nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(72, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10)]
    return nn.Sequential(*body, *head)


def sgd(parameters):
    """As nets are trained here."""
    return sv.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)


@pytest.mark.parametrize(("model", "make", "clip"), [
    (net(), sgd, None), (net(False), sgd, None), (paper, sgd, None), (paper, sgd, 0.1), (paper, lambda p: sv.optim.AdamW(p, lr=1e-3), None),
], ids=["batch norm", "no batch norm", "the paper's", "clipped", "AdamW"])
def test_the_cpu_s_numbers_without_waiting(cupy, model, make, clip):
    losses, weights, averages = train("cuda:1", model, make, clip=clip)
    expected, their_weights, their_averages = train("cpu", model, make, clip=clip)
    assert np.allclose(losses, expected, rtol=1e-4)
    for ours, theirs in zip(weights + averages, their_weights + their_averages, strict=True):
        assert np.allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-4)


def test_nothing_is_copied_in_by_a_step_with_a_constant_rate(cupy):
    """What the host copies to the device in a step would be baked into a CUDA graph."""
    model = paper().cuda()
    optimizer = sgd(model.parameters())
    images, labels = sv.randn(2, 3, 8, 8, device="cuda"), sv.tensor([1, 2]).cuda()
    for step in range(3):
        before = cupy.copied_in
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert step < 1 or cupy.copied_in == before


@pytest.mark.parametrize("name", [
    "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_", "trunc_normal_", "orthogonal_", "eye_", "dirac_",
])
def test_initialisers_give_the_cpu_s_numbers(cupy, name):
    shape = (6, 4) if name == "eye_" else (6, 4, 3, 3)
    drawn = []
    for device in ("cpu", "cuda:1"):
        sv.manual_seed(3)
        drawn.append(getattr(nn.init, name)(sv.empty(shape, device=device)).cpu().numpy())
    assert np.allclose(*drawn, atol=1e-6)


def test_whitening_from_images_on_any_device(cupy):
    nets = [sv.models.fast_vgg().to(device) for device in ("cpu", "cuda:1")]
    images = sv.randn(4, 3, 8, 8)
    for model in nets:
        model.init_whitening(images)
    assert np.allclose(*(model.whitening.weight.detach().cpu().abs().numpy() for model in nets), atol=1e-5)


def test_lookahead_averages_and_a_deep_copy(cupy):
    from copy import deepcopy

    model = net()().to("cuda:1")
    ahead, average = sv.optim.Lookahead(model, total_steps=10, every=1), sv.optim.EMA(model, 0.5)
    twin = deepcopy(model)
    with sv.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    ahead.update()
    average.update()
    state = average.state_dict()
    with average.averaged():
        pass
    average.load_state_dict(state)
    average.copy_to_model()
    moved = [(a - b).abs().max().item() for a, b in zip(model.parameters(), twin.parameters(), strict=True)]
    assert all(0 < m < 1 for m in moved)
