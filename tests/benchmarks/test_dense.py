"""The benchmark of dense evaluation on a net of a few thousand weights: what it counts, and what it writes."""

import json

import numpy as np
import pytest

import scratchvgg as sv
from benchmarks import dense
from scratchvgg.bench.problems import build_net
from scratchvgg.evaluate import DenseVGG


def test_the_whole_command(tmp_path, capsys):
    file = tmp_path / "deep" / "report.json"
    assert dense.main(["--net", "small_vgg", "--scales", "40", "64", "--crop", "32", "--rounds", "1", "--json", str(file)]) == 0
    report, text = json.loads(file.read_text()), capsys.readouterr().out
    assert [row["scale"] for row in report["rows"]] == [40, 64] and report["interrupted"] is False
    assert report["rows"][0]["size"] == [40, 53] and report["rows"][0]["places"] == 2 * (40 // 8 - 3) * (53 // 8 - 3)
    for row in report["rows"]:
        assert row["ratio"][1] == pytest.approx(report["crops"]["seconds"] / row["dense"]["seconds"])
        assert row["equal_places"]["ratio"][1] == pytest.approx(row["ratio"][1] * row["places"] / 50)
        assert row["mac_ratio"] == pytest.approx(report["crops"]["macs"] / row["dense"]["macs"])
    assert "40x53" in text and "ratio at equal places" in text and str(file) in text


def test_interrupted_it_keeps_what_there_is(tmp_path, monkeypatch):
    calls = []

    def run_crops(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(dense, "run_crops", run_crops)
    file = tmp_path / "report.json"
    assert dense.main(["--net", "small_vgg", "--scales", "40", "--crop", "32", "--rounds", "3", "--json", str(file)]) == 130
    report = json.loads(file.read_text())
    assert report["interrupted"] is True and report["layer"] == [] and report["rows"] == []


def test_work_counts_multiplications():
    """Of VGG-16 at 224×224, the published 15.47 billion, at one place; of a larger picture what the layers say one by one."""
    with sv.nn.init.skip():
        net = DenseVGG(sv.models.vgg16(init_weights=False))
    assert dense.work(net, 224, 224) == (15_470_264_320, 1)
    macs, places = dense.work(net, 256, 341)
    linear = 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    assert places == 2 * 4
    assert macs - places * linear == sum(
        c * k * 9 * (256 >> s) * (341 >> s) for s, c, k in
        [(0, 3, 64), (0, 64, 64), (1, 64, 128), (1, 128, 128), (2, 128, 256), *[(2, 256, 256)] * 2, (3, 256, 512), *[(3, 512, 512)] * 2,
         *[(4, 512, 512)] * 3])  # fmt: skip


def test_fifty_crops_are_run():
    net, seen = build_net("small_vgg"), []
    net.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    outputs = dense.run_crops(net.eval(), np.zeros((3, 40, 53), np.float32), 32)
    assert seen == [(10, 3, 32, 32)] * 5 and len(outputs) == 5


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--scales", "224"], ["--crop", "8"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        dense.main(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err
