"""Whole nets: both sides do the same work, and what is said of them is measured."""

import gc
import sys
import weakref

import numpy as np
import pytest

from scratchvgg import nn
from scratchvgg.bench import machine, memory, model, scaling, timing, torch_side
from scratchvgg.bench.model import Row
from scratchvgg.bench.problems import build_net
from scratchvgg.bench.timing import Timing, Timings

NET = "small_vgg:widths=[8,'M',16]"
INFER, TRAIN = Row(NET, "inference", 2), Row(NET, "train", 4)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(timing, "SAMPLE", 1e-9)
    monkeypatch.setattr(machine, "describe", lambda dtype="float32": {"gemm_peak": 100.0, "copy_rate": 10.0, "threads": 1})


@pytest.fixture
def torch(torch):
    """PyTorch, its number of threads put back afterwards."""
    threads = torch.get_num_threads()
    yield torch
    torch.set_num_threads(threads)


def test_rows():
    assert model.parse_row("vgg16/train/8") == Row("vgg16", "train", 8, 224)
    assert model.parse_row("cifar_vgg/inference/2/64") == Row("cifar_vgg", "inference", 2, 64)
    assert Row("cifar_vgg", "train", 1).size == 32 and Row("vgg16", "train", 8).title == "vgg16 train 8×224²"
    assert [(row.net, row.mode, row.batch, row.size) for row in model.DEFAULT] == [
        ("vgg16", "inference", 1, 224), ("vgg16", "inference", 8, 224), ("vgg16", "train", 8, 224), ("cifar_vgg", "train", 128, 32)]


@pytest.mark.parametrize("text", ["vgg16", "vgg16/train", "vgg16/train/x", "vgg16/train/0", "vgg16/test/3", "vgg16/train/1/2/3"])
def test_bad_rows(text):
    with pytest.raises(ValueError, match=r"NET/MODE/BATCH|inference, train"):
        model.parse_row(text)


def test_our_training_step_is_a_real_one():
    net = build_net(NET)
    before = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    loss = model.our_step(net, TRAIN)()
    assert loss.item() > 0 and all(p.grad is not None for p in net.parameters())
    assert all(not np.array_equal(p.detach().numpy(), before[name]) for name, p in net.named_parameters() if p.grad.numpy().any())


@pytest.mark.parametrize("layout", list(torch_side.LAYOUTS))
def test_both_sides_take_the_same_steps(torch, layout, monkeypatch):
    monkeypatch.setitem(model.SGD, "lr", 0.01)
    net = build_net(NET).double()
    theirs = torch_side.twin(net, "float64", layout)
    row = Row(NET, "train", 2)
    images, labels = model.images_of(row)
    monkeypatch.setattr(model, "images_of", lambda row: (images.astype(np.float64), labels))
    ours, other = model.our_step(net, row), model.torch_step(theirs, row, layout)
    for _ in range(3):
        assert ours().item() == pytest.approx(other().item(), rel=1e-9)
    for (name, mine), (_, peer) in zip(net.state_dict().items(), theirs.state_dict().items(), strict=True):
        np.testing.assert_allclose(mine.numpy(), peer.numpy(), rtol=1e-7, atol=1e-10, err_msg=name)


def test_twin_has_our_names_and_weights(torch):
    net = build_net("vgg11:num_classes=5").eval()
    first = torch_side.twin(net)
    second = torch_side.twin(net, layout="channels_last", share_linear=first)
    assert list(first.state_dict()) == list(net.state_dict()) == list(second.state_dict()) and not first.training
    assert second.classifier[0].weight is first.classifier[0].weight and second.features[0].weight is not first.features[0].weight
    assert second.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(np.array_equal(net.state_dict()[name].numpy(), t.detach().numpy()) for name, t in second.state_dict().items())


def test_a_twin_does_not_keep_the_net_alive(torch):
    """It would count as PyTorch's memory."""
    net = build_net(NET)
    gone = weakref.ref(net)
    twin = torch_side.twin(net)
    del net
    gc.collect()
    assert gone() is None and twin.training


def test_twin_of_what_torch_does_not_have(torch):
    class Own(nn.Module):
        pass

    with pytest.raises(TypeError, match="Own"):
        torch_side.twin(nn.Sequential(Own()))


def test_errors_of_logits(torch):
    net = build_net(NET)
    twins = {"NCHW": torch_side.twin(net), "spoilt": torch_side.twin(net)}
    with torch.no_grad():
        twins["spoilt"].classifier[1].bias += 1.0
    monkey = torch_side.LAYOUTS | {"spoilt": "contiguous_format"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_side, "LAYOUTS", monkey)
        errors = model.logit_errors(net, INFER, twins)
    assert errors["ours"] < 1e-5 and errors["NCHW"] < 1e-5 and errors["spoilt"] > 0.1
    assert net.training and twins["NCHW"].training  # as before
    assert model.logit_errors(net, INFER, {})["ours"] == pytest.approx(errors["ours"], rel=1e-3)  # the same truth without torch


def test_table_against_torch(torch):
    seen = []
    report = model.measure([INFER, TRAIN], against="torch", rounds=1, with_memory=False, on_row=seen.append)
    assert report["rows"] == seen and [row["mode"] for row in seen] == ["inference", "train"] and not report["interrupted"]
    for row in seen:
        assert row["ours"]["rounds"] == 1 and row["ours"]["error"] < 1e-5 and row["torch"]["error"] < 1e-5
        assert set(row["torch"]["formats"]) == {"NCHW", "channels_last"} and row["torch"]["seconds"] == min(row["torch"]["formats"].values())
        assert row["torch"]["layout"] == min(row["torch"]["formats"], key=row["torch"]["formats"].get)
        assert row["ratio"][1] == pytest.approx(row["torch"]["seconds"] / row["ours"]["seconds"])
    assert report["torch"]["threads"] == report["settings"]["threads"]


def test_interrupted(monkeypatch):
    calls = [0]
    plain = model.our_step

    def step(net, row):
        work = plain(net, row)

        def once():
            calls[0] += 1
            if calls[0] == 5:
                raise KeyboardInterrupt
            return work()

        return once

    monkeypatch.setattr(model, "our_step", step)
    report = model.measure([INFER, TRAIN], rounds=50, with_memory=False, with_error=False)
    assert report["interrupted"] and len(report["rows"]) == 1 and report["rows"][0]["ours"]["rounds"] >= 1


def test_bad_nets_are_refused_before_anything_is_measured():
    with pytest.raises(ValueError, match="vgg"):
        model.measure([INFER, Row("vgg99", "train", 1)], progress=lambda text: pytest.fail(text))
    with pytest.raises(ValueError, match="16×16"):
        model.measure([Row("vgg16", "train", 1, 16)])


def test_memory_is_measured_in_a_process_of_its_own(torch):
    large = "cifar_vgg:config=A"
    ours = memory.measure("ours", large, "train", 2, 32)
    weights = sum(p.nbytes for p in build_net(large).parameters())
    assert 3 * weights < ours["peak"] < 8 * weights  # weights, gradients and momentum, and a little beside
    theirs = memory.measure("torch", large, "inference", 2, 32)
    assert 0.8 * weights < theirs["peak"] < 6 * weights and theirs["filters"] is None


def test_kept_filters_are_declared(monkeypatch):
    monkeypatch.setenv("SCRATCHVGG_CONV", "winograd4x4")
    monkeypatch.setenv("SCRATCHVGG_CONV_CACHE", "1")
    found = memory.measure("ours", NET, "inference", 1, 32)
    filters = sum(w.numel() for name, w in build_net(NET).named_parameters() if w.ndim == 4)
    assert found["filters"] >= 36 / 9 * 4 * filters * 0.9  # 6×6 numbers for each 3×3
    monkeypatch.setenv("SCRATCHVGG_CONV_CACHE", "0")
    assert memory.measure("ours", NET, "inference", 1, 32)["filters"] == 0


def test_a_failing_child_says_why():
    with pytest.raises(RuntimeError, match=r"memory of ours failed: .*vgg99"):
        memory.measure("ours", "vgg99", "train", 1, 32)


class TestScaling:
    def test_exponent_and_cliff(self):
        rows = [Row("vgg16", "inference", n, 32) for n in (1, 2, 4, 8)]
        linear = scaling.curve("ours", "batch", rows, Timings({row.title: Timing([row.batch * 0.5]) for row in rows}))
        assert linear["exponent"] == pytest.approx(1.0) and linear["cliff"] == pytest.approx(1.0)
        cliff = scaling.curve("ours", "batch", rows, Timings({row.title: Timing([row.batch * (2.0 if row.batch == 4 else 0.5)]) for row in rows}))
        assert cliff["cliff"] == cliff["step"] == pytest.approx(4.0) and linear["step"] == pytest.approx(1.0)
        assert cliff["points"][2]["seconds_per_pixel"] == pytest.approx(2.0 / 1024)
        sides = [Row("vgg16", "inference", 1, side) for side in (32, 64, 128)]
        square = scaling.curve("ours", "pixels", sides, Timings({row.title: Timing([row.size**4 * 1e-9]) for row in sides}))
        assert square["exponent"] == pytest.approx(2.0) and "one image" in square["title"]
        assert np.isnan(scaling.exponent([]))

    @pytest.mark.parametrize("mode", ["inference", "train"])
    def test_measures_batch_and_pixels_of_both(self, torch, mode):
        report = scaling.measure(NET, mode=mode, batches=(1, 2), sizes=(32, 48), rounds=1, against="torch")
        drawn = [(c["library"].split()[0], c["along"]) for c in report["curves"]]
        assert drawn == [("ours", "batch"), ("ours", "pixels"), ("torch", "batch"), ("torch", "pixels")]
        assert [(p["batch"], p["size"]) for p in report["curves"][0]["points"]] == [(1, 32), (2, 32)]
        assert [(p["batch"], p["size"]) for p in report["curves"][1]["points"]] == [(1, 32), (1, 48)]

    def test_interrupted(self, monkeypatch):
        monkeypatch.setattr(scaling, "our_step", lambda *args: lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        report = scaling.measure(NET, batches=(1,), sizes=(32,), rounds=1)
        assert report["interrupted"] and report["curves"] == []

    def test_too_small_images(self):
        with pytest.raises(ValueError, match="16×16"):
            scaling.measure("vgg11", sizes=(16,))


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"scratchvgg\[torch\]"):
        model.measure([INFER], against="torch")
