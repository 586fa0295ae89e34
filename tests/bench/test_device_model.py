"""Whole nets on the pretended GPU: every line of the measurement, PyTorch's CPU on the other side."""

import pytest

from scratchvgg import cli
from scratchvgg.bench import device_model
from scratchvgg.bench.model import Row

from .test_device_conv import gpu, torch_there  # noqa: F401 - fixtures

NET = "small_vgg:widths=[4,'M',8]"


@pytest.fixture(autouse=True)
def _stage(gpu, torch_there, monkeypatch):  # noqa: F811
    torch_there.nn.Module.cuda, before = lambda self: self, torch_there.nn.Module.cuda
    monkeypatch.setattr(torch_there.Tensor, "cuda", lambda self: self)
    yield
    torch_there.nn.Module.cuda = before


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("mode", ["inference", "train"])
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-5), ("bfloat16", 5e-2)])
def test_both_sides(mode, precision, most):
    report = device_model.measure([Row(NET, mode, 2, 8)], precision=precision, against=True, rounds=2, graphs=False)
    (row,) = report["rows"]
    assert row["ours"]["rounds"] == row["torch"]["rounds"] == 2 and len(row["ratio"]) == 3
    assert row["ours"]["error"] < most and row["torch"]["error"] < most and (precision == "float32" or row["ours"]["error"] > 1e-5)
    cells, headers = device_model.table_rows(report["rows"], against=True)
    assert len(cells[0]) == len(headers) and "graph ms" not in headers


def test_command(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(device_model, "recorded", lambda step: step)
    words = "--row", f"{NET}/train/2/8", "--rounds", "1", "--out", str(tmp_path), "--dtype", "tf32"
    assert cli.main(["bench", "model", "--device", "cuda", "--against", "torch", *words]) == 0
    out = capsys.readouterr().out
    for text in ("graph ms", "torch/ours", "torch error", "ours: float32 multiplied as TF32", "theirs: PyTorch"):
        assert text in out, text
