"""``sv.save`` and ``sv.load`` of a net."""

import io
import os

import numpy as np
import pytest

from scratchvgg import models, nn
from scratchvgg.autograd import Tensor
from scratchvgg.serialization import load, save
from scratchvgg.weights.errors import WeightsError


def test_a_state_dict_goes_there_and_back(tmp_path):
    net, other = (models.small_vgg(widths=(4, "M", 8)) for _ in range(2))
    save({"net": net.state_dict(), "epoch": 3}, tmp_path / "net.npz")
    tree = load(tmp_path / "net.npz")
    assert tree["epoch"] == 3 and all(isinstance(value, Tensor) for value in tree["net"].values())
    assert str(other.load_state_dict(tree["net"])) == "<All keys matched successfully>"
    for mine, theirs in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert mine.dtype is theirs.dtype and np.array_equal(mine.numpy(), theirs.numpy())


def test_parameters_lose_nothing_but_their_class(tmp_path):
    layer = nn.Linear(3, 2)
    save([layer.weight, layer.bias], tmp_path / "layer.npz")
    weight, bias = load(tmp_path / "layer.npz")
    assert np.array_equal(weight.numpy(), layer.weight.detach().numpy()) and bias.shape == (2,) and not weight.requires_grad


def test_open_files_as_for_torch():
    file = io.BytesIO()
    save({"weight": nn.Linear(3, 2).weight, "epoch": 3}, file)
    file.seek(0)
    tree = load(file, map_location="cpu", weights_only=True)
    assert tree["epoch"] == 3 and tree["weight"].device.type == "cpu"
    with pytest.raises(WeightsError, match="the open file"):
        load(io.BytesIO(file.getvalue()[:-30]))
    with pytest.raises(RuntimeError, match="cuda"):
        load(file, map_location="cuda")


@pytest.mark.parametrize("suffix", ["npz", "pth", "safetensors", "ckpt"])
@pytest.mark.parametrize("options", [{}, {"mmap": False}, {"verify": False}, {"mmap": False, "verify": False}], ids=str)
def test_every_format_brings_tensors_back(tmp_path, suffix, options):
    net, other = (models.small_vgg(widths=(4, "M", 8), batch_norm=True) for _ in range(2))
    save(net.state_dict(), tmp_path / f"net.{suffix}")
    state = load(tmp_path / f"net.{suffix}", **options)
    assert set(state) == set(net.state_dict()) and all(isinstance(value, Tensor) and not value.requires_grad for value in state.values())
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    for mine, theirs in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert mine.dtype is theirs.dtype and mine.numpy().tobytes() == theirs.numpy().tobytes()


def test_nets_of_torch_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    theirs.to(memory_format=torch.channels_last)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    for legacy in (False, True):
        torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, tmp_path / "theirs.pth", _use_new_zipfile_serialization=not legacy)
        ours.load_state_dict(load(tmp_path / "theirs.pth")["state_dict"])
        save(ours.state_dict(), tmp_path / "ours.pth")
        for mode in ({}, {"mmap": True}, {"weights_only": False}):
            back = torch.load(tmp_path / "ours.pth", **mode)
            assert list(back) == list(theirs.state_dict())
            assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in theirs.state_dict().items())


def test_what_lies_in_the_file_may_be_written_to(tmp_path):
    """A mapped tensor is a private copy: the file keeps its bytes, and may be replaced or deleted meanwhile."""
    net = nn.Linear(3, 2)
    save(net.state_dict(), tmp_path / "net.npz")
    before = (tmp_path / "net.npz").read_bytes()
    state = load(tmp_path / "net.npz")
    expected = state["weight"].numpy().copy()
    state["bias"].add_(1)
    assert (tmp_path / "net.npz").read_bytes() == before
    save({"other": net.weight}, tmp_path / "net.npz")
    os.remove(tmp_path / "net.npz")
    assert np.array_equal(state["weight"].numpy(), expected)


def test_types_that_tensors_do_not_have_stay_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3, dtype=np.uint16), b=np.arange(3, dtype=np.float32))
    tree = load(tmp_path / "x.npz")
    assert isinstance(tree["a"], np.ndarray) and isinstance(tree["b"], Tensor)


def test_what_safetensors_cannot_hold(tmp_path):
    with pytest.raises(TypeError, match=r"flat dict of tensors, \['net'\]"):
        save({"net": nn.Linear(3, 2).state_dict()}, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_files():
    with pytest.raises(FileNotFoundError):
        load("absent.pth")
