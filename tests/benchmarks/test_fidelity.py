"""The benchmarks of fidelity and memory, on nets of a few thousand weights; that their checks can fail too."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.bench.problems import build_net
from scratchvgg.bench.torch_side import twin

torch = pytest.importorskip("torch")

from benchmarks import fidelity, frozen, memory  # noqa: E402 - they import torch

small_net = pytest.fixture(lambda: build_net("small_vgg:batch_norm=true", dropout=0.0).train())


def test_a_twin_computes_the_same(small_net):
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    theirs = twin(small_net, "float32")
    assert list(theirs.state_dict()) == list(small_net.state_dict())
    for ours, other in ((small_net.train(), theirs.train()), (small_net.eval(), theirs.eval())):
        np.testing.assert_allclose(ours(sv.tensor(images)).detach().numpy(), other(torch.from_numpy(images)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("net", ["no_such_net", "small_vgg:widths", "small_vgg:no_such_option=1"])
def test_malformed_nets(net):
    with pytest.raises((ValueError, TypeError)):
        build_net(net, dropout=0.0)


def run_frozen(net, decisions, images, labels):
    with frozen.frozen(decisions):
        return fidelity._run_ours(net, images, labels)


def test_frozen_decisions_are_followed(small_net):
    rng = np.random.default_rng(1)
    images, labels = rng.standard_normal((4, 3, 16, 16)).astype(np.float32), rng.integers(0, 10, 4)
    truth_net = twin(small_net, "float64")
    decisions = frozen.record(truth_net)
    truth = fidelity._run_torch(truth_net, images, labels)
    right = run_frozen(small_net, decisions, images, labels)
    assert fidelity._worst_gradient(right, truth) < 1e-5
    theirs = fidelity._run_torch(frozen.freeze_torch(twin(small_net, "float32"), decisions), images, labels)
    assert fidelity._worst_gradient(theirs, truth) < 1e-5
    flipped = [~d if d.dtype == bool and i == 0 else d for i, d in enumerate(decisions)]
    assert fidelity._worst_gradient(run_frozen(small_net, flipped, images, labels), truth) > 1e-2
    for wrong in (decisions[:-1], [*decisions, decisions[0]]):
        with pytest.raises(RuntimeError, match="decisions"):
            run_frozen(small_net, wrong, images, labels)


def test_the_fidelity_command(tmp_path, capsys, monkeypatch):
    from benchmarks import vgg_cases
    from tests.ops import cases

    monkeypatch.setattr(cases, "CASES", [c for c in cases.CASES if c.operation == "relu"][:4])
    monkeypatch.setattr(vgg_cases, "CASES", [c for c in vgg_cases.CASES if c.operation == "linear"][-1:])
    file = tmp_path / "numbers.json"
    assert fidelity.main(["--nets", "small_vgg:batch_norm=false@16x2", "--seeds", "3", "--json", str(file)]) == 0
    printed, numbers = capsys.readouterr().out, json.loads(file.read_text())
    assert "small_vgg:batch_norm=false" in printed and "targets met" in printed
    assert {row["operation"] for row in numbers["operations"]["rows"]} == {"linear", "relu"}
    assert 0 < numbers["nets"]["rows"][0]["frozen ours"] < 1e-4
    assert numbers["nets"]["machine"]["gemm_gflops"] > 0


def test_a_missed_target_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fidelity, "GRADIENT", 1e-12)
    file = tmp_path / "numbers.json"
    file.write_text('{"operations": "of an earlier run"}')
    assert fidelity.main(["--only", "nets", "--nets", "small_vgg@16x2", "--seeds", "1", "--json", str(file)]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert json.loads(file.read_text())["operations"] == "of an earlier run"


@pytest.mark.parametrize("spec, parsed", [("vgg16", ("vgg16", 224, 1)), ("vgg16_bn", ("vgg16_bn", 224, 2)), ("a:b=c@32x8", ("a:b=c", 32, 8))])
def test_net_specifications(spec, parsed):
    assert fidelity.parse_net(spec) == parsed
    with pytest.raises(ValueError):
        fidelity.parse_net(spec.partition("@")[0] + "@224")


@pytest.mark.parametrize("net", ["no_such_net", "vgg16@224"])
def test_a_wrong_net_is_one_line(net, capsys):
    with pytest.raises(SystemExit) as stop:
        fidelity.main(["--nets", net])
    assert stop.value.code == 2 and "--nets" in capsys.readouterr().err


def test_small_errors_do_not_divide_by_zero():
    assert fidelity.ratio(0.0, 0.0, 0.0) == 0
    assert fidelity.ratio(1e-7, 0.0, 1.0) == pytest.approx(1e-7 / (2**-23 / 4))
    assert fidelity.ratio(3e-6, 1e-6, 1.0) == pytest.approx(3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_command(tmp_path, capsys):
    file = tmp_path / "numbers.json"
    memory.main(["--net", "cifar_vgg", "--size", "32", "--batch", "4", "--json", str(file)])
    numbers = json.loads(file.read_text())
    for library in ("ours", "torch"):
        assert numbers[library]["peak"] > numbers[library]["step"] > 4 * 14_700_000  # at least the gradients
    assert 0 < numbers["ours"]["scratch"] < memory.SCRATCH
    assert "PyTorch" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_failed_child_is_an_error():
    with pytest.raises(RuntimeError, match="measuring ours failed"):
        memory.measure("ours", "no_such_net", 2, 32)


@pytest.mark.parametrize("command", [fidelity, memory])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    assert "examples:" in capsys.readouterr().out
