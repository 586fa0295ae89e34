"""Run the sections in order of worth, each in a process of its own with a time limit, and write one JSON file and one readable report.

Both files are written anew after every section, so a run that is cut short leaves what it has. Without a GPU nothing is measured and nothing is
written; ``--rehearse`` walks through everything on the emulator, to test this script.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from scratchvgg.bench.results import write_json
from scratchvgg.cuda import driver
from scratchvgg.weights.atomic import atomic_write

from .render import markdown
from .sections import SECTIONS

BUDGET = 520  # seconds: all of it in less than nine minutes
REHEARSAL = "rehearsal on the emulator, not a measurement"


def main(arguments=None) -> int:
    """The command; its exit status: 0, or 1 if a section failed, 2 for a wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_report", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="sections, in order:\n" + "\n".join(f"  {name:14s} {s.what} (at most {s.limit} s)" for name, s in SECTIONS.items()))
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help=f"for everything (default: {BUDGET})")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help="these sections")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the two files go (default: benchmarks/results/gpu-NAME-DATE)")
    parser.add_argument("--cifar", metavar="DIR", help="folder with CIFAR-10 (default: $SCRATCHVGG_CIFAR10; without it the built-in set)")
    parser.add_argument("--strict", action="store_true", help="exit status 1 without a GPU")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the emulator; needs --out")
    parser.add_argument("--section", help=argparse.SUPPRESS)  # a child: run one section and keep its results in --json
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.section:
        return _child(args)
    if args.rehearse and not args.out:
        parser.error("--rehearse needs --out: a rehearsal does not belong among the results")
    found = driver.probe()
    if not found.count and not args.rehearse:
        print(f"not measured on a GPU: {found.reason}")
        return int(args.strict)
    return _parent(args)


def _parent(args) -> int:
    begun, names = time.monotonic(), args.only or list(SECTIONS)
    report = {"kind": "gpu", "rehearsal": REHEARSAL if args.rehearse else None, "date": time.strftime("%Y-%m-%d %H:%M:%S"), "sections": {}}
    out = args.out
    for number, name in enumerate(names):
        left = args.budget - (time.monotonic() - begun)
        section = SECTIONS[name]
        if left < section.least:
            report["sections"][name] = {"status": "skipped", "why": f"{left:.0f} s of the budget were left, it wants {section.least} s"}
        else:
            limit = min(section.limit, left)
            print(f"[{args.budget - left:4.0f} s, {left:4.0f} s left] {number + 1}/{len(names)} {name}: {section.what}", file=sys.stderr, flush=True)
            report["sections"][name] = _run(name, args, limit, report)
        if out is None:
            gpu = report["sections"].get("facts", {}).get("name", "unknown")
            out = Path("benchmarks") / "results" / f"gpu-{'-'.join(gpu.lower().split())}-{time.strftime('%Y%m%d-%H%M%S')}"
        report["seconds"] = time.monotonic() - begun
        write_json(out / "report.json", report)
        with atomic_write(out / "report.md", "w") as file:
            file.write(markdown(report))
    print(markdown(report))
    print(f"{out / 'report.json'}, {out / 'report.md'}", file=sys.stderr)
    return int(any(s["status"] == "failed" for s in report["sections"].values()))


def _run(name, args, limit, report) -> dict:
    """One section's results, with ``status`` (ok, failed, cut) and ``seconds``. A child that dies of a CUDA error is started again, to go on
    behind what it died of."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.json"
        write_json(kept, {"facts": report["sections"].get("facts", {})})
        command = [sys.executable, "-m", "benchmarks.gpu_report", "--section", name, "--json", str(kept)]
        command += ["--rehearse"] * args.rehearse + (["--cifar", args.cifar] if args.cifar else [])
        status, said = "again", ""
        while status == "again":
            status, said = _wait(command, limit - (time.monotonic() - begun))
        results = json.loads(kept.read_text("utf-8"))
    results.pop("facts")
    if status == "failed":
        results["error"] = said[-4000:]
    if status == "ok" and results.get("wrong"):
        status = "failed"
    return {"status": status, "seconds": time.monotonic() - begun, **results}


def _wait(command, limit):
    if limit <= 0:
        return "cut", ""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        said = process.communicate(timeout=limit)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "cut", process.communicate()[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return {0: "ok", AGAIN: "again"}.get(process.returncode, "failed"), said


AGAIN = 75  # a child's exit status: the GPU's context is lost, start me again


def _child(args) -> int:
    kept = json.loads(args.json.read_text("utf-8"))

    def keep(**values):
        kept.update(values)
        write_json(args.json, kept)

    def work():
        SECTIONS[args.section].run(kept, keep, args)

    try:
        if args.rehearse:
            from tests.cuda.rehearsal.stage import rehearsal

            with rehearsal():
                work()
        else:
            work()
    except Exception as error:
        traceback.print_exc()
        if kept.get("running") and type(error).__name__ == "CUDARuntimeError":
            keep(wrong=[*kept.get("wrong", []), f"{kept['running']}: {error}"], done=[*kept.get("done", []), kept["running"]], running=None)
            return AGAIN
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
