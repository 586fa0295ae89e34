"""Training on the devices that run the CUDA kernels: the CPU's numbers, late reading, resuming elsewhere."""

import json
import math

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import cli, train
from scratchvgg.array import CPU, Device, get_backend
from scratchvgg.data import DeviceLoader
from scratchvgg.nn import functional as F
from scratchvgg.train import NonFiniteError, Recipe, RecipeError, Trainer, checkpoint, create
from scratchvgg.train.meter import Meter
from scratchvgg.train.metrics import read
from tests.cuda.rehearsal.stage import rehearsal
from tests.harness import DEVICES

ELSEWHERE = [pytest.param(d, marks=[pytest.mark.gpu] if d == "cuda" else []) for d in DEVICES if d != "cpu"]
SMALL = {
    "train_size": 64, "test_size": 20, "epochs": 2, "batch_size": 16, "eval_batch_size": 20, "log_every": 2, "plot": False, "lr": 0.05,
    "augmentation": ["crop:2", "flip", "cutout:4"], "model_options": {"widths": [4, "M", 8, "M"], "dropout": 0.2},
}


def losses(folder):
    return [line["loss"] for line in read(folder.metrics, "step")]


@pytest.mark.parametrize("device", ELSEWHERE)
def test_a_run_has_the_losses_of_the_cpu(tmp_path, device):
    folders = {}
    for where in ("cpu", device):
        recipe = Recipe(**SMALL, device=where)
        folders[where] = create(recipe, tmp_path / where)
        trainer = Trainer(recipe, plain=True)
        assert isinstance(trainer.loader, DeviceLoader) == (where != "cpu")
        assert trainer.run(folders[where]).finished
    ours, expected = losses(folders[device]), losses(folders["cpu"])
    assert len(ours) == 4 and np.allclose(ours, expected, rtol=1e-4)
    weights = [checkpoint.load(f.last)["model"] for f in folders.values()]
    for name, w in weights[0].items():
        assert np.allclose(np.asarray(w, np.float64), np.asarray(weights[1][name], np.float64), rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("device", ELSEWHERE)
def test_a_run_of_a_device_goes_on_and_is_tested_on_the_cpu(tmp_path, device, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(**{**SMALL, "epochs": 1}, device=device)
    folder = create(recipe, "run")
    Trainer(recipe, plain=True).run(folder)
    state = checkpoint.load(folder.last)
    assert all(t.device == CPU for t in state["model"].values() if isinstance(t, sv.Tensor))
    capsys.readouterr()
    assert cli.main(["eval", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 20
    assert cli.main(["train", "--resume", "run", "--device", "cpu"]) == 0, "nothing is left to do, but everything is loaded"


def test_a_missing_gpu_is_said_at_once(tmp_path, monkeypatch, capsys):
    if sv.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "device 'cuda:0' is not available" in said and "emulator" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_launch_of_a_run_can_be_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--train-size", "8", "--test-size", "4", "--batch-size", "4", "--epochs", "1", "--model-options", 'widths=[4, "M"]', "--no-plot"]
    assert cli.main(["train", "--recipe", "tiny", "--device", "emulator", "--sanitize", *few]) == 0
    assert cli.main(["train", "--recipe", "tiny", "--sanitize"]) == 2
    assert "--sanitize checks the launches of --device emulator, got cpu" in capsys.readouterr().err


def test_graphs_need_a_gpu():
    with pytest.raises(RecipeError, match="cuda_graph: only a GPU records graphs, but device is 'emulator'"):
        Trainer(Recipe(**SMALL, device="emulator", cuda_graph=True))


def test_graphs_need_sgd():
    with rehearsal(), pytest.raises(RecipeError, match="cuda_graph: needs optimizer sgd"):
        Trainer(Recipe(**SMALL, device="cuda", cuda_graph=True, optimizer="adam"))


@pytest.mark.gpu
def test_a_replayed_graph_trains_as_single_launches_do(tmp_path):
    runs = []
    for graph in (False, True):
        recipe = Recipe(**{**SMALL, "epochs": 5}, device="cuda", cuda_graph=graph)
        runs.append(create(recipe, tmp_path / str(graph)))
        Trainer(recipe, plain=True).run(runs[-1])
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_meter_adds_up(device):
    backend = get_backend(Device(device))
    meter, rng = Meter(backend), np.random.default_rng(0)
    total = right = 0
    for count in (5, 3):
        logits, labels = sv.tensor(rng.standard_normal((count, 4)), device=device), sv.tensor(rng.integers(0, 4, count), device=device)
        loss = F.cross_entropy(logits, labels)
        meter.add(loss, logits, labels)
        total += loss.item() * count
        right += int((logits.argmax(1) == labels).sum().item())
    assert math.isclose(meter.read(now=True), total / 8, rel_tol=1e-6)
    assert meter.epoch[1:] == meter.interval[1:] == [right, 8] and math.isclose(meter.epoch[0], total, rel_tol=1e-6)
    meter.restart("interval")
    meter.read(now=True)
    assert meter.interval == [0.0, 0, 0] and meter.epoch[2] == 8


def test_meter_reads_a_device_late(monkeypatch):
    backend = get_backend(Device("emulator"))
    meter, read_back = Meter(backend), []
    monkeypatch.setattr(type(backend), "to_numpy", lambda self, a: read_back.append(a) or np.array(a))
    logits, labels = sv.zeros(2, 3, device="emulator"), sv.tensor([0, 1], device="emulator")
    for _ in range(5):
        meter.add(F.cross_entropy(logits, labels), logits, labels)
        meter.read()
    assert read_back == [] and meter.epoch[2] == 0
    meter.read(now=True)
    assert len(read_back) == 1 and meter.epoch[2] == 10


def test_a_broken_loss_on_a_device_stops_the_run(tmp_path, monkeypatch):
    recipe = Recipe(**{**SMALL, "lr": 1e30, "log_every": 1}, device="emulator")
    folder = train.create(recipe, tmp_path / "run")
    with pytest.raises(NonFiniteError, match="the loss is (nan|inf)|the last step broke the weights"):
        Trainer(recipe, plain=True).run(folder)
