"""Device strings and the backends behind them."""

import pickle

import pytest

from scratchvgg.array import Device, get_backend


@pytest.mark.parametrize(
    ("spec", "kind", "index", "text"),
    [
        ("cpu", "cpu", None, "cpu"),
        ("cpu:0", "cpu", None, "cpu"),
        ("cuda", "cuda", 0, "cuda:0"),
        ("cuda:3", "cuda", 3, "cuda:3"),
        ("emulator", "emulator", 0, "emulator:0"),
    ],
)
def test_parsing(spec, kind, index, text):
    device = Device(spec)
    assert (device.type, device.index, str(device)) == (kind, index, text)
    assert device == spec == Device(device) and hash(device) == hash(Device(spec))
    assert pickle.loads(pickle.dumps(device)) == device


def test_index_as_an_argument():
    assert Device("cuda", 1) == "cuda:1" != Device("cuda") and repr(Device("cuda", 1)) == "device(type='cuda', index=1)"


@pytest.mark.parametrize("spec", ["gpu", "", "cuda:", "cuda:-1", "cuda:x", "cuda:1.5", "cpu:1", "CPU", "cuda:0:1"], ids=repr)
def test_malformed(spec):
    with pytest.raises(RuntimeError, match="device"):
        Device(spec)
    assert Device("cpu") != spec


@pytest.mark.parametrize("spec", [None, 0, b"cpu"])
def test_not_a_string(spec):
    with pytest.raises(TypeError, match="device"):
        Device(spec)


def test_the_index_twice():
    with pytest.raises(RuntimeError, match="twice"):
        Device("cuda:0", 1)


def test_one_backend_a_device():
    assert get_backend(Device("cpu")) is get_backend(Device("cpu:0"))


def test_channels_last_allocation():
    backend = get_backend(Device("cpu"))
    for make in (backend.empty, backend.zeros):
        out = make((2, 3, 4, 5), "float32", layout="channels_last")
        assert out.shape == (2, 3, 4, 5) and out.transpose(0, 2, 3, 1).flags.c_contiguous
    assert not out.any()


def test_workspace_is_reused_and_grows():
    backend = get_backend(Device("cpu"))
    small = backend.workspace("test", (3, 4), "float32")
    assert small.shape == (3, 4) and small.dtype == "float32"
    again = backend.workspace("test", (2,), "float64")
    assert again.__array_interface__["data"] == small.__array_interface__["data"]
    assert backend.workspace("test", (1000,), "float64").size == 1000
    grown = backend.workspace("test", (3, 4), "float32")
    assert grown.__array_interface__["data"] == backend.workspace("test", [1000], "float64").__array_interface__["data"]
    assert {backend.workspace("test", (n,), "uint8").size for n in range(1000)} == set(range(1000))  # more shapes than are remembered
