"""PyTorch as a side: all layers of VGGs, in both modes and several types."""

import copy
import sys

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.study.diverge import Side, compare
from scratchvgg.study.diverge.sides import Ours
from scratchvgg.study.errors import StudyError

from .common import Wrong, departing, images, net, registered

torch = pytest.importorskip("torch")
NETS = {
    "small": lambda: net(), "max": lambda: net(pool="max", pool_first=True), "lrn": lambda: net(widths=(8, "LRN", "M", 6, "M"), batch_norm=False),
    "1x1": lambda: net(widths=(4, "M", "conv1-6", "conv5-4", "M")), "dropout": lambda: net(dropout=0.5),
    "paper": lambda: sv.models.paper_vgg([32, "M", 32, "LRN", "M", 64, "M", "M", "M"], width=0.1, hidden=12, num_classes=5),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_nets(name, mode):
    model = NETS[name]()
    found = compare(Side(model), Side(model, library="torch"), images(2, 32 if name == "paper" else 12), mode=mode)
    assert found.agrees, found.verdict
    assert found.b.startswith(f"PyTorch {torch.__version__}, cpu, float32") and "matmul precision" in found.b
    assert found.layer("loss").whole["output"].difference < 1e-5
    assert {"output", "running_mean", "running_var"} <= set(found.layer("features.1").own) or mode == "eval" or "BatchNorm2d" not in [
        layer.type for layer in found.layers]


@pytest.mark.slow
def test_cifar_vgg():
    model = sv.models.cifar_vgg("A-LRN")
    found = compare(Side(model), Side(model, library="torch"), images(2, 32), mode="train")
    assert found.agrees and found.layer("features.3").type == "LocalResponseNorm", found.verdict


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_types(dtype):
    pytest.importorskip("ml_dtypes")
    model = net()
    found = compare(Side(model, dtype=dtype), Side(model, dtype=dtype, library="torch"), images(), mode="train")
    assert found.agrees, found.verdict
    assert found.layer("features.3").own["output"].gap.error_b < (2e-2 if dtype == "bfloat16" else 1e-14)


def test_it_is_really_torch(monkeypatch):
    """A fault put into torch's layer is found on that side, there and nowhere else."""
    from scratchvgg.study.diverge.torch_side import TorchRunner

    plain = TorchRunner._build

    def spoiled(self, step):
        layer = plain(self, step)
        if step.name == "features.3":
            layer = copy.deepcopy(layer)
            layer.padding_mode, layer._reversed_padding_repeated_twice = "circular", (1, 1, 1, 1)
        return layer

    monkeypatch.setattr(TorchRunner, "_build", spoiled)
    model = net()
    found = compare(Side(model), Side(model, library="torch"), images())
    assert departing(found) == {"features.3": {"output", "grad_input", "weight"}}
    assert all(own.departs in ("", "B") for own in found.layer("features.3").own.values())
    assert any("PyTorch in float64 does not agree" in note for note in found.layer("features.3").notes), "its float64 layer is spoiled too"


def test_a_fault_on_our_side_is_ours():
    model = net()
    with registered(Wrong("grad_input", 6, "channel")):
        found = compare(Side(model, algorithm="wrong"), Side(model, library="torch"), images())
    assert departing(found) == {"features.7": {"grad_input"}} and found.verdict[0].startswith("A departs backward at features.7")
    assert "PyTorch in float64 agrees with the truth there" in found.verdict[0]


def test_a_wrong_truth_is_suspected(monkeypatch):
    """A fault of the library itself is in the truth too, and makes PyTorch depart; its float64 says so."""
    plain = Ours.forward

    def spoiled(self, step, x, target):
        results = plain(self, step, x, target)
        return results | ({"output": 1.01 * results["output"]} if step.name == "features.4" else {})

    monkeypatch.setattr(Ours, "forward", spoiled)
    model = net()
    found = compare(Side(model), Side(model, library="torch"), images())
    assert departing(found) == {"features.4": {"output"}} and found.layer("features.4").own["output"].departs == "B"
    assert "PyTorch in float64 does not agree with the truth there: it may be the truth that is wrong (9.9e-03)" in found.verdict[0]


def test_neither_weights_nor_statistics_move():
    model = net()
    before = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    compare(Side(model), Side(model, library="torch"), images(), mode="train")
    assert all(np.array_equal(before[name], tensor.detach().numpy()) for name, tensor in model.state_dict().items())


def test_refusals(monkeypatch):
    model = net()
    with pytest.raises(StudyError, match="PyTorch has no 'emulator' here"):
        compare(Side(model), Side(model, library="torch", device="emulator"), images())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"scratchvgg\[torch\]"):
        compare(Side(model), Side(model, library="torch"), images())
