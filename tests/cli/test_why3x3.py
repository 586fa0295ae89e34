"""scratchvgg why3x3: the table, the experiment, and one line for what is wrong."""

import json

import pytest

from scratchvgg.bench import machine, timing
from scratchvgg.cli import main

TRAIN = ["why3x3", "--experiment", "--epochs", "1", "--widths", "2", "3", "--train-size", "200", "--test-size", "20"]


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    """Short samples, and small products to find out the machine's rates."""
    monkeypatch.setattr(timing, "SAMPLE", 1e-4)
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(machine.gemm_peak, "__defaults__", ("float32", (64,), 1))
    monkeypatch.setattr(machine.copy_rate, "__defaults__", (1 << 16, 1))


def test_the_table(tmp_path, capsys):
    page = tmp_path / "why.html"
    assert main(["why3x3", "--channels", "4", "--size", "6", "--rounds", "1", "--json", str(tmp_path / "why.json"), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "three 3×3" in out and "27 C²" in out and "large / stack" in out and f"{page}: the page" in out
    saved = json.loads((tmp_path / "why.json").read_text())
    assert [pair["small"]["weights"] for pair in saved["pairs"]] == [18 * 16, 27 * 16] and saved["pairs"][0]["ratios"]["im2col"]["training"]


def test_counting_only(capsys):
    assert main(["why3x3", "--channels", "512", "--size", "2", "--no-times", "--json", "-"]) == 0
    saved = json.loads(capsys.readouterr().out)
    assert saved["pairs"][1]["large"]["weights"] == 49 * 512**2 and saved["machine"] is None and not saved["pairs"][0]["ratios"]


def test_the_experiment_goes_on_in_its_folder(tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main([*TRAIN, "--seeds", "1", "--out", folder]) == 0
    out = capsys.readouterr().out
    assert "two 3×3, seed 0: top-1 error" in out and "one seed cannot say" in out and "arXiv" not in out
    assert main([*TRAIN, "--seeds", "2", "--resume", folder, "--json", "-"]) == 0
    captured = capsys.readouterr()
    saved = json.loads(captured.out)
    assert [len(arm["errors"]) for arm in saved["arms"]] == [2, 2] and "seed 1" in captured.err and "seed 0" not in captured.err
    assert main([*TRAIN, "--out", folder]) == 2 and "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("words, message", [
    (["--channels", "0"], "channels: expected 1 or more, got 0"),
    (["--rounds", "0"], "--rounds, --seconds: expected positive numbers"),
    (["--seeds", "2"], "--seeds: it belongs to the experiment; give --experiment"),
    (["--experiment", "--channels", "8"], "--channels: it belongs to the table; leave out --experiment"),
    (["--experiment", "--test-size", "0"], "test_size: expected 1 or more, got 0"),
    (["--experiment", "--seeds", "0"], "seeds: expected 1 or more, got 0"),
    (["--experiment", "--data", "nothing"], "data: unknown data set 'nothing'"),
    (["--experiment", "--resume", "nowhere"], "nowhere does not exist"),
    (["--experiment", "--resume", "a", "--out", "b"], "not both"),
    (["--channels", "many"], "invalid int value"),
])
def test_one_line_for_what_is_wrong(words, message, capsys):
    assert main(["why3x3", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
