"""The bench on devices: errors on the emulator; on the pretended GPU every line of the measurement, PyTorch's CPU playing cuDNN."""

import json
import math

import numpy as np
import pytest

from scratchvgg import cli, conv
from scratchvgg.bench import cuda_timing, device_conv, gpu_sides
from scratchvgg.bench.problems import Layer, parse_problem
from tests.cuda.rehearsal.arrays import DeviceArray
from tests.cuda.rehearsal.stage import rehearsal

LAYER = Layer("a", parse_problem("1,3,6,5,4,3,3,1,1"))


@pytest.fixture
def gpu(monkeypatch):
    """A pretended GPU, small enough to be quick."""
    monkeypatch.setattr(gpu_sides, "COPIED", 1 << 12)
    monkeypatch.setattr(gpu_sides, "SQUARE", 8)
    monkeypatch.setattr(device_conv, "FLUSH", 1 << 12)
    monkeypatch.setattr(cuda_timing, "WARM_UP", 1)
    with rehearsal():
        yield


@pytest.fixture
def torch_there(monkeypatch, torch):
    """PyTorch, its CPU in the place of a GPU and of cuDNN, on the same memory."""
    def randn(*shape, device, dtype):
        return torch.ones(*shape, dtype=dtype)

    class Torch:
        def __getattr__(self, name):
            return getattr(torch, name)

    here = Torch()
    here.randn = randn
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(gpu_sides, "torch_gpu", lambda: here)
    monkeypatch.setattr(gpu_sides, "share", lambda _, backend, array: torch.from_numpy(array.held if isinstance(array, DeviceArray) else array))
    yield here
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_on_the_emulator_errors_and_no_times():
    report = device_conv.measure([LAYER], device="emulator")
    assert {row["algorithm"] for row in report["rows"]} == {"direct", "im2col", "implicit_gemm"}
    assert {row["pass"] for row in report["rows"]} == set(conv.PASSES)
    assert all(0 <= row["error"] <= row["bound"] and "seconds" not in row for row in report["rows"])
    cells, headers = device_conv.table_rows(report["rows"], against=False, timed=False)
    assert headers == ["algorithm", "error", "bound", "rms error"] and all(len(line) == 4 for line in cells)


@pytest.mark.parametrize(("precision", "names"), [("tf32", {"tensor_core_tf32"}), ("bfloat16", {"im2col", "implicit_gemm", "tensor_core"})])
def test_algorithms_of_a_precision(precision, names):
    problem = parse_problem("1,16,6,6,16,3,3,1,1")
    assert set(device_conv.candidates(problem, precision)) == names
    report = device_conv.measure([Layer("b", problem)], device="emulator", passes=["forward"], precision=precision)
    assert {row["algorithm"] for row in report["rows"]} >= names and all(row["error"] <= row["bound"] for row in report["rows"])


def test_on_a_gpu_times_beside_errors(gpu, torch_there):
    report = device_conv.measure([LAYER], rounds=3, against=True)
    theirs = [row for row in report["rows"] if row["algorithm"] == "torch"]
    assert [row["pass"] for row in theirs] == list(conv.PASSES) and all(row["error"] < 1e-6 for row in theirs)
    for row in report["rows"]:
        assert row["seconds"] > 0 and row["rounds"] == 3 and math.isclose(row["share"], row["floor"] / row["seconds"])
        assert ("ratio" in row) == (row["algorithm"] != "torch") and row["error"] <= row.get("bound", 1e-5)
    assert report["torch"]["precision"] == "float32" and report["torch"]["allow_tf32"] is False and report["torch"]["benchmark"] is True
    assert set(report["totals"]) >= {"chosen", "fastest", "torch", "implicit_gemm"}


def test_tf32_is_on_for_both_sides_or_none(gpu, torch_there):
    from scratchvgg.cuda.precision import backends

    seen = []
    layer = Layer("b", parse_problem("1,16,6,6,16,3,3,1,1"))
    report = device_conv.measure([layer], rounds=1, against=True, precision="tf32", passes=["forward"],
                                 on_block=lambda *args: seen.append((backends.cudnn.allow_tf32, torch_there.backends.cudnn.allow_tf32)))
    assert seen == [(True, True)] and not backends.cudnn.allow_tf32 and report["torch"]["allow_tf32"] is True
    device_conv.measure([layer], rounds=1, against=True, passes=["forward"], algorithms=["implicit_gemm"],
                        on_block=lambda *args: seen.append((backends.cudnn.allow_tf32, torch_there.backends.cudnn.allow_tf32)))
    assert seen[1] == (False, False)


def test_the_floor_is_the_slower_of_memory_and_arithmetic():
    g = parse_problem("1,1,4,4,1,1,1")  # 16 + 1 + 16 numbers, 16 products
    assert math.isclose(device_conv.floor(g, "float32", {"copy_rate": 1.0, "gemm_rate": 1e9}), 4 * 33)
    assert math.isclose(device_conv.floor(g, "float16", {"copy_rate": 1e9, "gemm_rate": 2.0}), 16)
    assert math.isclose(device_conv.floor(g, "float16", {"copy_rate": 1.0, "gemm_rate": None}), 2 * 33)


def test_an_algorithm_that_raises_does_not_end_the_run(monkeypatch):
    monkeypatch.setattr(conv.algorithms(kernels=True)["im2col"], "forward", lambda *args: 1 / 0, raising=False)
    rows = device_conv.measure([LAYER], device="emulator", passes=["forward"])["rows"]
    assert [row["algorithm"] for row in rows if "failed" in row] == ["im2col"] and len(rows) == 3


def call(capsys, *args):
    """(status, stdout, stderr)."""
    status = cli.main(["bench", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_command_on_the_emulator(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, "conv", "--device", "emulator", "--problem", "1,3,5,5,2,3,3,1,1", "--json", "r.json")
    assert (status, err) == (0, "") and "Not timed" in out and "time ms" not in out and "implicit_gemm" in out and "bound" in out
    assert json.loads((tmp_path / "r.json").read_text())["settings"]["device"] == "emulator:0" and [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_command_on_a_gpu(capsys, tmp_path, gpu, torch_there):
    words = "--problem", "1,3,5,5,2,3,3,1,1", "--seconds", "1e-9", "--out", tmp_path / "o"
    status, out, err = call(capsys, "conv", "--device", "cuda", "--against", "cudnn", *words)
    assert (status, err) == (0, ""), out
    for text in ("cuDNN", "floor %", "TFLOP/s", "ours: float32, TF32 off", "theirs: PyTorch", "copy ", "all layers"):
        assert text in out, text
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["report.json", "rows.csv"]


@pytest.mark.parametrize(("words", "message"), [
    (["conv", "--device", "emulator", "--against", "torch"], "not on the emulator"),
    (["conv", "--device", "tpu"], "expected one of"),
    (["conv", "--device", "emulator", "--algorithm", "winograd"], "no algorithm 'winograd'"),
    (["conv", "--kernel", "my.cu"], "got cpu"),
    (["conv", "--dtype", "bfloat16"], "on a GPU"),
    (["conv", "--against", "cudnn"], "--device cuda"),
    (["conv", "--device", "emulator", "--kernel", "absent.cu"], "no such file"),
    (["model", "--device", "emulator"], "mean nothing"),
    (["model", "--dtype", "bfloat16"], "on a GPU"),
])
def test_bad_input_is_one_line(capsys, words, message):
    status, out, err = call(capsys, *words)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("what", ["conv", "model"])
def test_without_a_gpu_one_message(capsys, monkeypatch, what):
    from scratchvgg.array.backend import forget_backends
    from scratchvgg.cuda import driver

    monkeypatch.setattr(driver, "probe", lambda: driver.Probe(None, 0, "CuPy is not installed"))
    forget_backends("cuda")
    status, out, err = call(capsys, what, "--device", "cuda", "--against", "torch")
    assert (status, out) == (2, "") and "'cuda:0' is not available" in err and err.count("\n") == 1


def test_numbers_of_torch_reach_the_host(torch):
    assert gpu_sides.to_host(torch, torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
    assert gpu_sides.to_host(torch, torch.ones(2, dtype=torch.float64)).dtype == np.float64
