"""What scratchvgg eval shows of a run over photographs: where it is, and the table."""

from __future__ import annotations

import sys
import time

from ..text import table

WIDE = 1000  # fewer pictures than this and a line says how little an error of them tells


class Line:
    """Where the run is, on stderr: one changing line in a terminal, elsewhere a line every ten seconds."""

    def __init__(self):
        self.live, self.started = sys.stderr.isatty(), time.monotonic()
        self.next = self.started + (0 if self.live else 10)

    def show(self, progress) -> None:
        """A part of a step is done."""
        from ...train.progress import clock

        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (0.1 if self.live else 10)
        left = "" if progress.seconds_left is None else f", {clock(progress.seconds_left)} left"
        text = f"{progress.done} of {progress.total} pictures, {progress.part}, {clock(now - self.started)} gone{left}"
        print(f"\r\033[K{text}" if self.live else f"  {text}", end="" if self.live else "\n", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\r\033[K{text}" if self.live else text, file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def report(result, out, source, plan) -> str:
    """The table and what there is to say about it."""
    rates, rows, timing = result["timing"]["rows"], result["rows"], result["timing"]
    columns = {
        "protocol": lambda r: r["protocol"], "Q": lambda r: ",".join(map(str, r["scales"])), "net": lambda r: r["net"],
        "top-1 error": lambda r: _percent(r["top1_error"]), "95 %": lambda r: _range(r["top1_interval"]),
        "top-5 error": lambda r: _percent(r["top5_error"]), "95 % ": lambda r: _range(r["top5_interval"]),
        "paper": lambda r: _figures(r["paper"]), "S": lambda r: _side(r["paper"]), "torchvision": lambda r: _figures(r["torchvision"]),
        "pictures/s": lambda r: "-" if rates[r["key"]] is None else f"{rates[r['key']]:.3g}",
    }
    absent = {"paper", "S"} if not any(r["paper"] for r in rows) else set()
    absent |= {"torchvision"} if not any(r["torchvision"] for r in rows) else set()
    shown = {name: cell for name, cell in columns.items() if name not in absent}
    nets = ", ".join(f"{net['name']} ({net['weights']})" for net in result["settings"]["nets"])
    lines = [f"{_pictures(result['images'])} of {source}, {result['labelled']} of them labelled; {nets}", "",
             table([[cell(row) for cell in shown.values()] for row in rows], list(shown), left=3), "", *_notes(result, absent, plan)]
    speed = f"{_pictures(timing['images'])} in {timing['seconds']:.1f} s" if timing["images"] else "nothing was left to do"
    memory = "" if timing["peak_memory_mb"] is None else f", {timing['peak_memory_mb']:.0f} MB of memory at most"
    memory += "" if timing["device_memory_mb"] is None else f", {timing['device_memory_mb']:.0f} MB on the GPU"
    return "\n".join([*lines, speed + memory, f"{out}: predictions.jsonl, result.json, settings.json"])


def _notes(result, absent, plan):
    n, rates = result["labelled"], result["timing"]["rows"]
    if result["unlabelled"]:
        yield f"without a label: {_pictures(result['unlabelled'])}, predicted and left out of the errors"
    if result["broken"]:
        yield f"could not be read: {_pictures(len(result['broken']))}, skipped:"
        yield from (f"  {b['file']}: {b['reason']}" for b in result["broken"][:20])
    if 0 < n < WIDE:
        yield f"the intervals are wide: with {_pictures(n)} each is {100 / n:.2g} % of the error; small differences between rows say nothing"
    references = [name for name in ("paper", "torchvision") if name not in absent]
    if references:
        sides = "; S: sides of the paper's training pictures" if "paper" in references else ""
        yield f"{', '.join(references)}: top-1/top-5 errors on ImageNet's 50,000 validation pictures{sides}"
        if "paper" in references and (plan.average != "scores" or not plan.flip):
            yield "the paper averages scores and adds mirror images; this run does not"
    widest = {row["net"]: row for row in result["rows"] if row["protocol"] == "dense"}  # of each net the last row: most scales
    for net, row in widest.items():
        dense, crops = rates[row["key"]], rates.get(row["key"].replace(" dense@", " multicrop@"))
        if dense and crops:
            yield f"{net} at Q {','.join(map(str, row['scales']))}: dense evaluation took 1/{dense / crops:.1f} of the time of multi-crop"


def _pictures(count) -> str:
    return f"{count} picture{'s' if count != 1 else ''}"


def _percent(value) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(ends) -> str:
    return f"{ends[0]:.1f}–{ends[1]:.1f}"


def _figures(row) -> str:
    return f"{row['top1_error']:.1f}/{row['top5_error']:.1f}" if row else "-"


def _side(row) -> str:
    return "-" if row is None else str(row["train_scale"]) if isinstance(row["train_scale"], int) else "{}-{}".format(*row["train_scale"])
