"""The table of convolutions: what is in it, and that it shows what is wrong."""

import math
import sys

import numpy as np
import pytest

from scratchvgg import conv
from scratchvgg.bench import conv as bench
from scratchvgg.bench import machine, timing, torch_side
from scratchvgg.bench.accuracy import Operands, truth
from scratchvgg.bench.problems import Layer, parse_problem

from .fakes import OFF, Broken, Stopped, Wrong, add

TINY = Layer("tiny", parse_problem("2,3,6,6,4,3,3,1,1"), count=2)
POINT = Layer("point", parse_problem("1,4,5,5,8,1,1"), passes=("forward", "grad_weight"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No waiting, and a machine of round numbers."""
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(timing, "SAMPLE", 1e-9)
    monkeypatch.setattr(machine, "describe", lambda dtype="float32": {"gemm_peak": 100.0, "copy_rate": 10.0, "threads": 1})
    monkeypatch.setattr(machine, "gemm_peak", lambda *args: 50.0)


def of(report, **wanted):
    return [row for row in report["rows"] if all(row.get(key) == value for key, value in wanted.items())]


def test_a_row_for_each_layer_pass_and_algorithm():
    blocks = []
    report = bench.measure([TINY, POINT], rounds=2, on_block=lambda layer, which, rows: blocks.append((layer.name, which)))
    assert blocks == [("tiny", "forward"), ("tiny", "grad_input"), ("tiny", "grad_weight"), ("point", "forward"), ("point", "grad_weight")]
    for layer in (TINY, POINT):
        able = {name for name, a in conv.algorithms().items() if a.supports(layer.problem, "float32")}
        for which in layer.passes:
            rows = of(report, layer=layer.name, **{"pass": which})
            assert {row["algorithm"] for row in rows} == able
            assert [row["chosen"] for row in rows].count(True) == 1
            assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert not report["interrupted"] and report["torch"] is None


def test_numbers_of_a_row():
    report = bench.measure([TINY], rounds=3, algorithms=["im2col"], passes=["grad_weight"])
    (row,) = report["rows"]
    algorithm, problem = conv.get("im2col"), TINY.problem
    assert row["gflops"] == pytest.approx(2 * problem.macs / row["seconds"] / 1e9) and row["share_of_peak"] == pytest.approx(row["gflops"] / 100)
    assert row["workspace_of_a_thread"] == algorithm.workspace(problem, "float32", "grad_weight")
    assert row["workspace"] == row["workspace_of_a_thread"] * report["settings"]["threads"]
    operands = Operands.draw(problem, "float32")
    unit = truth(problem, "grad_weight", operands).bound_unit
    assert row["bound"] == pytest.approx(algorithm.error_bound(problem, "float32", "grad_weight") * unit)
    assert 0 < row["error"] <= row["bound"] and row["drawn"] == 1.0 and row["count"] == 2 and row["rounds"] == 3
    bytes_moved = 4 * (2 * 3 * 36 + 4 * 3 * 9 + 2 * 4 * 36)
    assert row["intensity"] == pytest.approx(2 * problem.macs / bytes_moved)


def test_forward_is_timed_with_bias_relu_and_prepared_filters(monkeypatch):
    seen = []

    class Prepares(Wrong):
        name = "prepares"
        prepares = True

        def prepare(self, backend, problem, w):
            seen.append("prepare")
            return "filters"

        def forward(self, backend, problem, x, w, bias=None, out=None, prepared=None, **options):
            seen.append((prepared, bias is not None, options["epilogue"].relu if "epilogue" in options else "after"))
            return conv.get("im2col").forward(backend, problem, x, w, bias, out, **options)

    add(monkeypatch, Prepares)
    (row,) = bench.measure([TINY], rounds=2, algorithms=["prepares"], passes=["forward"])["rows"]
    assert seen[0] == "prepare" and seen.count("prepare") == 1 and row["prepares"] and row["error"] < 1e-5
    assert all(prepared == "filters" and bias and relu in (True, "after") for prepared, bias, relu in seen[1:])


@pytest.mark.parametrize("which", conv.PASSES)
def test_an_error_shows_beside_the_bound(monkeypatch, which):
    add(monkeypatch, Wrong)
    report = bench.measure([TINY], rounds=1, algorithms=["im2col", "wrong"], passes=[which])
    (wrong,), (right,) = of(report, algorithm="wrong"), of(report, algorithm="im2col")
    assert wrong["error"] >= OFF > 1e-4 > right["error"] and wrong["bound"] == right["bound"]
    assert bench.above_bound(report["rows"]) == [wrong]


def test_nan_is_above_every_bound():
    rows = [{"bound": 1.0, "error": math.nan}, {"bound": 1.0, "error": 0.5}, {"error": 3.0}]
    assert bench.above_bound(rows) == rows[:1]


def test_an_algorithm_that_raises_does_not_take_the_others_along(monkeypatch):
    add(monkeypatch, Broken)
    report = bench.measure([TINY], rounds=1, algorithms=["broken", "im2col"], passes=["forward"])
    (broken,), (good,) = of(report, algorithm="broken"), of(report, algorithm="im2col")
    assert broken["failed"] == "ArithmeticError: out of numbers" and "seconds" not in broken and good["rounds"] == 1


def test_without():
    report = bench.measure([TINY], rounds=1, without=["direct"], passes=["forward"])
    assert "direct" not in {row["algorithm"] for row in report["rows"]} and len(report["rows"]) > 1


def test_interrupted_keeps_what_was_measured(monkeypatch):
    add(monkeypatch, Stopped)
    report = bench.measure([TINY, POINT], rounds=5, algorithms=["im2col", "stopped"])
    assert report["interrupted"] and {row["pass"] for row in report["rows"]} == {"forward", "grad_input", "grad_weight"}
    assert {row["layer"] for row in report["rows"]} == {"tiny"} and all(row["rounds"] == 5 for row in report["rows"] if row["pass"] == "forward")
    assert "grad_weight" not in report["totals"].get("stopped", {})


def test_direct_only_for_tiny_problems_or_when_asked():
    large = parse_problem("1,16,32,32,16,3,3,1,1")
    assert "direct" in bench.candidates(TINY.problem, "float32") and "direct" not in bench.candidates(large, "float32")
    assert list(bench.candidates(large, "float32", ["direct"])) == ["direct"]


@pytest.mark.parametrize(("options", "message"), [({"algorithms": ["winigrad"]}, "winigrad"), ({"dtype": "int8"}, "float16, float32, float64")])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        bench.measure([TINY], **options)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_types(dtype):
    report = bench.measure([TINY], rounds=1, dtype=dtype, passes=["grad_input"], algorithms=["im2col"])
    (row,) = report["rows"]
    assert row["error"] <= row["bound"] and (row["error"] > 1e-5) == (dtype == "float16")


def test_totals_count_layers_and_leave_out_what_is_incomplete():
    def row(layer, algorithm, seconds, chosen=False, count=1, **more):
        return {"layer": layer, "pass": "forward", "algorithm": algorithm, "seconds": seconds, "chosen": chosen, "count": count, **more}

    layers = [Layer("a", TINY.problem, 2, ("forward",)), Layer("b", POINT.problem, 1, ("forward",))]
    rows = [row("a", "x", 1.0, True, 2), row("a", "y", 3.0, count=2), row("b", "x", 5.0), row("b", "z", 4.0, True),
            row("a", "torch", 2.0, count=2, better=True), row("a", "torch", 9.0, count=2, better=False), row("b", "torch", 7.0, better=True)]
    found = bench.totals(rows, layers, ["forward"])
    assert {way: times["forward"] for way, times in found.items()} == {"chosen": 6.0, "fastest": 6.0, "x": 7.0, "torch": 11.0}
    assert all(times["all"] == times["forward"] for times in found.values())


class TestAgainstTorch:
    @pytest.fixture(autouse=True)
    def _torch(self, torch):
        self.threads = torch.get_num_threads()
        yield
        torch.set_num_threads(self.threads)

    @pytest.mark.parametrize("text", ["2,3,6,6,4,3,3,1,1", "1,4,9,9,6,5,3,2,2,2,2"])
    @pytest.mark.parametrize("which", conv.PASSES)
    def test_torch_computes_the_same(self, text, which):
        problem = parse_problem(text)
        operands = Operands.draw(problem, "float32")
        right = truth(problem, which, operands)
        calls = torch_side.convolutions(problem, which, operands, "float32")
        assert list(calls) == ["NCHW", "channels_last"]
        for call in calls.values():
            assert right.errors(call().numpy())[0] < 1e-5

    def test_rows_of_torch_and_ratios(self):
        report = bench.measure([TINY], rounds=3, against="torch", passes=["forward"], algorithms=["im2col"])
        theirs, (mine,) = of(report, algorithm="torch"), of(report, algorithm="im2col")
        assert [row["algorithm"] for row in report["rows"]] == ["im2col", "torch", "torch"]
        assert {row["layout"] for row in theirs} == {"NCHW", "channels_last"} and sorted(row["better"] for row in theirs) == [False, True]
        assert min(theirs, key=lambda row: row["seconds"])["better"] and all(row["error"] < 1e-5 for row in theirs)
        low, middle, high = mine["ratio"]
        assert 0 < low <= middle <= high
        assert report["totals"]["torch"]["all"] == 2 * next(row["seconds"] for row in theirs if row["better"])

    def test_threads_and_precision_are_stated_and_equal(self, torch):
        torch.set_num_threads(7)
        report = bench.measure([TINY], rounds=1, against="torch", passes=["forward"], algorithms=["im2col"])
        assert report["torch"]["threads"] == report["settings"]["threads"] == torch.get_num_threads()
        text = torch_side.headline(report["torch"])
        assert torch.__version__ in text and f"{report['torch']['threads']} threads" in text and "float32 matmul precision highest" in text

    def test_half(self):
        report = bench.measure([TINY], rounds=1, against="torch", passes=["grad_weight"], algorithms=["im2col"], dtype="float16")
        assert all(np.isfinite(row["error"]) and row["error"] < 5e-3 for row in report["rows"])


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'scratchvgg\[torch\]'"):
        bench.measure([TINY], against="torch")
