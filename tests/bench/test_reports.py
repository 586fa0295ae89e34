"""What the terminal, the files and the pictures show of a report."""

import csv
import json
import math
import sys

import pytest

from scratchvgg.bench import results, roofline, scaling, tables
from scratchvgg.bench.model import Row
from scratchvgg.bench.timing import Timing, Timings

TIMES = {"seconds": 0.0125, "low": 0.012, "high": 0.013, "best": 0.011, "spread": 0.08, "rounds": 5, "inner": 2, "gflops": 80.0, "share_of_peak": 0.4}


def row(layer="conv1_1", which="forward", algorithm="im2col", **more):
    base = {"layer": layer, "count": 1, "pass": which, "algorithm": algorithm, "chosen": False, "shape": "1×3×8×8 → 4, 3×3", "error": 2.5e-7,
            "rms": 1e-8, "drawn": 1.0, "intensity": 20.0}
    declared = {} if algorithm == "torch" else {"bound": 1e-5, "workspace": 3 << 20, "workspace_of_a_thread": 3 << 19, "prepares": False}
    return base | declared | TIMES | more


ROWS = [
    row(chosen=True, ratio=(1.1, 1.25, 1.5)), row(algorithm="winograd4x4", error=1e-3, drawn=0.5, prepares=True, ratio=(0.9, 1.0, 1.2), gflops=150.0),
    {key: value for key, value in row(algorithm="broken").items() if key not in TIMES} | {"failed": "ValueError: no"},
    row(algorithm="torch", layout="NCHW", better=False), row(algorithm="torch", layout="channels_last", better=True, gflops=60.0),
]
MACHINE = {"gemm_peak": 200.0, "copy_rate": 20.0, "processor": "Chip", "threads": 2}
REPORT = {"kind": "conv", "title": "conv-test", "machine": MACHINE, "settings": {"dtype": "float32"}, "torch": {"version": "2", "threads": 2},
          "rows": ROWS + [row("conv2_1", "grad_weight", intensity=21.0), row("conv2_2", "grad_weight", intensity=21.0)]}


def test_block_of_convolutions():
    cells, headers = tables.conv_rows(ROWS, against=True)
    assert headers[0] == "algorithm" and headers[-1] == "torch/ours" and all(len(line) == len(headers) for line in cells)
    shown = [dict(zip(headers, line, strict=True)) for line in cells]
    assert shown[0] == {"algorithm": "> im2col", "time ms": "12.500", "±%": "4", "GFLOP/s": "80.0", "peak %": "40", "scratch MiB": "3.0",
                        "error": "2.5e-07", "bound": "1.0e-05", "rms error": "1.0e-08", "torch/ours": "1.25 (1.10-1.50)"}
    assert shown[1]["algorithm"] == "  winograd4x4*" and shown[1]["error"] == "!~1.0e-03"  # above the bound, of a drawn part
    assert shown[2]["time ms"] == "failed"
    assert [line["torch/ours"] for line in shown[3:]] == ["", "better"] and shown[4]["algorithm"] == "  torch channels_last"
    assert "torch/ours" not in tables.conv_rows(ROWS, against=False)[1]


def test_totals():
    totals = {"chosen": {"forward": 0.5, "all": 0.5}, "im2col": {"forward": 1.0}, "torch": {"forward": 0.75, "all": 0.75}}
    cells, headers = tables.total_rows(totals, ["forward", "grad_input"])
    assert headers == ["all layers", "forward ms", "torch/it", "all ms", "torch/it"]
    assert cells == [["chosen", "500.0", "1.50", "500.0", "1.50"], ["im2col", "1000.0", "0.75", "", ""], ["torch", "750.0", "1.00", "750.0", "1.00"]]
    assert tables.total_rows({"chosen": {"all": 2.0}}, ["forward"])[1] == ["all layers", "all ms"]


def test_model_table():
    ours = TIMES | {"peak": 600 << 20, "filters": 224 << 20, "error": 2e-6}
    theirs = TIMES | {"seconds": 0.025, "peak": 700 << 20, "filters": None, "error": 3e-6, "layout": "NCHW"}
    line = {"net": "vgg16", "mode": "train", "batch": 8, "size": 224, "ours": ours, "torch": theirs, "ratio": (1.9, 2.0, 2.1)}
    (cells,), headers = tables.model_rows([line], against=True)
    shown = dict(zip(headers, cells, strict=False))
    assert len(cells) == len(headers) and shown["ours ms"] == "12.5" and shown["torch ms"] == "25.0" and shown["torch/ours"] == "2.00 (1.90-2.10)"
    assert (shown["peak MiB"], shown["filters MiB"], shown["torch MiB"]) == ("600", "224", "700")
    assert (shown["error"], shown["torch error"]) == ("2.0e-06", "3.0e-06")
    (bare,), headers = tables.model_rows([{**line, "ours": TIMES}], against=False)
    assert len(bare) == len(headers) and bare[-3:] == ["", "", ""]


def test_ratio_of_nothing():
    assert tables.ratio((math.nan,) * 3) == "-" and tables.ratio(None) == ""


def test_json_and_csv(tmp_path):
    results.write_json(tmp_path / "new" / "r.json", REPORT | {"odd": [math.nan, math.inf, (1, 2)]})
    read = json.loads((tmp_path / "new" / "r.json").read_text(encoding="utf-8"))
    assert read["odd"] == [None, None, [1, 2]] and read["rows"][0]["ratio"] == [1.1, 1.25, 1.5] and "→" in read["rows"][0]["shape"]
    results.write_csv(tmp_path / "rows.csv", ROWS)
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["algorithm"] for line in lines] == ["im2col", "winograd4x4", "broken", "torch", "torch"]
    assert lines[2]["failed"] == "ValueError: no" and lines[2]["seconds"] == "" and "ratio" not in lines[0]
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["r.json", "rows.csv"]


def test_a_failed_write_leaves_the_old_report(tmp_path):
    results.write_json(tmp_path / "r.json", {"old": 1})
    with pytest.raises(TypeError):
        results.write_json(tmp_path / "r.json", {"new": object()})
    assert json.loads((tmp_path / "r.json").read_text()) == {"old": 1} and len(list(tmp_path.iterdir())) == 1


def test_folder_is_below_the_current_one():
    assert str(results.default_folder("conv-x")).startswith("benchmarks/results/conv-x-2")


def picture(path):
    """Pixels (height, width, 3)."""
    image = pytest.importorskip("PIL.Image").open(path)
    assert image.format == "PNG"
    return pytest.importorskip("numpy").asarray(image.convert("RGB"))


def test_roofline(tmp_path):
    pytest.importorskip("matplotlib")
    roofline.draw_roofline(tmp_path / "a.png", REPORT)
    roofline.draw_roofline(tmp_path / "b.png", REPORT | {"rows": ROWS[:1]})
    both, one = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    assert both.shape[1] > one.shape[1] > 400  # a panel for each pass
    blue = [int(roofline.COLORS[0][i : i + 2], 16) for i in (1, 3, 5)]
    assert (abs(both.astype(int) - blue).sum(-1) < 60).sum() > 50  # im2col's marks
    with pytest.raises(ValueError, match="nothing was measured"):
        roofline.draw_roofline(tmp_path / "c.png", REPORT | {"rows": []})


def curve():
    rows = [Row("vgg16", "inference", n, 32) for n in (1, 2, 4)]
    return scaling.curve("ours", "batch", rows, Timings({row.title: Timing([0.5 * row.batch] * 3) for row in rows}))


def test_scaling_picture_and_table(tmp_path):
    pytest.importorskip("matplotlib")
    report = REPORT | {"kind": "scaling", "curves": [curve()]}
    roofline.draw_scaling(tmp_path / "s.png", report)
    assert picture(tmp_path / "s.png").shape[1] > 800
    cells, headers = tables.scaling_rows(curve())
    assert headers[0] == "batch" and [line[0] for line in cells] == [1, 2, 4] and {line[-1] for line in cells} == {"1.00"}
    with pytest.raises(ValueError, match="nothing was measured"):
        roofline.draw_scaling(tmp_path / "t.png", report | {"curves": []})


@pytest.mark.parametrize("draw", [roofline.draw_roofline, roofline.draw_scaling])
def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'scratchvgg\[plots\]'"):
        draw(tmp_path / "x.png", REPORT | {"curves": []})
    assert not list(tmp_path.iterdir())
