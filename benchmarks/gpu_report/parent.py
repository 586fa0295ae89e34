"""The process that runs the sections: it gives each a child with a time limit, starts a child again that lost the GPU, and keeps the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from scratchvgg.bench.results import write_json
from scratchvgg.weights.atomic import atomic_write

from .child import AGAIN, ROOT
from .render import markdown

REHEARSAL = "rehearsal on the emulator, not a measurement"
RESTARTS = 20  # of one section


class Stopped(BaseException):
    """A signal asked the parent to end."""


class Parent:
    """Runs sections and writes ``report.json`` and ``report.md`` into ``out``.

    Args:
        args: of the command: ``budget``, ``rehearse``, ``cifar``.
        sections: by name.
        out: the folder.
        module: what ``python -m`` starts as a child.
        look: seconds between two looks at what a child has.
    """

    def __init__(self, args, sections, out: Path, module: str = "benchmarks.gpu_report", look: float = 3.0):
        self._args, self._sections, self._out, self._module = args, sections, Path(out), module
        self._look, self._begun = look, time.monotonic()
        self.report = {"kind": "gpu", "rehearsal": REHEARSAL if args.rehearse else None, "date": time.strftime("%Y-%m-%d %H:%M:%S"), "stopped": None,
                       "sections": {}}

    def run(self, names) -> int:
        """Run these sections; the exit status."""
        before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        status = 0
        try:
            for number, name in enumerate(names):
                self._section(name, f"{number + 1}/{len(names)}")
            status = int(any(s["status"] == "failed" or s.get("wrong") for s in self.report["sections"].values()))
        except Stopped as stopped:
            self.report["stopped"] = f"ended by {signal.Signals(stopped.args[0]).name}"
            status = 128 + stopped.args[0]
        finally:
            for number in before:
                signal.signal(number, signal.SIG_IGN)  # the files are being written
            self._write()
            for number, handler in before.items():
                signal.signal(number, handler)
        print(markdown(self.report))
        print(f"{self._out / 'report.json'}, {self._out / 'report.md'}", file=sys.stderr)
        return status

    def _write(self):
        self.report["seconds"] = time.monotonic() - self._begun
        write_json(self._out / "report.json", self.report)
        with atomic_write(self._out / "report.md", "w") as file:
            file.write(markdown(self.report))

    def _section(self, name, place):
        section, left = self._sections[name], self._args.budget - (time.monotonic() - self._begun)
        if left < section.least:
            self.report["sections"][name] = {"status": "skipped", "why": f"{max(left, 0):.0f} s of the budget were left, it wants {section.least} s"}
        else:
            print(f"[{self._args.budget - left:4.0f} s, {left:4.0f} s left] {place} {name}: {section.what}", file=sys.stderr, flush=True)
            self._children(name, left if self._args.rehearse else min(section.limit, left))  # a rehearsal may have to compile for the emulator
        self._write()

    def _children(self, name, limit):
        """One section's results, with ``status`` (ok, failed, cut) and ``seconds``."""
        begun, end = time.time(), time.monotonic() + limit
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "kept.json"
            write_json(kept, {"facts": self.report["sections"].get("facts", {}), "begun": begun, "limit": limit})

            def look(status):
                results = json.loads(kept.read_text("utf-8"))
                known = {key: value for key, value in results.items() if key not in ("facts", "begun", "limit")}
                self.report["sections"][name] = {"status": status, "seconds": time.time() - begun, **known}
                return results

            command = [sys.executable, "-m", self._module, "--section", name, "--json", str(kept)]
            command += ["--rehearse"] * self._args.rehearse + (["--cifar", str(self._args.cifar)] if self._args.cifar else [])
            look("cut")
            try:
                for _ in range(RESTARTS):
                    code, said = self._wait(command, end, look)
                    results = look("cut" if code is None else "failed" if code else "ok")
                    if code is None or code not in (AGAIN, *range(-64, 0)) or not results.get("running"):
                        break
                    last = said.strip().rpartition("\n")[2][:300]
                    wrong = f"{results['running'][1]}: {last or 'no message'} (exit status {code}; the GPU was started again)"
                    done = [*results.get("done", []), results["running"][0]]
                    write_json(kept, {**results, "wrong": [*results.get("wrong", []), wrong], "done": done, "running": None})
                    look("failed")
                if code:
                    self.report["sections"][name]["error"] = said[-4000:]
            except Stopped:
                look("cut")
                raise

    def _wait(self, command, end, look):
        """(exit status, or None at the end of its time; what it said)."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
            code = None
            try:
                while code is None and (left := end - time.monotonic()) > 0:
                    try:
                        code = process.wait(min(left, self._look))
                    except subprocess.TimeoutExpired:
                        look("cut")
                        self._write()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
                process.stdin.close()
                process.wait()
            said.seek(0)
            return code, said.read().decode(errors="replace")


def _stop(number, frame):
    raise Stopped(number)
