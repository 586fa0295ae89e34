"""The report of everything that needs a GPU, on machines without one: its arithmetic, its files, sections that go wrong, and a rehearsal."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import scratchvgg as sv
from benchmarks.gpu_report import __main__ as command
from benchmarks.gpu_report import against_torch, checks, child, common, drive, goals, operations
from benchmarks.gpu_report.render import markdown, number
from benchmarks.gpu_report.sections import SECTIONS
from scratchvgg import conv
from scratchvgg.array import Device, get_backend
from scratchvgg.bench import device_model, gpu_sides, torch_side
from scratchvgg.bench.cuda_timing import time_calls
from scratchvgg.bench.model import Row
from scratchvgg.bench.problems import build_net
from scratchvgg.cuda import driver
from tests.cuda.rehearsal.stage import rehearsal

from .fake_report import MODULE, report


def read(folder):
    """Both files; the JSON one strictly."""
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads((folder / "report.json").read_text("utf-8"), parse_constant=refuse), (folder / "report.md").read_text("utf-8")


# ---- without a GPU ---------------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_why(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe(None, 0, "CuPy is not installed"))
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0 and command.main(["--strict"]) == 1
    assert capsys.readouterr().out == "not measured on a GPU: CuPy is not installed\n" * 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        command.main(["--rehearse"])
    assert "--out" in capsys.readouterr().err


def test_a_rehearsal_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert command.main(["--rehearse", "--out", str(tmp_path)]) == 0
    results, text = read(tmp_path)
    sections = results["sections"]
    assert list(sections) == list(SECTIONS) and {s["status"] for s in sections.values()} == {"ok"}
    assert "**rehearsal on the emulator, not a measurement**" in text and "nan" not in text.lower().replace("nanosecond", "")
    assert [row.split(" | ")[1:] for row in text.splitlines() if row.startswith("| ") and row.endswith("– |")][:4] == [["not measured", "– |"]] * 4

    assert sections["facts"]["name"] == "A pretended GPU" and sections["facts"]["copy_rate"] is None
    assert sections["build"]["wrong"] == [] and sections["build"]["nvrtc_files"] == "1 of 1"
    assert all(r["bits_of_the_emulator"] and r["deterministic"] for r in sections["kernels"]["rows"]) and len(sections["kernels"]["rows"]) > 10
    assert sections["tests"]["passed"] == 4 and sections["tests"]["failed"] == 0
    assert len(sections["convolutions"]["rows"]) == 4 * 3 and len(sections["nets"]["rows"]) == 4
    assert len(sections["operations"]["rows"]) == 2 * 2 * len(operations.OPERATIONS)
    assert len(sections["cifar"]["epochs"]) == 1 and "images_per_second" not in sections["cifar"]["epochs"][0]
    times = [r["seconds"] for name in ("timings", "convolutions") for r in sections[name]["rows"]]
    times += [t["seconds"] for name in ("nets", "operations") for r in sections[name]["rows"] for t in r["times"].values()]
    assert times and set(times) == {None}, "a time of a rehearsal could be taken for a measurement"


# ---- sections that go wrong ----------------------------------------------------------------------------------------------------


def test_the_others_run_when_one_fails_hangs_or_is_too_late(tmp_path, capsys):
    sections = {name: SimpleNamespace(what="", limit=6 if name == "hangs" else 60, least=1000 if name == "late" else 1)
                for name in ("raises", "hangs", "chatty", "late", "fine")}
    status, _ = report(tmp_path, list(sections), sections=sections)
    results, text = read(tmp_path)
    assert status == 1
    assert {name: s["status"] for name, s in results["sections"].items()} == {
        "raises": "failed", "hangs": "cut", "chatty": "ok", "late": "skipped", "fine": "ok"}
    assert "ValueError: no such thing" in results["sections"]["raises"]["error"] and results["sections"]["raises"]["rows"] == ["before"]
    assert results["sections"]["hangs"]["rows"] == ["before"] and 5 < results["sections"]["hangs"]["seconds"] < 30
    assert "it wants 1000 s" in results["sections"]["late"]["why"] and results["sections"]["fine"]["rows"] == [1, 2]
    assert text in capsys.readouterr().out


def test_a_lost_gpu_is_started_again_behind_the_culprit(tmp_path):
    status, results = report(tmp_path, ["culprit"])
    section = results["sections"]["culprit"]
    assert status == 1 and section["rows"] == [0, 2, 5] and section["status"] == "ok" and section["running"] is None
    assert [w.split(":")[0] for w in section["wrong"]] == ["the case 1", "the case 3", "the case 4"]
    assert "cudaErrorIllegalAddress" in section["wrong"][2]


@pytest.mark.parametrize(("error", "again"), [
    (("CUDARuntimeError", "cudaErrorIllegalAddress: an illegal memory access"), True), (("CUDADriverError", "CUDA_ERROR_LAUNCH_FAILED"), True),
    (("CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory"), False), (("ValueError", "cudaErrorIllegalAddress"), False),
])
def test_which_errors_lose_the_gpu(error, again):
    assert child.lost(type(error[0], (Exception,), {})(error[1])) is again


def _gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle(tmp_path, number):
    """What there was is on disk, and nothing that was started lives on."""
    started = [sys.executable, "-m", MODULE, str(tmp_path), "fine", "spawns", "fine"]
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end, pid = time.monotonic() + 60, None
    while pid is None and time.monotonic() < end:
        time.sleep(0.2)
        if (tmp_path / "report.md").exists():  # written after report.json
            pid = read(tmp_path)[0]["sections"].get("spawns", {}).get("pid")
    assert pid is not None and not _gone(pid)
    os.kill(process.pid, number)
    status = process.wait(30)
    while not _gone(pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert _gone(pid)
    results, text = read(tmp_path)
    assert results["sections"]["fine"]["rows"] == [1, 2] and results["sections"]["spawns"]["status"] == "cut"
    if number == signal.SIGTERM:
        assert status == 128 + signal.SIGTERM and results["stopped"] == "ended by SIGTERM" and "ended by SIGTERM" in text


TESTS = """
import os
import pytest

def test_fine(): pass
def test_wrong(): assert 1 == 2
def test_culprit(): raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
def test_behind_it(): pass
def test_that_dies(): os.kill(os.getpid(), 11)
@pytest.mark.skip
def test_skipped(): pass
def test_last(): pass
"""


def test_tests_go_on_behind_one_that_loses_the_gpu(tmp_path):
    (tmp_path / "test_things.py").write_text(TESTS)
    kept = {}
    checks.run_tests(kept, lambda **values: kept.update(values), [str(tmp_path / "test_things.py"), f"--rootdir={tmp_path}"])
    assert {key: kept[key] for key in ("passed", "failed", "skipped", "begun")} == {"passed": 3, "failed": 2, "skipped": 1, "begun": 1}
    assert [line.partition(":: ")[0].split("::")[1].split(":")[0] for line in kept["wrong"]] == ["test_wrong", "test_culprit", "test_that_dies"]
    assert "1 == 2" in kept["wrong"][0] and kept["wrong"][2].endswith("it ended the process")


def test_the_sanitizer_watches_an_example_of_each_entry(monkeypatch, capfd):
    emulator, registry = get_backend(Device("emulator")), drive.registry
    examples = 2 * [case for name in ("relu", "ema") for case in registry.examples(emulator, "small", name)]
    monkeypatch.setattr(registry, "examples", lambda backend: iter(examples))
    entries = {example.entry for _, example in examples}
    assert drive.drive(emulator) == len(entries) > 4
    assert capfd.readouterr().out.count("example: ") == len(entries) < len(examples)


# ---- arithmetic ------------------------------------------------------------------------------------------------------------------


FACTS = {"copy_rate": 4e12, "gemm_rates": {"bfloat16": 800e12, "tf32": 400e12, "float32": 50e12}}


@pytest.mark.parametrize(("work", "expected"), [
    ((4e9, 1e9, "float32", False), (1e-3, "memory")), ((4e3, 67e9, "float32", False), (1e-3, "arithmetic")),
    ((4e3, 67e9, "float64", False), (2e-3, "arithmetic")), ((4e3, 800e9, "bfloat16", True), (1e-3, "arithmetic")),
    ((4e3, 400e9, "tf32", True), (1e-3, "arithmetic")), ((4e9, 0, "float16", True), (1e-3, "memory")), ((4e3, 1e9, "float16", True), (None, None)),
])
def test_floors(work, expected):
    seconds, bound = common.seconds_at_least(FACTS, *work)
    assert bound == expected[1] and seconds == (None if expected[0] is None else pytest.approx(expected[0]))
    assert common.seconds_at_least({}, *work) == (None, None)


def test_distances():
    assert checks.distance([1.0, 2.0], [1.0, 2.0]) == 0 and checks.distance([0.0, 3.0], [0.0, 2.0]) == pytest.approx(0.5)
    assert checks.distance([0.5], [0.0]) == 0.5 and checks.distance([], []) == 0
    assert math.isnan(checks.distance([math.nan], [1.0])), "which no tolerance allows"


@pytest.mark.parametrize(("summary", "expected"), [
    ("ERROR SUMMARY: 0 errors", True), ("ERROR SUMMARY: 3 errors", False), ("RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", True),
    ("RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)", False), ("no summary", False), ("ERROR SUMMARY: 10 errors", False),
])
def test_the_sanitizer_s_summaries(summary, expected):
    assert checks.clean(summary) is expected


def test_the_pretended_events_are_read_as_times():
    with rehearsal():
        gpu, calls = get_backend(Device("cuda")), {"a": [], "b": []}
        timed = time_calls(gpu, {name: lambda name=name: calls[name].append(1) for name in calls}, rounds=3, flush=1024)
    assert {name: t.n for name, t in timed.items()} == {"a": 3, "b": 3} and min(map(len, calls.values())) >= 6
    with pytest.raises(ValueError, match="at least one side"):
        time_calls(gpu, {})


# ---- PyTorch's side, on the CPU ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", conv.PASSES)
def test_both_sides_of_a_convolution_are_the_same_pass(torch, monkeypatch, which):
    cpu, problem = get_backend(Device("cpu")), replace(against_torch.TINY.problem, N=3)
    monkeypatch.setattr(against_torch, "backend", lambda: cpu)
    mine, theirs = against_torch.operands(torch, cpu, problem, "float32")
    assert mine[0].shape == problem.x_shape and mine[0].transpose(0, 2, 3, 1).flags.c_contiguous, "channels last"
    assert theirs[0].data_ptr() == cpu.address(mine[0]), "the same memory"
    x, w, dy = mine
    sides = {"ours": gpu_sides.our_convolution(cpu, conv.algorithms()["im2col"], problem, which, x, w, None, dy),
             "cudnn": against_torch.torch_call(torch, problem, which, *theirs, "float32")}
    errors = against_torch.errors(torch, problem, which, sides, theirs)
    assert 0 < errors["error"] < 1e-6 and 0 < errors["cudnn_error"] < 1e-6
    wrong = against_torch.errors(torch, problem, which, sides | {"ours": lambda: np.zeros(sides["cudnn"]().shape, np.float32)}, theirs)
    assert wrong["error"] == pytest.approx(1)


@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_both_sides_of_an_operation_compute_the_same(torch, name):
    operation = operations.small(operations.OPERATIONS[name])
    tensors = operations.arrays(operation, "float32", "cpu")
    theirs = [torch.from_dlpack(t) for t in tensors]
    ours, other = (operations.call_of(library, operation, arrays, False)() for library, arrays in ((sv, tensors), (torch, theirs)))
    assert np.allclose(ours.numpy(), other.numpy(), atol=1e-5)
    gradients = [operations.call_of(library, operation, arrays, True)() for library, arrays in ((sv, tensors), (torch, theirs))]
    assert len(gradients[0]) == 1 + len(operation.more)
    assert all(np.allclose(a.numpy(), b.numpy(), atol=1e-4) and np.any(a.numpy()) for a, b in zip(*gradients, strict=True))


def test_both_sides_of_a_step_are_the_same_step(torch):
    net = build_net("small_vgg:widths=[4,'M',8]").train()
    other = torch_side.twin(net, layout="channels_last")
    x, t = sv.randn(4, 3, 8, 8), sv.zeros(4, dtype=sv.int64)
    theirs = torch.from_dlpack(x), torch.from_dlpack(t)
    row = Row("small_vgg:widths=[4,'M',8]", "train", 4, 8)
    before = {name: tensor.detach().numpy().copy() for name, tensor in net.state_dict().items()}
    steps = device_model.our_step(net, row, x, t, "float32"), device_model.torch_step(torch, other, row, *theirs, "float32")
    for step in steps * 2:
        step()
    ours = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    assert all(np.allclose(ours[name], tensor.detach().numpy(), atol=1e-5) for name, tensor in other.state_dict().items())
    assert all(not np.array_equal(ours[name], value) for name, value in before.items() if name.endswith("weight"))
    row = replace(row, mode="inference")
    logits = (device_model.our_step(net.eval(), row, x, t, "float32")(),
              device_model.torch_step(torch, other.eval(), row, *theirs, "float32")())
    assert np.allclose(logits[0].numpy(), logits[1].numpy(), atol=1e-5) and not logits[0].requires_grad


def test_the_widest_layers_come_first_and_no_row_is_forgotten(monkeypatch):
    asked = []
    monkeypatch.setattr(against_torch, "torch_gpu", lambda args: None)
    monkeypatch.setattr(against_torch, "each", lambda kept, keep, cases: asked.extend(key for key, _, _ in cases))
    monkeypatch.setattr(common, "state", lambda: None)
    against_torch.convolutions({}, lambda **values: None, SimpleNamespace(rehearse=False))
    assert len(asked) == len(set(asked)) == 4 * (9 * 3 - 1), "nine layers, three passes, but the first layer's gradient of the image"
    assert all(key.endswith(("float32", "bfloat16")) and key.startswith(("conv3_2", "conv4_1", "conv4_2", "conv5_1")) for key in asked[:24])


# ---- what is read ------------------------------------------------------------------------------------------------------------------


def convolution(layer="conv4_2 ×2", which="forward", precision="float32", tflops=45.0, **more):
    ours = {"seconds": 5e-3, "spread": 0.01, "floor": 3e-3, "bound": "arithmetic", "share": 0.6, "tflops": tflops, "error": 1e-7}
    theirs = {"cudnn": {"seconds": 4e-3}, "ratio": [0.79, 0.8, 0.81], "cudnn_error": 2e-7}
    about = {"layer": layer, "wide": True, "pass": which, "precision": precision, "algorithm": "implicit_gemm", "batch": 64}
    return about | ours | theirs | more


def timing(example, share, **more):
    return {"kernel": "relu", "example": example, "hot": True, "bound": "memory", "floor": 1e-4, "share": share, "seconds": 1e-4 / share,
            "spread": 0.0} | more


def made(**sections):
    filled = {name: {"status": "ok", "seconds": 1.0, **section} for name, section in sections.items()}
    return {"date": "2026-01-01 00:00:00", "seconds": 100.0, "sections": filled}


def test_goals_are_compared_with_what_was_measured():
    rows = [convolution(), convolution(which="grad_weight", tflops=41.0), convolution(precision="bfloat16", tflops=300.0),
            convolution(layer="conv1_2", tflops=1.0, wide=False)]
    timings = [timing("fast", 0.9), timing("slow", 0.5), timing("short", 0.01, floor=1e-6), timing("naive", 0.1, hot=False)]
    summaries = dict.fromkeys(checks.TOOLS, "ERROR SUMMARY: 0 errors; 90 examples")
    found = goals.goals(made(facts={"copy_rate": 4e12}, convolutions={"rows": rows}, timings={"rows": timings},
                             sanitizer={"summaries": summaries, "control": "caught", "wrong": []}))
    assert [verdict for _, _, verdict in found] == ["yes", "no", "no", "yes"]
    assert "61 % to 67 %" in found[0][1] and "conv4_2 ×2 grad_weight (2 of 12 measured)" in found[0][1] and "38 % to 38 %" in found[1][1]
    assert found[2][1] == "1 of 2; median 70 %; worst 50 %: slow" and "4.00 TB/s" in found[2][0]
    cut = goals.goals(made(sanitizer={"summaries": {"memcheck": "no summary; 3 examples, then its time was over"}, "control": "caught", "wrong": []}))
    assert cut[3][2] == "–" and [row[1:] for row in cut[:3]] == [("not measured", "–")] * 3


def test_rendering():
    broken = convolution(tflops=math.nan, seconds=math.nan, share=None, spread=math.nan, ratio=[math.nan] * 3, error=None)
    nets = {"net": "vgg16", "mode": "train", "batch": 64, "size": 224, "precision": "bfloat16",
            "times": {"ours": {"seconds": 0.032}, "torch": {"seconds": 0.016}}, "ratios": {"ours": [0.5, 0.5, 0.5]}}
    convolutions = {"rows": [convolution(), broken], "torch": "2.11.0+cu130", "cudnn": 91300,
                    "clocks": {"before": {"clocks.sm": "1980 MHz"}, "after": None}}
    said = markdown(made(facts={"name": "A GPU", "copy_rate": 4.1e12, "gemm_rates": {"bfloat16": 7.9e14}, "smi": None}, convolutions=convolutions,
                         nets={"rows": [nets], "torch": "2.11.0+cu130"},
                         cifar={"status": "failed", "error": "Traceback", "wrong": ["exit status 1"]}))
    assert "nan" not in said and "None" not in said
    assert "| conv4_2 ×2 | forward | float32 / float32 | implicit_gemm | 5000 | 1 | 45 | 60 | 1.0e-07 | 4000 | 2.0e-07 | 0.80 |" in said
    assert "PyTorch's time / our time: above 1, ours is the faster" in said and "cuDNN/ours" in said and "cuDNN 91300" in said
    assert "| vgg16 | train | 64 | 224 | bfloat16 | ours | 32.00 | 2,000 | 0.50 |" in said and "| torch | 16.00 | 4,000 | – |" in said
    assert "- before: clocks.sm 1980 MHz" in said and "- WRONG: exit status 1" in said and "4.10 TB/s" in said and "790 TFLOP/s" in said


def test_numbers():
    assert [number(v, ".1f", 10) for v in (1.26, None, math.nan, math.inf)] == ["12.6", "–", "–", "–"]


def test_sums_of_limits():
    assert sum(s.least for s in SECTIONS.values()) < command.BUDGET < 9 * 60 and all(s.least <= s.limit for s in SECTIONS.values())
    assert np.all(np.array([s.limit for s in SECTIONS.values()]) <= command.BUDGET)
