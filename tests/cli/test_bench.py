"""scratchvgg bench: tables, files, exit statuses."""

import json
import textwrap

import pytest

from scratchvgg import cli, conv
from scratchvgg.bench import machine, timing
from scratchvgg.conv import registry

from ..bench.fakes import Broken, Stopped, Wrong, add

TINY = ["--problem", "1,3,6,6,4,3,3,1,1", "--seconds", "1e-9"]
NET = "small_vgg:widths=[4,'M',8]"


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    """No waiting, a folder of its own, and a machine of round numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(timing, "SAMPLE", 1e-9)
    about = {"processor": "Chip", "threads": 1, "cores": 1, "numpy": "2", "blas": ["someblas"], "gemm_peak": 50.0, "copy_rate": 10.0, "commit": "abc"}
    monkeypatch.setattr(machine, "describe", lambda dtype="float32": dict(about))
    monkeypatch.setattr(machine, "gemm_peak", lambda *args: 50.0)


def call(capsys, *args):
    """(status, stdout, stderr)."""
    try:
        status = cli.main(["bench", *map(str, args)])
    except SystemExit as leave:  # argparse leaves after --help
        status = leave.code or 0
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("what", ["conv", "model"])
def test_help_of_each_teaches(capsys, what):
    status, out, _ = call(capsys, what, "--help")
    assert status == 0 and out.startswith(f"usage: scratchvgg bench {what}") and out.count(f"  scratchvgg bench {what} ") >= 4
    assert max(map(len, out.splitlines())) <= 130


def test_conv_prints_a_table_and_writes_everything(capsys, tmp_path):
    status, out, err = call(capsys, "conv", *TINY, "--json", "copy/r.json")
    assert (status, err) == (0, "")
    for words in ("1×3×6×6 → 4, 3×3", "forward", "grad_weight", "> ", "direct", "bound", "all layers", "GEMM 50 GFLOP/s", "float32", "someblas"):
        assert words in out, words
    (folder,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["report.json", "roofline.png", "rows.csv"] and folder.name.startswith("conv-problems-")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report == json.loads((tmp_path / "copy" / "r.json").read_text(encoding="utf-8"))
    assert {row["pass"] for row in report["rows"]} == set(conv.PASSES) and report["machine"]["commit"] == "abc"


def test_layers_of_a_net(capsys):
    few = "--algorithm", "im2col", "--pass", "grad_weight", "--seconds", "1e-9"
    out = call(capsys, "conv", "--net", NET, "--size", 8, "--batch", 2, *few, "--out", "o")[1]
    assert "conv1_1 grad_weight: 2×3×8×8 → 4" in out and "conv2_1 grad_weight: 2×4×4×4 → 8" in out and "forward:" not in out


def test_against_torch(capsys, torch):
    threads = torch.get_num_threads()
    try:
        status, out, _ = call(capsys, "conv", *TINY, "--against", "torch", "--pass", "forward", "--out", "o", "--no-picture")
        assert status == 0 and "torch NCHW" in out and "torch channels_last" in out and "torch/ours" in out and f"PyTorch {torch.__version__}" in out
        status, out, _ = call(capsys, "model", "--row", f"{NET}/train/2/8", "--against", "torch", "--rounds", 1, "--no-memory", "--out", "o2")
        assert status == 0 and "torch ms" in out and "torch error" in out
    finally:
        torch.set_num_threads(threads)


def test_no_picture_and_what_is_taken(capsys, tmp_path):
    status, out, _ = call(capsys, "conv", *TINY, "--pass", "forward", "--out", "o", "--no-picture", "--conv", "shifted", "--threads", 1)
    assert status == 0 and "> shifted" in out and "convolutions taken: shifted" in out
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["report.json", "rows.csv"]


def test_an_error_above_the_bound_is_said_and_fails(capsys, monkeypatch):
    add(monkeypatch, Wrong)
    status, out, _ = call(capsys, "conv", *TINY, "--algorithm", "wrong", "im2col", "--pass", "forward", "--out", "o")
    assert status == 1 and "wrong, 1,3,6,6,4,3,3,1,1 forward: the error" in out and "is above the declared bound" in out and "!" in out


def test_an_algorithm_that_raises_is_said_and_fails(capsys, monkeypatch):
    add(monkeypatch, Broken)
    status, out, _ = call(capsys, "conv", *TINY, "--algorithm", "broken", "im2col", "--pass", "forward", "--out", "o")
    assert status == 1 and "broken failed: ArithmeticError: out of numbers" in out and "im2col" in out


def test_ctrl_c_keeps_what_was_measured(capsys, monkeypatch, tmp_path):
    add(monkeypatch, Stopped)
    status, out, _ = call(capsys, "conv", *TINY, "--algorithm", "stopped", "--out", "o")
    assert status == 130 and "stopped by Ctrl-C" in out
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["interrupted"] and {row["pass"] for row in report["rows"]} >= {"forward", "grad_input"}


PLUGIN = """
from scratchvgg.conv import Shifted, register

@register
class Mine(Shifted):
    name = "{name}"

    def grad_weight(self, backend, problem, dy, x, out=None):
        return super().grad_weight(backend, problem, dy, x, out){fault}
"""


@pytest.mark.parametrize(("name", "fault", "status"), [("mine", "", 0), ("spoilt", " * 1.01", 1)])
def test_a_plugin_is_checked_and_only_a_good_one_measured(capsys, monkeypatch, tmp_path, name, fault, status):
    monkeypatch.setattr(registry, "_ALGORITHMS", registry.snapshot())
    (tmp_path / "my_conv.py").write_text(textwrap.dedent(PLUGIN.format(name=name, fault=fault)))
    found, out, _ = call(capsys, "conv", *TINY, "--plugin", "my_conv.py", "--out", "o", "--no-picture")
    assert found == status
    assert (f"{name} is right" if status == 0 else f"{name} is WRONG") in out and (f"{name} is not measured" in out) == bool(status)
    measured = {row["algorithm"] for row in json.loads((tmp_path / "o" / "report.json").read_text())["rows"]}
    assert (name in measured) == (status == 0) and "im2col" in measured


def test_model(capsys, tmp_path):
    lines = "--net", NET, "--mode", "inference", "--batch", 1, 2, "--size", 8
    status, out, _ = call(capsys, "model", *lines, "--rounds", 1, "--out", "o", "--no-memory")
    assert status == 0 and "PyTorch" in out and "ours ms" in out and "torch ms" not in out
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert [(row["batch"], row["size"]) for row in report["rows"]] == [(1, 8), (2, 8)] and report["rows"][0]["ours"]["error"] < 1e-5


def test_scaling(capsys, tmp_path):
    status, out, _ = call(capsys, "model", "--scaling", "--net", NET, "--batch", 1, 2, "--size", 8, 16, "--rounds", 1, "--out", "o")
    assert status == 0 and "time grows as n^" in out and "of median" in out
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["report.json", "scaling.png"]


BAD = [
    (["conv", "--problem", "1,2,3"], "7 to 11 whole numbers, got '1,2,3'"),
    (["conv", "--algorithm", "winigrad"], "no algorithm 'winigrad'"),
    (["conv", "--net", "vgg17"], "vgg16"),
    (["conv", "--seconds", "-1"], "expected a positive number of seconds"),
    (["conv", "--bach", "2"], "did you mean --batch?"),
    (["conv", "--conv", "fastest"], "no convolution algorithm 'fastest'"),
    (["conv", "--plugin", "absent.py"], "absent.py"),
    (["conv", "--plugin", conv.geometry.__file__], "registers no algorithm"),
    (["model", "--row", "vgg16"], "NET/MODE/BATCH"),
    (["model", "--batch", "0"], "expected 1 or more, got 0"),
    (["model", "--scaling", "--row", "vgg16/train/1"], "not --row"),
    (["modle"], "invalid choice: 'modle'"),
    ([], "conv,model"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_input_is_one_line(capsys, words, message):
    status, out, err = call(capsys, *words)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1
