"""What this installation can compute on and compile with, where each part is, and what is missing. Nothing is changed, and torch is not imported."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from ..array.machine import processor
from ..weights.folders import cache_folder
from .libcuda import ask_driver
from .nvrtc import load_nvrtc
from .toolkit import INSTALL, PROGRAMS, find_headers, find_program

CACHES = {"cubins": "kernels compiled for GPUs", "emulator": "kernels compiled for the CPU", "conv": "what was measured to choose a convolution",
          "checkpoints": "downloaded weights", "": "all of it, whatever else is there included"}


def devices() -> dict[str, dict]:
    """``cpu``, ``emulator`` and every GPU, each with ``available``, ``what`` it is, and ``why`` it is not available ("" if it is)."""
    memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB" if hasattr(os, "sysconf") else ""
    found = {"cpu": _device(f"{processor()}, {os.cpu_count()} cores{memory}")}
    found["emulator"] = _device("the CUDA kernels on the CPU", _without_emulator())
    driver = ask_driver()
    why = "" if driver.gpus else driver.why
    if driver.gpus:
        why = _without_cupy()
    for index, gpu in enumerate(driver.gpus):
        what = (f"{gpu.name}, sm_{gpu.capability[0]}{gpu.capability[1]}, {gpu.memory / 2**30:.1f} GiB, {gpu.multiprocessors} multiprocessors, "
                f"driver for CUDA {driver.version[0]}.{driver.version[1]}")
        found[f"cuda:{index}"] = _device(what, why)
    if not driver.gpus:
        found["cuda"] = _device("an NVIDIA GPU", f"{why}; device=\"emulator\" runs the same kernels here")
    return found


def compilers() -> dict[str, dict]:
    """g++, NVRTC, CUDA's headers and programs: ``path`` and ``version`` (None if missing), ``where`` it was found, how to ``install`` it."""
    gpp = shutil.which(os.environ.get("CXX") or "g++")
    found = {"g++": _part(gpp, _first_line([gpp, "--version"]) if gpp else None, "PATH", "apt install g++ (the emulator compiles with it)")}
    try:
        nvrtc = load_nvrtc()
        found["NVRTC"] = _part(nvrtc.part.path, "{}.{}".format(*nvrtc.version), nvrtc.part.where, INSTALL["nvrtc"])
    except (ImportError, OSError) as error:
        found["NVRTC"] = _part(None, None, None, str(error))
    headers = find_headers()
    found["CUDA headers"] = _part(headers and headers.path, headers and _version_of(headers.path), headers and headers.where, INSTALL["headers"])
    for name in PROGRAMS:
        program = find_program(name)
        version = _last_line([str(program.path), "--version"]) if program else None
        found[name] = _part(program and program.path, version, program and program.where, INSTALL[name])
    return found


def caches() -> dict[str, dict]:
    """The folders that the library keeps files of its own in: ``path``, ``bytes``, ``files`` and ``what`` they are. All may be deleted."""
    found = {}
    for name, what in CACHES.items():
        folder = cache_folder() / name
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        found[name or "total"] = {"path": str(folder), "bytes": sum(sizes), "files": len(sizes), "what": what}
    return found


def _device(what: str, why: str = "") -> dict:
    return {"available": not why, "what": what, "why": why}


def _part(path, version, where, install) -> dict:
    return {"path": path and str(path), "version": version, "where": where, "install": install}


def _without_emulator() -> str:
    lacking = [] if shutil.which(os.environ.get("CXX") or "g++") else ["g++ (apt install g++)"]
    if find_headers() is None or importlib.util.find_spec("ml_dtypes") is None:
        lacking.append("CUDA's headers and ml-dtypes for its 16-bit types (pip install 'scratchvgg[emulator]')")
    return f"missing: {', '.join(lacking)}" if lacking else ""


def _without_cupy() -> str:
    """Why the GPUs that are there cannot be used; "" if they can."""
    from . import driver

    return driver.probe().reason


def _version_of(headers: Path) -> str | None:
    """"13.0" from ``#define CUDART_VERSION 13000``."""
    try:
        lines = (headers / "cuda_runtime_api.h").read_text(encoding="utf-8", errors="replace").splitlines()
        number = next(int(line.split()[-1]) for line in lines if line.startswith("#define CUDART_VERSION"))
    except (OSError, StopIteration, ValueError):
        return None
    return f"{number // 1000}.{number % 1000 // 10}"


def _output(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines()


def _first_line(command: list[str]) -> str | None:
    """As g++ says it: "g++ (Debian 12.2.0) 12.2.0"."""
    return next(iter(_output(command)), None)


def _last_line(command: list[str]) -> str | None:
    """As NVIDIA's programs say it: "release 13.0, V13.0.88" stands in one of the last lines."""
    lines = _output(command)
    release = next((line for line in lines if "release" in line), lines[-1] if lines else None)
    return (release and release.partition("tools, ")[2]) or release
