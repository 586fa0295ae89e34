"""``sv.save`` and ``sv.load`` of a net."""

import io

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
