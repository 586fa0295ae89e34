"""SGD and EMA on flat buffers: the numbers of the array path, state dicts of the same form, on the CPU and by the kernels of the emulator."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.optim.flat import FlatParameters, home_of

DEVICES = ("cpu", "emulator")
OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    {"momentum": 0.8, "dampening": 0.1, "weight_decay": 1e-3, "maximize": True},
]


def parameters(device="cpu", dtype="float32", seed=0):
    """A channels-last filter, a vector, a number and a matrix."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal((5, 2, 3, 3)).transpose(0, 3, 1, 2), rng.standard_normal(7), rng.standard_normal(()), rng.standard_normal((3, 70))]
    return [sv.nn.Parameter(sv.tensor(a, dtype=dtype, device=device)) for a in arrays]


def set_gradients(tensors, step):
    rng = np.random.default_rng(100 + step)
    for p in tensors:
        p.grad = sv.tensor(rng.standard_normal(tuple(p.shape)), dtype=p.dtype, device=p.device)


def train(optimizer, tensors, steps=3, first=0):
    for step in range(first, first + steps):
        set_gradients(tensors, step)
        optimizer.step()


def values(tensors):
    return [t.detach().cpu().numpy() for t in tensors]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def groups(tensors):
    """Two groups with different weight decay and rate."""
    return [{"params": tensors[:1], "weight_decay": 0.01}, {"params": tensors[1:], "lr": 0.3}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("device", DEVICES)
def test_bits_of_the_array_path(device, dtype, options):
    flat, plain = parameters(device, dtype), parameters("cpu", dtype)
    for tensors, choice in ((flat, True), (plain, False)):
        train(sv.optim.SGD(groups(tensors), lr=0.1, flat=choice, **options), tensors)
    assert_equal(values(flat), values(plain))


def test_kernels_are_flat_by_themselves_and_the_cpu_is_not():
    for device, expected in (("cpu", False), ("emulator", True)):
        tensors = parameters(device)
        train(sv.optim.SGD(tensors, lr=0.1), tensors, 1)
        assert (home_of(tensors[0]) is not None) is expected


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_keep_shape_and_memory_order_and_lie_in_one_buffer(device):
    tensors = parameters(device)
    strides, before = [t.array.strides for t in tensors], values(tensors)
    flat = FlatParameters([tensors[:2], tensors[2:]])
    assert [t.array.strides for t in tensors] == strides
    assert_equal(values(tensors), before)
    assert all(np.may_share_memory(t.array, flat.buffer) for t in tensors)
    assert all(flat.backend.address(t.array) % 64 == flat.backend.address(flat.buffer) % 64 for t in tensors)
    assert flat.ends == [128 + 64, 128 + 64 + 64 + 256] and len(flat.buffer) == 512


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_become_views_of_one_buffer(device):
    tensors = parameters(device)
    optimizer = sv.optim.SGD(tensors, lr=0.1, flat=True)
    train(optimizer, tensors, 1)
    buffer = home_of(tensors[0]).gradients
    assert all(np.may_share_memory(t.grad.array, buffer) for t in tensors)
    set_gradients(tensors, 0)
    assert_equal(values([t.grad for t in tensors]), [t.grad.cpu().numpy() for t in tensors])
    optimizer.zero_grad(set_to_none=False)
    loss = sum((t * t).sum() for t in tensors)
    loss.backward()
    expected = [t.detach().cpu().numpy() * 2 for t in tensors]
    assert_equal(values([t.grad for t in tensors]), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_state_dict_has_torchs_form_and_moves_between_flat_and_not(device):
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}
    flat, plain = parameters(device), parameters()
    first = sv.optim.SGD(flat, flat=True, **options)
    train(first, flat)
    second = sv.optim.SGD(plain, flat=False, **options)
    train(second, plain)
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert {i: set(s) for i, s in ours["state"].items()} == {i: set(s) for i, s in theirs["state"].items()}
    second.load_state_dict(ours)
    again = sv.optim.SGD(flat, flat=True, **options)
    again.load_state_dict(theirs)
    train(again, flat, 2, first=3)
    train(second, plain, 2, first=3)
    assert_equal(values(flat), values(plain))


@pytest.mark.parametrize("device", DEVICES)
def test_a_missing_gradient_leaves_that_step_to_the_array_path(device):
    results = []
    for where, choice in ((device, True), ("cpu", False)):
        tensors = parameters(where)
        optimizer = sv.optim.SGD(tensors, lr=0.1, momentum=0.9, flat=choice)
        for step in range(4):
            set_gradients(tensors, step)
            if step in (0, 2):
                tensors[1].grad = None
            optimizer.step()
        results.append(values(tensors))
    assert_equal(*results)


def test_a_model_that_moves_is_packed_anew():
    model = sv.nn.Linear(6, 5).to("emulator")
    optimizer = sv.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plain = sv.nn.Linear(6, 5)
    plain.load_state_dict(model.state_dict())
    other = sv.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    train(optimizer, list(model.parameters()), 2)
    model.to("cpu").to("emulator")
    train(optimizer, list(model.parameters()), 2, first=2)
    train(other, list(plain.parameters()), 4)
    assert_equal(values(model.parameters()), values(plain.parameters()))


def test_learning_rate_on_the_device_is_read_there():
    tensors, plain = parameters("emulator"), parameters()
    rate = sv.tensor(0.5, device="emulator")
    optimizer, other = sv.optim.SGD(tensors, lr=rate), sv.optim.SGD(plain, lr=0.5)
    train(optimizer, tensors, 1)
    train(other, plain, 1)
    rate.array[...] = 0.25
    other.param_groups[0]["lr"] = 0.25
    train(optimizer, tensors, 1)
    train(other, plain, 1)
    assert_equal(values(tensors), values(plain))


@pytest.mark.parametrize("device", DEVICES)
def test_scaled_gradients(device):
    tensors, plain = parameters(device), parameters()
    optimizer, other = sv.optim.SGD(tensors, lr=0.1, momentum=0.9, flat=True), sv.optim.SGD(plain, lr=0.1, momentum=0.9)
    set_gradients(tensors, 0)
    set_gradients(plain, 0)
    for p in tensors:
        p.grad.array[...] *= 1024
    optimizer.grad_scale, optimizer.found_inf = sv.tensor([1024.0], device=device), sv.tensor([0.0], device=device)
    optimizer.step()
    other.step()
    assert_equal(values(tensors), values(plain))
    optimizer.found_inf = sv.tensor([1.0], device=device)
    optimizer.step()
    assert_equal(values(tensors), values(plain))


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_masters_take_steps_that_16_bits_would_lose(dtype):
    start = np.ones((4, 33))
    p = sv.nn.Parameter(sv.tensor(start, dtype=dtype, device="emulator"))
    optimizer = sv.optim.SGD([p], lr=1e-4, momentum=0.5, master_weights=True)
    velocity, exact = 0.0, 1.0
    for _ in range(40):
        p.grad = sv.tensor(start, dtype=dtype, device="emulator")
        optimizer.step()
        velocity = velocity * 0.5 + 1
        exact -= 1e-4 * velocity
    state = optimizer.state[p]
    assert state["master"].dtype is sv.float32 and state["momentum_buffer"].dtype is sv.float32
    np.testing.assert_allclose(state["master"].cpu().numpy(), exact, rtol=1e-6)
    np.testing.assert_array_equal(p.detach().cpu().float().numpy(), state["master"].to(dtype).cpu().float().numpy())
    with sv.no_grad():
        p.fill_(2.0)
    p.grad = sv.tensor(0 * start, dtype=dtype, device="emulator")
    optimizer.step()
    np.testing.assert_allclose(state["master"].cpu().numpy(), 2 - 1e-4 * velocity * 0.5, rtol=1e-6)


@pytest.mark.parametrize("before", (True, False))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_averages_of_flat_parameters(dtype, before):
    """EMA made before and after the parameters are packed: the bits of the array path."""
    results = []
    for device in ("emulator", "cpu"):
        tensors = parameters(device, dtype)
        optimizer = sv.optim.SGD(tensors, lr=0.1, momentum=0.9)
        if not before:
            train(optimizer, tensors, 1)
        ema, lookahead = sv.optim.EMA(tensors, 0.9, warmup=True), sv.optim.Lookahead(tensors, 4, every=1)
        for step in range(3):
            train(optimizer, tensors, 1, first=step)
            ema.update()
            lookahead.update()
        with ema.averaged():
            inside = values(tensors)
        results.append([*inside, *values(tensors), *[np.asarray(t.cpu().numpy()) for t in ema.state_dict()["averages"].values()]])
    assert_equal(*results)


def test_averages_of_a_module_copy_its_buffers():
    model = sv.nn.Sequential(sv.nn.Linear(4, 3), sv.nn.BatchNorm1d(3)).to("emulator")
    ema = sv.optim.EMA(model, 0.5)
    with sv.no_grad():
        for t in model.state_dict().values():
            t.array[...] = 4
    before = {name: t.cpu().numpy().copy() for name, t in ema.state_dict()["averages"].items()}
    ema.update()
    after = {name: t.cpu().numpy() for name, t in ema.state_dict()["averages"].items()}
    for name in ("0.weight", "0.bias", "1.weight"):
        np.testing.assert_allclose(after[name], (before[name] + 4) / 2, rtol=1e-6)
    assert (after["1.running_mean"] == 4).all() and (after["1.num_batches_tracked"] == 4).all()


@pytest.mark.parametrize("wrong, message", [
    (lambda p: [], "Tensors"),
    (lambda p: [[p, p]], "once"),
    (lambda p: [[p, sv.zeros(2, dtype="float64")]], "one device and element type"),
])
def test_what_cannot_be_packed(wrong, message):
    with pytest.raises(ValueError, match=message):
        FlatParameters(wrong(sv.zeros(3)))
