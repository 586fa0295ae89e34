"""``python -m benchmarks.fuzz``: what it writes, and what it keeps; tests/weights/test_fuzz.py has the readers' side."""

import json
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("hypothesis")
if sys.platform != "linux":
    pytest.skip("memory is read from /proc", allow_module_level=True)

from benchmarks.fuzz import __main__ as command
from benchmarks.fuzz import judge


def test_the_whole_command(tmp_path, capsys):
    file = tmp_path / "deep" / "fuzz.json"
    assert command.main(["--formats", "npz", "--count", "40", "--json", str(file)]) == 0
    assert command.main(["--formats", "safetensors", "--count", "30", "--seed", "3", "--json", str(file)]) == 0
    report, text = json.loads(file.read_text()), capsys.readouterr().out
    assert list(report) == ["npz", "safetensors"] and report["npz"]["seed"] == 0 and report["safetensors"]["seed"] == 3
    for row in report.values():
        assert row["files"] == row["refused"] + row["same"] + row["other"] >= 30
        assert row["slowest_seconds"] < 1 and row["largest_bytes"] < 200e6 and row["versions"]
    assert "safetensors" in text and str(file) in text


def test_a_slow_file_is_tried_again_and_then_wrong(tmp_path, monkeypatch):
    """One slow try may be the fault of other programs; six are the reader's."""
    from benchmarks.fuzz import SEEDS, Wrong

    content = SEEDS["npz"]()[0]
    one = judge.Judge("npz", [content], tmp_path)
    times = iter([2.0, 3.0, 0.5])
    measure = one._measure
    monkeypatch.setattr(one, "_measure", lambda: (measure()[0], next(times), 0))
    assert one(content, 0, True) == "same" and one.slowest == 0.5
    monkeypatch.setattr(one, "_measure", lambda: (measure()[0], 1.5, 0))
    with pytest.raises(Wrong, match=r"takes 1\.50 s"):
        one(content, 0, True)


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--formats", "tar"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err
