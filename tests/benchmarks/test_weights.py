"""The benchmark of loading weights on a net of a few thousand weights: every side of every case loads, and the limits hold."""

import json
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
if sys.platform != "linux":
    pytest.skip("memory is read from /proc", allow_module_level=True)

from benchmarks import weights
from scratchvgg.bench import timing


def test_the_whole_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "measure", lambda case, side, folder: weights.measure_here(case, side, str(folder)))
    monkeypatch.setattr(weights, "TIMES", 1e9)
    monkeypatch.setattr(weights, "PEAK", 1e9)
    monkeypatch.setattr(weights, "LATER", 1e9)
    file = tmp_path / "deep" / "report.json"
    assert weights.main(["--net", "small_vgg", "--rounds", "2", "--json", str(file)]) == 0
    report, text = json.loads(file.read_text()), capsys.readouterr().out
    assert list(report["cases"]) == list(weights.CASES) and report["good"]
    for row in report["cases"].values():
        assert row["ours"]["entries"] == row["theirs"]["entries"] > 1 and row["time_ratio"][1] > 0
    assert str(file) in text and "targets met" in text and "MISSED" not in text


def test_a_sample_comes_from_a_process_of_its_own(tmp_path):
    weights.write_files("small_vgg", tmp_path)
    assert weights.measure("mapped", "ours", tmp_path)["seconds"] > 0
    with pytest.raises(RuntimeError, match="mapped, ours: .*FileNotFoundError"):
        weights.measure("mapped", "ours", tmp_path / "absent")


@pytest.mark.parametrize(("case", "ours", "good"), [
    ("checked", {}, True), ("checked", {"seconds": 1.19, "memory": 119}, True), ("checked", {"seconds": 1.21}, False),
    ("checked", {"memory": 121}, False), ("checked", {"entries": 2}, False),
    ("mapped", {"seconds": 1.009, "memory": 999}, True), ("mapped", {"seconds": 1.011}, False),
    ("npz", {"seconds": 9.0, "memory": 999}, True),
])
def test_limits(case, ours, good):
    theirs = {"seconds": 1.0, "memory": 100, "entries": 3}
    assert weights._row(case, {"ours": [theirs | ours] * 3, "theirs": [theirs] * 3}, timing.quartiles)["good"] is good


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--cases", "nothing"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        weights.main(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err
