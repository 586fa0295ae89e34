"""Autocast: the lists are torch's, values are within rounding, gradients reach float32 weights, regions nest."""

import threading

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.autograd import Op, intercept
from scratchvgg.autograd.autocast import _state

from .lists import CASES, values

pytest.importorskip("ml_dtypes")
F = nn.functional
BF16 = 2.0**-8  # unit roundoff
RNG = np.random.default_rng(0)


def run(case, dtype, device="cpu"):
    def operand(name, kind="float32"):
        return sv.tensor(values(name), device=device).to(kind)

    with sv.autocast(device, sv.bfloat16):
        return CASES[case](sv, F, lambda name: operand(name, dtype), operand)


def run_torch(case, dtype):
    torch = pytest.importorskip("torch")

    def operand(name, kind="float32"):
        return torch.from_numpy(values(name)).to(getattr(torch, kind))

    with torch.autocast("cpu", torch.bfloat16):
        return CASES[case](torch, torch.nn.functional, lambda name: operand(name, dtype), operand)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_types_and_values_on_the_cpu_are_torchs(case, dtype):
    ours, theirs = run(case, dtype), run_torch(case, dtype)
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    if case != "dropout":
        reference = theirs.float().numpy()
        scale = np.abs(reference).max()
        np.testing.assert_allclose(ours.float().numpy(), reference, rtol=4 * BF16, atol=4 * BF16 * scale)


@pytest.fixture(scope="module")
def on_a_gpu():
    """case, dtype → the type torch's CUDA list gives, found without a GPU: fake tensors pass its dispatcher. None where torch itself cannot say."""
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    def found(case, dtype):
        enabled, fast = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        with FakeTensorMode(), torch.device("cuda"):
            torch.set_autocast_enabled("cuda", True)
            torch.set_autocast_dtype("cuda", torch.bfloat16)

            def operand(name, kind="float32"):
                return torch.ones(values(name).shape, dtype=getattr(torch, kind))

            try:
                result = CASES[case](torch, torch.nn.functional, lambda name: operand(name, dtype), operand)
            except RuntimeError as error:
                assert "not linked with support for cuda" in str(error)  # a few operations ask the device
                return None
            finally:
                torch.set_autocast_enabled("cuda", enabled)
                torch.set_autocast_dtype("cuda", fast)
                torch.clear_autocast_cache()
        return str(result.dtype).split(".")[1]

    return found


def as_on_a_gpu(monkeypatch):
    """The CPU obeys the GPUs' list: the policies decide types, not the kernels."""
    monkeypatch.setitem(sv.amp.POLICIES, "cpu", sv.amp.POLICIES["cuda"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_types_on_gpus_are_torchs(case, dtype, on_a_gpu, monkeypatch):
    expected = on_a_gpu(case, dtype)
    as_on_a_gpu(monkeypatch)
    ours = str(run(case, dtype).dtype).split(".")[1]
    assert ours == (expected or "bfloat16")  # bmm


def test_the_emulator_has_the_gpus_list():
    assert sv.amp.POLICIES["emulator"] == sv.amp.POLICIES["cuda"] != sv.amp.POLICIES["cpu"]


def test_listed_operations_exist():
    def family(op):
        return {op.name}.union(*map(family, op.__subclasses__()))

    names = family(Op)
    assert all(set(policies) <= names for policies in sv.amp.POLICIES.values())


# ---- nets ------------------------------------------------------------------------------------------------------------


def net(norm=True):
    sv.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1)] + [nn.BatchNorm2d(8)] * norm + [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 10)]
    return nn.Sequential(*layers)


def batch(n=6):
    return sv.tensor(RNG.normal(size=(n, 3, 8, 8)).astype("float32")), sv.tensor(np.arange(n) % 10)


@pytest.mark.parametrize("dtype", [sv.bfloat16, sv.float16])
def test_a_training_step_agrees_with_float32(dtype):
    model, (x, target) = net(), batch()
    with sv.autocast("cpu", dtype):
        logits = model(x)
        loss = F.cross_entropy(logits, target)
    loss.backward()
    low = [p.grad.numpy() for p in model.parameters()]
    assert logits.dtype is dtype and loss.dtype is sv.float32 and all(g.dtype == np.float32 for g in low)
    assert all(b.dtype is not dtype for b in model.buffers())
    model.zero_grad()
    F.cross_entropy(model(x), target).backward()
    exact = [p.grad.numpy() for p in model.parameters()]
    biased = {1}  # what stands before a batch norm has no gradient but for rounding
    for i, (a, b) in enumerate(zip(low, exact, strict=True)):
        if i - 0 not in biased:
            assert 0 < np.linalg.norm(a - b) < 0.1 * np.linalg.norm(b)


def test_a_training_step_agrees_with_torchs_autocast():
    torch = pytest.importorskip("torch")
    model, (x, target) = net(norm=False), batch()
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 10))
    twin.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in model.state_dict().items()})
    with sv.autocast("cpu", sv.bfloat16):
        ours = model(x)
        loss = F.cross_entropy(ours, target)
    loss.backward()
    with torch.autocast("cpu", torch.bfloat16):
        theirs = twin(torch.from_numpy(x.numpy()))
        reference = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(target.numpy()))
    reference.backward()
    np.testing.assert_allclose(ours.detach().float().numpy(), theirs.detach().float().numpy(), atol=4 * BF16)
    assert loss.item() == pytest.approx(reference.item(), abs=2 * BF16)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        a, b = p.grad.numpy(), q.grad.numpy()
        assert np.linalg.norm(a - b) < 4 * BF16 * np.linalg.norm(b)


def test_norm_parameters_get_float32_gradients_that_were_never_rounded():
    norm, x = nn.BatchNorm2d(2), sv.tensor(RNG.normal(size=(64, 2, 5, 5))).to("bfloat16")
    norm(x).float().sum().backward()
    assert norm.bias.grad.numpy().tolist() == [1600.0, 1600.0]
    (norm(x).float() * 0.9991).sum().backward()
    assert norm.bias.grad.dtype is sv.float32


# ---- regions ---------------------------------------------------------------------------------------------------------


def product():
    return sv.ones(2, 2) @ sv.ones(2, 2)


def test_regions_nest_and_end():
    assert not sv.is_autocast_enabled("cpu") and product().dtype is sv.float32
    with sv.autocast("cpu"):
        assert sv.is_autocast_enabled("cpu") and not sv.is_autocast_enabled() and product().dtype is sv.bfloat16
        with sv.autocast("cpu", dtype=sv.float16):
            assert product().dtype is sv.get_autocast_dtype("cpu") is sv.float16
            with sv.autocast("cpu", enabled=False):
                assert product().dtype is sv.float32 and not sv.is_autocast_enabled("cpu")
                with pytest.raises(RuntimeError, match="same dtype"):
                    sv.ones(2, 2) @ sv.ones(2, 2).half()
        assert product().dtype is sv.bfloat16
        with sv.autocast("emulator"):
            assert product().dtype is sv.bfloat16
    with pytest.raises(KeyError), sv.autocast("cpu"):
        raise KeyError
    assert product().dtype is sv.float32 and sv.get_autocast_dtype("cpu") is sv.bfloat16 and sv.get_autocast_dtype("cuda") is sv.float16


def test_other_devices_other_types_and_float64_are_left_alone():
    with sv.autocast("cuda", sv.bfloat16):
        assert product().dtype is sv.float32
    with sv.autocast("cpu"):
        a = sv.ones(2, 2, dtype=sv.float64)
        assert (a @ a).dtype is sv.float64
        with pytest.raises(RuntimeError, match="same dtype"):
            a @ sv.ones(2, 2)
        assert (sv.arange(3) + 1).dtype is sv.int64


def test_decorated_functions_and_other_threads():
    double = sv.autocast("cpu", sv.float16)(product)
    seen = []
    with sv.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.extend([product().dtype, double().dtype, product().dtype]))
        thread.start()
        thread.join()
        assert double().dtype is sv.float16 and product().dtype is sv.bfloat16
    assert seen == [sv.float32, sv.float16, sv.float32]


@pytest.mark.parametrize("make, error, message", [
    (lambda: sv.autocast(sv.float16), ValueError, "device_type must be a string"),
    (lambda: sv.autocast("tpu"), RuntimeError, "unsupported device_type 'tpu'"),
    (lambda: sv.autocast("cpu")(3), TypeError, "expected a function"),
    (lambda: sv.is_autocast_enabled("tpu"), RuntimeError, "tpu"),
])
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_type_that_is_not_16_bits_warns_and_disables():
    with pytest.warns(UserWarning, match="bfloat16 or float16, got scratchvgg.float32"), sv.autocast("cpu", sv.float32):
        assert product().dtype is sv.float32


def test_older_spelling():
    with sv.amp.autocast("cpu"):
        assert product().dtype is sv.bfloat16
    cuda = sv.cuda.amp
    with cuda.autocast(dtype=sv.bfloat16):
        assert sv.is_autocast_enabled() and sv.get_autocast_dtype("cuda") is sv.bfloat16
    with cuda.autocast():
        assert sv.get_autocast_dtype("cuda") is sv.float16
    assert sv.amp.is_autocast_available("cuda") and not sv.amp.is_autocast_available("tpu")


def test_a_list_of_ones_own():
    sv.amp.set_policy("relu", sv.amp.FLOAT32, ("cpu",))
    try:
        with sv.autocast("cpu"):
            assert sv.ones(2).bfloat16().relu().dtype is sv.float32
    finally:
        sv.amp.set_policy("relu", None, ("cpu",))
    with sv.autocast("cpu"):
        assert sv.ones(2).bfloat16().relu().dtype is sv.bfloat16


# ---- the cache of casts ----------------------------------------------------------------------------------------------


def casts(work):
    """How many times ``work()`` casts."""
    names = []

    def note(op, args, options, proceed):
        names.append(op.name)
        return proceed(args, options)

    with sv.autocast("cpu"), intercept(note):
        work()
    return names.count("Cast")


def test_weights_are_cast_once():
    w, x = sv.ones(3, 3, requires_grad=True), sv.ones(3, 3).bfloat16()

    def thrice():
        ((x @ w) + (x @ w) + (x @ w)).float().sum().backward()

    assert casts(thrice) == 2  # the weight and the result
    assert w.grad.dtype is sv.float32 and w.grad.tolist() == [[9.0] * 3] * 3
    assert casts(lambda: [x @ sv.ones(3, 3) for _ in range(3)]) == 3  # no leaf that requires a gradient
    with sv.autocast("cpu", cache_enabled=False):
        assert not sv.is_autocast_cache_enabled() and casts(lambda: [x @ w for _ in range(3)]) == 3


def test_casts_are_renewed_when_they_must_be():
    w, x = sv.ones(2, 2, requires_grad=True), sv.ones(2, 2).bfloat16()
    with sv.autocast("cpu"):
        assert (x @ w)[0, 0].item() == 2
        with sv.no_grad():
            w.mul_(3)  # an optimiser's step inside the region
        assert (x @ w)[0, 0].item() == 6
        with sv.no_grad():
            assert not (x @ w).requires_grad
        assert (x @ w).requires_grad  # though it was cast without recording before
        for _ in range(2):  # the first backward frees the cast's graph
            (x @ w).float().sum().backward()
        sv.clear_autocast_cache()
        assert not _state.casts
        x @ w
        assert _state.casts
    assert not _state.casts


# ---- Functions -------------------------------------------------------------------------------------------------------


def recorder(cast_inputs):
    seen = {}

    class Twice(sv.autograd.Function):
        @staticmethod
        @sv.amp.custom_fwd(device_type="cpu", cast_inputs=cast_inputs)
        def forward(ctx, a, b):
            seen["forward"] = a.dtype, product().dtype
            ctx.save_for_backward(a)
            return a * b

        @staticmethod
        @sv.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen["backward"] = product().dtype
            return g * 2, None

    return Twice, seen


def test_functions_run_as_they_ask():
    a = sv.ones(2, requires_grad=True)
    function, seen = recorder(None)
    with sv.autocast("cpu"):
        out = function.apply(a, 2)
    out.sum().backward()
    assert seen == {"forward": (sv.float32, sv.bfloat16), "backward": sv.bfloat16}
    function, seen = recorder(sv.float16)
    with sv.autocast("cpu"):
        out = function.apply(a, 2)
        assert out.dtype is sv.float16
        out.float().sum().backward()
    assert seen == {"forward": (sv.float16, sv.float32), "backward": sv.float32} and a.grad.dtype is sv.float32
    function.apply(a, 2)  # outside a region cast_inputs has no effect
    assert seen["forward"] == (sv.float32, sv.float32)
