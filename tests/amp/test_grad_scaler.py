"""GradScaler: torch's numbers and errors, several optimisers, devices that skip by themselves."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn, optim
from scratchvgg.nn.utils import clip_grad_norm_
from scratchvgg.optim.grad_scaler import GradScaler

RNG = np.random.default_rng(0)
SLOPES = [[1.0, -2.0], [0.5, float("inf")], [3.0, 1.0], [float("nan"), 0.0], [1.0, 1.0], [0.25, 0.5], [2.0, -1.0], [1.0, 4.0]]


def weights(device="cpu"):
    return sv.tensor([1.0, 2.0], device=device).requires_grad_()


def run(device, make=lambda p: optim.SGD([p], lr=0.1, momentum=0.9), clip=None, **options):
    """Weights, scale and growth tracker after each of several steps, some of which overflow."""
    p = weights(device)
    optimizer, scaler, history = make(p), GradScaler(device, init_scale=8.0, growth_interval=2, **options), []
    for slope in SLOPES:
        optimizer.zero_grad()
        scaler.scale((p * sv.tensor(slope, device=device)).sum()).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            clip_grad_norm_([p], clip)
        scaler.step(optimizer)
        scaler.update()
        history.append([*p.tolist(), scaler.get_scale(), scaler.state_dict()["_growth_tracker"]])
    return np.array(history)


def run_torch(make, clip=None, **options):
    torch = pytest.importorskip("torch")
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer, scaler, history = make(torch.optim, p), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2, **options), []
    for slope in SLOPES:
        optimizer.zero_grad()
        scaler.scale((p * torch.tensor(slope)).sum()).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_([p], clip)
        scaler.step(optimizer)
        scaler.update()
        history.append([*p.tolist(), scaler.get_scale(), scaler.state_dict()["_growth_tracker"]])
    return np.array(history)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("rule", [lambda m, p: m.SGD([p], lr=0.1, momentum=0.9), lambda m, p: m.Adam([p], lr=0.1)], ids=["sgd", "adam"])
def test_weights_scale_and_tracker_are_torchs(rule, clip):
    options = {"growth_factor": 4.0, "backoff_factor": 0.25}
    np.testing.assert_allclose(run("cpu", lambda p: rule(optim, p), clip, **options), run_torch(rule, clip, **options), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_emulator_gives_the_cpus_numbers(clip):
    np.testing.assert_allclose(run("emulator", clip=clip), run("cpu", clip=clip), rtol=1e-6)


def test_on_a_device_the_kernel_skips(monkeypatch):
    """Nothing is read back: neither the scaler nor the optimiser asks a Tensor for its value."""
    p = weights("emulator")
    optimizer, scaler = optim.SGD([p], lr=0.1), GradScaler("emulator", init_scale=4.0)
    monkeypatch.setattr(sv.Tensor, "item", lambda self: pytest.fail("waited for the device"))
    monkeypatch.setattr(type(p.backend), "to_numpy", lambda self, array: pytest.fail("waited for the device"))
    for slope in (1.0, float("inf"), 2.0):
        p.grad = sv.full_like(p, slope * 4)
        if scaler._scale is None:
            scaler.scale(p)
        scaler.step(optimizer)
        scaler.update()
    monkeypatch.undo()
    # 4, then 2 after the overflow: gradients 1, nothing, 8 / 2
    assert p.tolist() == pytest.approx([1 - 0.1 - 0.4, 2 - 0.1 - 0.4]) and scaler.get_scale() == 2.0
    assert optimizer.grad_scale is None and optimizer.found_inf is None


def test_several_optimizers_share_the_scale():
    a, b = weights(), weights()
    first, second, scaler = optim.SGD([a], lr=1.0), optim.Adam([b], lr=1.0), GradScaler("cpu", init_scale=2.0)
    loss_a, loss_b = scaler.scale([a.sum(), (b * float("inf")).sum()])
    loss_a.backward()
    loss_b.backward()
    for optimizer in (first, second):
        scaler.step(optimizer)
    assert a.tolist() == [0.0, 1.0] and b.tolist() == [1.0, 2.0]
    scaler.update()
    assert scaler.get_scale() == 1.0


def test_float16_masters_take_unscaled_steps():
    """The gradient, 1e-6, underflows to a coarse number in float16 if it is unscaled there; in float32 it does not."""
    p = sv.ones(3).half().requires_grad_()
    optimizer, scaler = optim.SGD([p], lr=100.0, master_weights=True), GradScaler("cpu")
    scaler.scale((p.float() * 1e-6).sum()).backward()
    with pytest.raises(ValueError, match="float16 gradients"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.state[p]["master"].tolist() == pytest.approx([1 - 1e-4] * 3, rel=1e-7)


def test_state_round_trip_and_torchs():
    torch = pytest.importorskip("torch")
    theirs = torch.amp.GradScaler("cpu", init_scale=32.0, growth_interval=7)
    scaler = GradScaler("cpu")
    scaler.load_state_dict(theirs.state_dict())
    assert scaler.state_dict() == theirs.state_dict() and scaler.scale(sv.tensor(2.0)).item() == 64.0
    scaler.load_state_dict({**theirs.state_dict(), "scale": 4.0, "_growth_tracker": 3})
    assert scaler.get_scale() == 4.0 and scaler.state_dict()["_growth_tracker"] == 3
    theirs.load_state_dict(scaler.state_dict())
    assert theirs.get_scale() == 4.0
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})


def test_settings_and_new_scales():
    scaler = GradScaler("cpu", init_scale=3.0)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (2.0, 0.5, 2000)
    scaler.set_growth_factor(3.0)
    scaler.set_backoff_factor(0.1)
    scaler.set_growth_interval(5)
    assert {k: scaler.state_dict()[k] for k in ("growth_factor", "backoff_factor", "growth_interval")} == {
        "growth_factor": 3.0, "backoff_factor": 0.1, "growth_interval": 5}
    nested = scaler.scale((sv.tensor(1.0), [sv.tensor(2.0)]))
    assert nested[0].item() == 3.0 and nested[1][0].item() == 6.0
    scaler.update(5.0)
    assert scaler.get_scale() == 5.0
    scaler.update(sv.tensor([6.0]))
    assert scaler.get_scale() == 6.0


def test_disabled_scalers_pass_everything_through():
    p = weights()
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler("cpu", enabled=False)
    loss = p.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled() and scaler.get_scale() == 1.0
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [0.0, 1.0] and scaler.state_dict() == {}
    scaler.load_state_dict({})


def test_without_a_gpu_it_warns_and_disables(monkeypatch):
    monkeypatch.setattr(sv.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="no CUDA device"):
        assert not sv.amp.GradScaler().is_enabled()


def scaled():
    p = weights()
    optimizer, scaler = optim.SGD([p], lr=1.0), GradScaler("cpu")
    scaler.scale(p.sum()).backward()
    return p, optimizer, scaler


def test_wrong_orders_raise_as_in_torch():
    p, optimizer, scaler = scaled()
    for method in (scaler.unscale_, scaler.step):
        fresh = GradScaler("cpu")
        with pytest.raises(AssertionError, match="no scale yet"):
            getattr(fresh, method.__name__)(optimizer)
    with pytest.raises(AssertionError, match="no scale yet"):
        GradScaler("cpu").update()
    with pytest.raises(AssertionError, match="no gradients were checked"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, closure=lambda: None)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="since the last update"):
        scaler.step(optimizer)
    scaler.update()
    p.grad = None
    with pytest.raises(AssertionError, match="no gradient of this optimizer"):
        scaler.step(optimizer)


@pytest.mark.parametrize("make, error, message", [
    (lambda: GradScaler("cpu", growth_factor=1.0), AssertionError, "growth_factor"),
    (lambda: GradScaler("cpu", backoff_factor=1.0), AssertionError, "backoff_factor"),
    (lambda: GradScaler("cpu").scale(3), ValueError, "Tensor or an iterable"),
    (lambda: scaled()[2].update(sv.ones(2)), AssertionError, "new_scale"),
])
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ---- 16-bit models and master weights -----------------------------------------------------------------------------------


def descend(steps=60, device="cpu", dtype="bfloat16", **options):
    """How far w gets from 1 towards 0 by steps of 0.001: half the distance between bfloat16 numbers below 1 is 0.00195."""
    w = sv.ones(4, device=device).to(dtype).requires_grad_()
    optimizer = optim.SGD([w], lr=0.001, **options)
    for _ in range(steps):
        w.grad = sv.ones(4, device=device).to(dtype)
        optimizer.step()
    return w, optimizer


@pytest.mark.parametrize("device", ["cpu", "emulator"])
def test_bfloat16_weights_stall_and_masters_do_not(device):
    w, _ = descend(device=device)
    assert w.tolist() == [1.0] * 4
    w, optimizer = descend(device=device, master_weights=True)
    assert w.dtype is sv.bfloat16 and w.tolist() == pytest.approx([0.94] * 4, abs=2**-9)
    assert optimizer.state[w]["master"].tolist() == pytest.approx([0.94] * 4, rel=1e-5)


@pytest.mark.parametrize("device", ["cpu", "emulator"])
def test_masters_take_the_steps_of_float32(device):
    options = {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    start = RNG.normal(size=(5, 4)).astype("float32")
    low = sv.tensor(start, device=device).bfloat16().requires_grad_()
    full = low.detach().float().requires_grad_()
    pair = [(low, optim.SGD([low], lr=0.1, master_weights=True, **options)), (full, optim.SGD([full], lr=0.1, **options))]
    for _ in range(5):
        slope = sv.tensor(RNG.normal(size=(5, 4)).astype("float32"), device=device).bfloat16()
        for p, optimizer in pair:
            p.grad = slope.to(p.dtype)
            optimizer.step()
    assert pair[0][1].state[low]["master"].allclose(full, rtol=1e-6) and low.equal(pair[0][1].state[low]["master"].bfloat16())


def test_masters_follow_weights_that_others_wrote_and_survive_a_round_trip():
    w, optimizer = descend(master_weights=True, momentum=0.5)
    fresh = w.detach().clone().requires_grad_()
    other = optim.SGD([fresh], lr=0.001, momentum=0.5, master_weights=True)
    other.load_state_dict(optimizer.state_dict())
    for name in ("master", "momentum_buffer"):
        assert other.state[fresh][name].dtype is sv.float32 and other.state[fresh][name].equal(optimizer.state[w][name])
    with sv.no_grad():
        fresh.fill_(3.0)
    fresh.grad = sv.zeros(4).bfloat16()
    other.param_groups[0]["momentum"] = 0
    other.step()
    assert fresh.tolist() == [3.0] * 4 == other.state[fresh]["master"].tolist()


@pytest.mark.parametrize("cast, dtype", [(lambda m: m.half(), sv.float16), (lambda m: m.bfloat16(), sv.bfloat16)], ids=["half", "bfloat16"])
def test_16_bit_models_train(cast, dtype):
    sv.manual_seed(0)
    model = cast(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.Linear(54, 4)))
    assert {t.dtype for t in [*model.parameters(), *model.buffers()]} == {dtype, sv.int64}
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, master_weights=True)
    x, target, losses = sv.tensor(RNG.normal(size=(16, 3, 8, 8))).to(dtype), sv.arange(16) % 4, []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(x).float(), target)
        optimizer.zero_grad()
        loss.backward()
        assert {p.grad.dtype for p in model.parameters()} == {dtype}
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
