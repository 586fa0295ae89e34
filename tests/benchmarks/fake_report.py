"""A report with sections that go wrong in every way, for test_gpu_report.py: ``python -m tests.benchmarks.fake_report OUT SECTION...``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu_report import child
from benchmarks.gpu_report.parent import Parent
from benchmarks.gpu_report.sections import Section


class CUDARuntimeError(RuntimeError):
    """As CuPy names it."""


def fine(kept, keep, args):
    keep(rows=[1, 2])


def raises(kept, keep, args):
    keep(rows=["before"])
    raise ValueError("no such thing")


def hangs(kept, keep, args):
    keep(rows=["before"])
    time.sleep(600)


def chatty(kept, keep, args):
    print("x" * 1_000_000)


def culprit(kept, keep, args):
    """Of six cases the second and the fifth fail harmlessly or kill the GPU, the fourth kills the process."""
    import os
    import signal

    def work(number):
        if number == 1:
            raise ValueError("only this one")
        if number == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 4:
            raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        keep(rows=[*kept.get("rows", []), number])

    child.each(kept, keep, ((f"case {n}", f"the case {n}", lambda n=n: work(n)) for n in range(6)))


def spawns(kept, keep, args):
    """Starts a process of its own, and waits for it."""
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    keep(pid=process.pid)
    process.wait()


SECTIONS = {name: Section(function, "for the test", limit=limit, least=1) for name, function, limit in (
    ("fine", fine, 60), ("raises", raises, 60), ("hangs", hangs, 6), ("chatty", chatty, 60), ("culprit", culprit, 60), ("spawns", spawns, 60))}
MODULE = "tests.benchmarks.fake_report"


def report(out, names, budget=100.0, sections=SECTIONS):
    """(exit status, the report)."""
    parent = Parent(argparse.Namespace(budget=budget, rehearse=False, cifar=None), sections, Path(out), MODULE, look=0.2)
    return parent.run(names), parent.report


if __name__ == "__main__":
    if "--section" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--section")
        parser.add_argument("--json", type=Path)
        arguments = parser.parse_args()
        arguments.rehearse = False
        sys.exit(child.run(SECTIONS[arguments.section].run, arguments))
    sys.exit(report(sys.argv[1], sys.argv[2:])[0])
