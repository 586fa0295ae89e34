"""The sections of the report. Each is a function ``run(kept, keep, args)``: ``kept`` holds what is known (``kept["facts"]``), ``keep(name=value)``
adds to it on disk, at once. What is wrong goes into the list ``wrong``."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import scratchvgg as sv
from scratchvgg.array import Device, get_backend
from scratchvgg.bench import machine
from scratchvgg.bench.cuda_timing import time_calls
from scratchvgg.cuda import registry

NOMINAL_FP32 = 67e12  # FLOP/s of an H100 SXM or H200 outside the tensor cores, NVIDIA's data sheet
SUFFIXES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "tf32": "tf32"}


@dataclass(frozen=True)
class Section:
    """What it does, the seconds it may take, and those without which it is not begun."""

    run: Callable
    what: str
    limit: int
    least: int = 10


def backend():
    """The GPU's."""
    return get_backend(Device("cuda"))


def torch_gpu(args):
    """PyTorch with its fastest settings that keep float32 float32, or None where it sees no GPU."""
    try:
        import torch
    except ImportError:
        return None
    if args.rehearse or not torch.cuda.is_available():
        return None
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch


# ---- what machine this is ------------------------------------------------------------------------------------------------


def facts(kept, keep, args):
    """GPU, driver, clocks, versions, commit; copy and matrix product rates, measured here."""
    about = sv.cuda.get_device_properties(0)
    versions = {}
    for package in ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "nvidia-cudnn-cu13", "nvidia-cuda-nvrtc"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    keep(name=about.name, memory=about.total_memory, processors=about.multi_processor_count, capability=f"{about.major}.{about.minor}",
         python=sys.version.split()[0], versions=versions, commit=machine.commit(), smi=_smi())
    gpu, mib = backend(), 1 << 20
    source, target = (gpu.zeros(((1 if args.rehearse else 2048) * mib,), "uint8") for _ in range(2))

    def copy():
        target[...] = source

    keep(copy_rate=2 * source.nbytes / time_calls(gpu, {"copy": copy}, flush=0)["copy"].median)
    torch = torch_gpu(args)
    if torch is None:
        return
    peaks = {}
    for name, dtype, tf32 in (("bfloat16", "bfloat16", False), ("float16", "float16", False), ("tf32", "float32", True), ("float32", "float32", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, dtype)) for _ in range(2))
        peaks[name] = 2 * 8192**3 / time_calls(gpu, {name: lambda a=a, b=b: a @ b}, seconds=0.5, flush=0)[name].median
        keep(gemm_rates=peaks)


def _smi():
    if not shutil.which("nvidia-smi"):
        return None
    fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,persistence_mode"
    asked = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True)
    return dict(zip(fields.split(","), (v.strip() for v in asked.stdout.split("\n")[0].split(",")), strict=False))


# ---- right? ----------------------------------------------------------------------------------------------------------------


def kernels(kept, keep, args):
    """Every example of every kernel: NumPy's numbers, the emulator's, and the same bits twice."""
    emulator = get_backend(Device("emulator")) if shutil.which("g++") else None
    rows, wrong, done = kept.get("rows", []), kept.get("wrong", []), kept.get("done", [])
    names = [n for n in (("relu", "dropout") if args.rehearse else registry.with_examples()) if n not in done]
    for name in names:
        keep(running=name)
        twins = registry.examples(emulator, "small", name) if emulator else None
        for _, example in registry.examples(backend(), "small", name):
            got, again = _host(backend(), example.run()), _host(backend(), example.run())
            theirs = _host(emulator, next(twins)[1].run()) if emulator else {}
            expected = example.expected()
            row = {"kernel": name, "example": example.title, "tolerance": example.tolerance,
                   "error": max(_distance(got[k], v) for k, v in expected.items()), "deterministic": all(_same(got[k], again[k]) for k in got),
                   "bits_of_the_emulator": all(_same(got[k], theirs[k]) for k in theirs) if theirs else None,
                   "distance_to_the_emulator": max((_distance(got[k], theirs[k]) for k in theirs), default=None)}
            rows.append(row)
            if not row["error"] <= example.tolerance or not row["deterministic"]:
                wrong.append(f"{name}, {example.title}: error {row['error']:.1e} (allowed {example.tolerance:.1e}), deterministic {row['deterministic']}")
        done.append(name)
        keep(rows=rows, wrong=wrong, done=done, running=None)


def _host(device, results):
    return {name: np.asarray(device.to_numpy(array)) for name, array in results.items()}


def _distance(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.sqrt(np.mean((a - b) ** 2)) / (np.sqrt(np.mean(b**2)) or 1.0))


def _same(a, b):
    return a.tobytes() == b.tobytes()


def tests(kept, keep, args):
    """The tests marked gpu."""
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "junit.xml"
        where = ["tests/test_harness.py"] if args.rehearse else ["tests"]
        command = [sys.executable, "-m", "pytest", *where, "-q", "-p", "no:cacheprovider", f"--junitxml={xml}", *([] if args.rehearse else ["-m", "gpu"])]
        ran = subprocess.run(command, capture_output=True, text=True)
        keep(last_line=ran.stdout.strip().rpartition("\n")[2])
        suite = ElementTree.parse(xml).getroot().find("testsuite")
        bad = [f"{case.get('classname')}::{case.get('name')}: {node.get('message', '')[:300]}" for case in suite.iter("testcase")
               for node in case if node.tag in ("failure", "error")]
        keep(**{key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}, wrong=bad)


# ---- fast? -----------------------------------------------------------------------------------------------------------------


def floor(kept, example) -> float:
    """Seconds that the example takes at least: its bytes at the measured copy rate, its operations at the measured matrix product rate."""
    about, kind = kept["facts"], SUFFIXES.get(example.entry.rpartition("_")[2], "float32")
    rates = about.get("gemm_rates") or {}
    rate = rates.get(kind, NOMINAL_FP32) if "tensor_core" in example.entry else NOMINAL_FP32
    return max(example.bytes / about["copy_rate"], example.operations / rate)


def timings(kept, keep, args):
    """Every kernel at VGG's sizes against its floor."""
    rows, done = kept.get("rows", []), kept.get("done", [])
    size, names = ("small", ("relu",)) if args.rehearse else ("large", registry.with_examples())
    for name in (n for n in names if n not in done):
        keep(running=name)
        for _, example in registry.examples(backend(), size, name):
            timing = time_calls(backend(), {"ours": example.run}, 0.05)["ours"].summary()
            least = floor(kept, example)
            rows.append({"kernel": name, "example": example.title, "entry": example.entry, "bytes": example.bytes, "operations": example.operations,
                         "floor": least, "share": least / timing["seconds"] if timing["seconds"] > 0 else None, **timing})
        done.append(name)
        keep(rows=rows, done=done, running=None)


def sanitizer(kept, keep, args):
    """compute-sanitizer over every example, and over a control that it must catch."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        keep(note="compute-sanitizer is not on the PATH")
        return
    found = {}
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        said = subprocess.run([tool, "--tool", check, sys.executable, "-m", "benchmarks.gpu_report.drive"], capture_output=True, text=True)
        found[check] = (re.findall(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): .*", said.stdout) or [said.stdout[-500:] + said.stderr[-500:]])[-1]
        keep(summaries=found, wrong=[f"{k}: {v}" for k, v in found.items() if not re.search(r"\b0 (errors|hazards)", v)])
    said = subprocess.run([tool, "--tool", "memcheck", sys.executable, "-m", "benchmarks.gpu_report.drive", "--broken"], capture_output=True, text=True)
    caught = "Invalid __global__ write" in said.stdout
    keep(control="caught" if caught else said.stdout[-500:], wrong=[*kept.get("wrong", []), *([] if caught else ["the broken control was not caught"])])


def cifar(kept, keep, args):
    """A training run, its step a CUDA graph."""
    root = args.cifar or os.environ.get("SCRATCHVGG_CIFAR10")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        recipe = ["--recipe", "small", "--data", "cifar10", "--root", root] if root else ["--recipe", "sample"]
        command = [sys.executable, "-m", "scratchvgg", "train", *recipe, "--device", "cuda", "--cuda-graph", "--plain", "--no-plot", "--out", str(out)]
        if args.rehearse:
            command = [*command[:4], "--recipe", "tiny", "--epochs", "1", "--plain", "--out", str(out)]
        ran = subprocess.run(command, capture_output=True, text=True)
        keep(command=" ".join(command[2:]), output=(ran.stdout + ran.stderr)[-3000:], wrong=[] if ran.returncode == 0 else [f"exit status {ran.returncode}"])
        if (out / "metrics.jsonl").exists():
            from scratchvgg.train.metrics import read

            keep(epochs=read(out / "metrics.jsonl", "epoch"))


from .against_torch import convolutions, nets  # noqa: E402 - they use the helpers above

SECTIONS = {
    "facts": Section(facts, "what machine this is, and its rates", 60),
    "kernels": Section(kernels, "every kernel on its examples, beside NumPy and the emulator", 120),
    "tests": Section(tests, "all tests marked gpu", 150, 30),
    "timings": Section(timings, "every kernel at VGG's sizes against its floor", 90),
    "convolutions": Section(convolutions, "VGG-16's layers, each pass and precision, against cuDNN", 120, 20),
    "nets": Section(nets, "VGG-16, inference and training, against PyTorch", 90, 20),
    "cifar": Section(cifar, "a training run on CIFAR-10, the step a CUDA graph", 120, 40),
    "sanitizer": Section(sanitizer, "compute-sanitizer: memcheck, racecheck, initcheck, synccheck", 200, 40),
}
