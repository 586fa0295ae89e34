"""The process of one section: it keeps each result on disk at once, and ends when its parent does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from scratchvgg.bench.results import write_json

AGAIN = 75  # a child's exit status: the GPU's context is lost, start me again behind what I was doing
ROOT = Path(__file__).resolve().parents[2]
LOST = ("CUDARuntimeError", "CUDADriverError", "AcceleratorError")
HARMLESS = (
    "cudaErrorMemoryAllocation", "cudaErrorNoKernelImageForDevice", "CUDA_ERROR_NOT_FOUND", "cudaErrorInvalidValue", "out of memory",
    "CUDA_ERROR_INVALID_VALUE", "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "CUDA_ERROR_OUT_OF_MEMORY",
)


def run(section: Callable, args) -> int:
    """Run a section; the exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kept = json.loads(args.json.read_text("utf-8"))

    def keep(**values):
        kept.update(values)
        write_json(args.json, kept)

    try:
        if args.rehearse:
            from tests.cuda.rehearsal.stage import rehearsal

            with rehearsal():
                section(kept, keep, args)
        else:
            section(kept, keep, args)
    except Exception as error:
        traceback.print_exc()
        return AGAIN if lost(error) else 1
    return 0


def _end_with_parent():
    """The parent holds the other end of our standard input: when it is gone, so is everything we started."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def lost(error: BaseException) -> bool:
    """Whether, after this error, nothing works on the GPU any more in this process."""
    return type(error).__name__ in LOST and not any(word in str(error) for word in HARMLESS)


def each(kept: dict, keep: Callable, cases: Iterable[tuple[str, str, Callable[[], None]]]) -> None:
    """Do every case (key, title, work) that is not done yet; what raises is noted in ``wrong`` and the next one follows, unless the GPU is lost."""
    done, wrong = set(kept.get("done", [])), list(kept.get("wrong", []))
    for key, title, work in cases:
        if key in done:
            continue
        keep(running=[key, title])
        try:
            work()
        except Exception as error:
            if lost(error):
                raise
            traceback.print_exc()
            wrong = [*kept.get("wrong", []), f"{title}: {type(error).__name__}: {str(error)[:300]}"]
            keep(wrong=wrong)
        done.add(key)
        keep(done=sorted(done), running=None)


def watch(command: list[str], look: Callable[[], None], seconds: float, **options) -> tuple[int | None, str]:
    """Run a command, call ``look`` every second and at the end; (exit status, or None if it was ended after ``seconds``; what it said)."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", **options)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
    reader.start()
    end, code = time.monotonic() + seconds, None
    while code is None and time.monotonic() < end:
        try:
            code = process.wait(min(1.0, max(0.01, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            look()
    if code is None:
        process.kill()
        process.wait()
    reader.join(2)
    look()
    return code, "".join(said)
