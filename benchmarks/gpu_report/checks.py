"""Sections that ask: what machine is this, and is everything right? Each is a function ``run(kept, keep, args)``: ``kept`` holds what is known
(``kept["facts"]``), ``keep(name=value)`` adds to it on disk, at once. What is found wrong goes into the list ``wrong``."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import scratchvgg as sv
from scratchvgg.array import Device, get_backend, parallel_for
from scratchvgg.bench import machine
from scratchvgg.cuda import registry

from .child import each, watch
from .common import ask_smi, backend, clock, torch_gpu

PACKAGES = "numpy", "ml-dtypes", "cupy-cuda13x", "cupy-cuda12x", "torch", "nvidia-cuda-nvrtc", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"
TOOLS = "memcheck", "racecheck", "initcheck", "synccheck"


def facts(kept, keep, args):
    """GPU, driver, versions, commit; copy and matrix product rates, measured here."""
    from scratchvgg.cuda.libcuda import driver_version

    about, versions = sv.cuda.get_device_properties(0), {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    keep(name=about.name, memory=about.total_memory, processors=about.multi_processor_count, capability=f"{about.major}.{about.minor}",
         python=sys.version.split()[0], cores=len(os.sched_getaffinity(0)), versions=versions, cuda_of_driver=driver_version(),
         nvrtc=_nvrtc_version(), smi=ask_smi("driver_version", "persistence_mode", "ecc.mode.current", "mig.mode.current"), commit=machine.commit())
    keep(copy_rate=_copy_rate(args))
    torch, rates = torch_gpu(args), {}
    if torch is None:
        keep(note="PyTorch is not installed or sees no GPU: floors of the tensor cores are not known")
        return
    keep(torch=torch.__version__, cuda_of_torch=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    for name, dtype in (("bfloat16", "bfloat16"), ("float16", "float16"), ("tf32", "float32"), ("float32", "float32")):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, dtype)) for _ in range(2))
        rates[name] = 2 * 8192**3 / clock(args, {name: functools.partial(torch.matmul, a, b)}, 0.5, flush=0)[name].median
        keep(gemm_rates=rates)


def _copy_rate(args):
    """Bytes read and written in a second."""
    source, target = (backend().zeros((1 << (14 if args.rehearse else 31),), "uint8") for _ in range(2))

    def copy():
        target[...] = source

    return 2 * source.nbytes / clock(args, {"copy": copy}, flush=0)["copy"].median


def _nvrtc_version():
    from scratchvgg.cuda.nvrtc import load_nvrtc

    try:
        return load_nvrtc().version
    except ImportError as error:
        return str(error)


def build(kept, keep, args):
    """All kernel files, by NVRTC for this GPU and by g++ for the emulator, on all cores: later sections find them on disk."""
    from scratchvgg.cuda import catalog, compile, emulator
    from scratchvgg.cuda.emulator.build import library_folder

    files = [file.file for name, file in registry.kernel_files().items() if not args.rehearse or name == "relu"]
    begun, (major, minor) = time.monotonic(), sv.cuda.get_device_capability(0)
    wrong = []
    try:
        batch = catalog.compile_files(files, f"sm_{major}{minor}", lambda done, total: keep(nvrtc_files=f"{done} of {total}"))
        wrong = [f"{file.name}: {str(error)[:600]}" for file, error in batch.failed.items()]
        spills = sorted(entry for c in batch.compiled for entry, r in c.resources.items() if r.spills and registry.describe(c.file).is_hot(entry))
        keep(left_out={file.name: str(error) for file, error in batch.left_out.items()}, were_cached=sum(c.cached for c in batch.compiled),
             hot_entries_that_spill=spills)
    except ImportError as error:
        wrong = [str(error)]
    keep(nvrtc_seconds=time.monotonic() - begun, wrong=wrong, cubins_bytes=_bytes_in(compile.cubin_folder()))
    begun, failures = time.monotonic(), {}
    if not shutil.which("g++"):
        keep(emulator="no g++ here: hardware is compared with NumPy only")
        return

    def load(file):
        try:
            emulator.load(file)
        except Exception as error:
            failures[file.name] = str(error)[:300]

    parallel_for(load, files)
    keep(emulator=f"{len(files) - len(failures)} of {len(files)} files", emulator_failures=failures, emulator_seconds=time.monotonic() - begun,
         emulator_bytes=_bytes_in(library_folder()))


def _bytes_in(folder):
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())


def examples_of(kept, names, size, work):
    """Cases for :func:`each`: every example of the kernels; one whose arrays cannot be made is a case that fails."""
    for name in names:
        place, found = 0, iter(())
        try:
            found = registry.examples(backend(), size, name)
            for place, (_, example) in enumerate(found):
                yield f"{name} {place}", f"{name}, {example.title}", functools.partial(work, name, place, example)
        except Exception as error:
            yield f"{name} {place} and after", f"{name}, making the example after number {place}", functools.partial(_fail, error)


def _fail(error):
    raise error


def kernels(kept, keep, args):
    """Every small example of every kernel: NumPy's numbers, the same bits twice, and, for two thirds of the time, the emulator's numbers."""
    emulator, theirs = get_backend(Device("emulator")) if shutil.which("g++") else None, {}
    until = kept["begun"] + kept["limit"] * 2 / 3

    def check(name, place, example):
        got, again, expected = _host(backend(), example.run()), _host(backend(), example.run()), example.expected()
        row = {"kernel": name, "example": example.title, "tolerance": example.tolerance,
               "error": max(distance(got[k], v) for k, v in expected.items()),
               "deterministic": all(got[k].tobytes() == again[k].tobytes() for k in got), "bits_of_the_emulator": None, "from_the_emulator": None}
        wrong = list(kept.get("wrong", []))
        if not row["error"] <= example.tolerance or not row["deterministic"]:
            wrong.append(f"{name}, {example.title}: error {row['error']:.1e} (allowed {example.tolerance:.1e}), deterministic {row['deterministic']}")
        keep(rows=[*kept.get("rows", []), row], wrong=wrong)
        if emulator and time.time() < until:
            if name not in theirs:
                theirs.clear()
                theirs[name] = [case for _, case in registry.examples(emulator, "small", name)]
            other = _host(emulator, theirs[name][place].run())
            row["bits_of_the_emulator"] = all(got[k].tobytes() == other[k].tobytes() for k in other)
            row["from_the_emulator"] = max(distance(got[k], other[k]) for k in other)

    each(kept, keep, examples_of(kept, ("relu",) if args.rehearse else registry.with_examples(), "small", check))


def _host(device, results):
    return {name: np.asarray(device.to_numpy(array)) for name, array in results.items()}


def distance(a, b) -> float:
    """RMS of the difference, relative to the RMS of ``b``."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.sqrt(np.mean((a - b) ** 2)) / (np.sqrt(np.mean(b**2)) or 1.0)) if b.size else 0.0


def tests(kept, keep, args):
    """The tests marked gpu."""
    run_tests(kept, keep, ["tests/cuda/test_sources.py"] if args.rehearse else ["tests", "-m", "gpu"])


def run_tests(kept, keep, which):
    """pytest. A test that loses the GPU ends its process; another goes on behind it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "outcomes.jsonl"
        log.touch()
        command = [sys.executable, "-m", "pytest", *which, "-q", "-p", "no:cacheprovider", "-p", "benchmarks.gpu_report.outcomes", "--tb=short"]

        def look():
            lines = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.endswith("}")]
            outcomes = {line["test"]: line for line in lines}  # the last one of a test counts
            said = {kind: [o for o in outcomes.values() if o["outcome"] == kind] for kind in ("passed", "failed", "skipped", "begun")}
            keep(**{kind: len(tests) for kind, tests in said.items()},
                 wrong=[f"{o['test']}: {o.get('why') or 'it ended the process'}" for o in (*said["failed"], *(said["begun"] if finished else ()))])
            return len(outcomes)

        finished, known, code = False, -1, 0
        while len(log.read_text("utf-8").splitlines()) > known and not finished:
            known = len(log.read_text("utf-8").splitlines())
            code, said = watch(command, look, 600, env={**os.environ, "SCRATCHVGG_OUTCOMES": str(log)})
            finished = code in (0, 1, 2, 3, 4, 5)  # pytest's own
        finished = True
        look()
        keep(last_line=said.strip().rpartition("\n")[2])
        if code not in (0, 1, 5):  # 5: nothing was left to run
            keep(wrong=[*kept["wrong"], f"pytest ended with exit status {code}"])


def sanitizer(kept, keep, args):
    """compute-sanitizer over an example of each entry, and over a control that it must catch."""
    tool = _sanitizer()
    if tool is None:
        keep(note="not measured: compute-sanitizer is not on this machine")
        return
    drive, left = [sys.executable, "-m", "benchmarks.gpu_report.drive"], kept["begun"] + kept["limit"] - time.time() - 5
    said = watch([tool, "--tool", "memcheck", *drive, "--broken"], lambda: None, min(60, left))[1]
    caught = "Invalid __global__ write" in said
    keep(control="caught" if caught else "NOT caught", wrong=[] if caught else [f"the broken control was not caught: {said[-300:]}"])
    found = {}
    for place, check in enumerate(TOOLS):
        left = kept["begun"] + kept["limit"] - time.time() - 5
        code, said = watch([tool, "--tool", check, "--print-limit", "20", *drive], lambda: None, left / (len(TOOLS) - place))
        ran = len(re.findall(r"^example: ", said, re.MULTILINE))
        summary = (re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", said) or [f"no summary: {said[-300:]}" if code is not None else "no summary"])[-1]
        found[check] = f"{summary}; {ran} examples" + ("" if code is not None else ", then its time was over")
        wrong = list(kept["wrong"])
        if code is not None and not clean(summary):
            wrong.append(f"{check}: {summary}; " + " | ".join(re.findall(r"^========= (?!COMPUTE|ERROR|RACECHECK).*", said, re.MULTILINE)[:6]))
        keep(summaries=found, wrong=wrong)


def clean(summary: str) -> bool:
    """Whether a summary line of the sanitizer says that there was nothing, no warnings either."""
    return bool(re.match(r"(ERROR|RACECHECK) SUMMARY: 0 (errors|hazards)", summary))


def _sanitizer():
    nvidia = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in nvidia.submodule_search_locations] if nvidia else []
    found = [shutil.which("compute-sanitizer"), shutil.which("/usr/local/cuda/bin/compute-sanitizer"),
             *(str(p) for folder in folders for p in folder.glob("*/compute-sanitizer/compute-sanitizer"))]
    return next(filter(None, found), None)
