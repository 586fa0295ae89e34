"""The report as Markdown."""

from __future__ import annotations

import math


def markdown(report: dict) -> str:
    """All sections in order; a section that failed, was cut or was skipped says so first."""
    lines = ["# GPU report", ""]
    if report.get("rehearsal"):
        lines += [f"**{report['rehearsal']}**", ""]
    lines += [f"{report['date']}, {report.get('seconds', 0):.0f} s. Times: median of the rounds, events on the GPU, second-level cache emptied before "
              "each sample. share: floor / time, the floor being bytes at the measured copy rate or operations at the measured rate of the precision "
              "(float32: 67 TFLOP/s, the data sheet's), whichever takes longer. cuDNN/ours and torch/ours: above 1 ours is faster.", ""]
    for name, section in report["sections"].items():
        lines += [f"## {name}: {section['status']}" + (f" in {section['seconds']:.0f} s" if "seconds" in section else ""), ""]
        lines += [section[key] for key in ("why", "note") if section.get(key)]
        for wrong in section.get("wrong") or []:
            lines.append(f"- WRONG: {wrong}")
        if section.get("error"):
            lines += ["```", section["error"].strip(), "```"]
        lines += [*_RENDERERS.get(name, _plain)(section), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(map(str, row)) + " |" for row in rows)] if rows else []


def number(value, form: str = ".3g", scale: float = 1.0) -> str:
    """A number for people; "–" for what is missing or not a number."""
    return "–" if value is None or not math.isfinite(value) else format(value * scale, form)


def _plain(section):
    hidden = ("status", "seconds", "wrong", "error", "why", "note", "rows", "done", "running")
    return [f"- {key}: {value}" for key, value in section.items() if key not in hidden]


def _facts(section):
    rates = section.get("gemm_rates") or {}
    lines = [f"- {key}: {section[key]}" for key in ("name", "memory", "processors", "capability", "python", "versions", "commit", "smi") if key in section]
    if "copy_rate" in section:
        lines.append(f"- copy, bytes read and written: {number(section['copy_rate'], '.2f', 1e-12)} TB/s")
    return lines + [f"- matrix product 8192³ through PyTorch, {name}: {number(rate, '.0f', 1e-12)} TFLOP/s" for name, rate in rates.items()]


def _kernels(section):
    rows = section.get("rows") or []
    same = sum(bool(r["bits_of_the_emulator"]) for r in rows)
    names = sorted({r["kernel"] for r in rows})
    worst = {n: max((r for r in rows if r["kernel"] == n), key=lambda r: r["error"] / max(r["tolerance"], 1e-30)) for n in names}
    table = [(n, sum(r["kernel"] == n for r in rows), number(worst[n]["error"], ".1e"), number(worst[n]["tolerance"], ".1e"), worst[n]["example"],
              all(r["deterministic"] for r in rows if r["kernel"] == n)) for n in names]
    return [f"{len(rows)} examples, {same} with the very bits of the emulator.", "",
            *_table(("kernel", "examples", "worst error", "allowed", "where", "same bits twice"), table)]


def _timings(section):
    rows = [(r["kernel"], r["example"], number(r["seconds"], ".1f", 1e6), number(r["spread"], ".0f", 100), number(r["floor"], ".1f", 1e6),
             number(r["share"], ".0f", 100)) for r in section.get("rows") or []]
    return _table(("kernel", "example", "µs", "± %", "floor µs", "share %"), rows)


def _convolutions(section):
    rows = []
    for r in section.get("rows") or []:
        other = r.get("cudnn") or {}
        rows.append((r["layer"], r["pass"], f"{r['precision']} / {r['precision']}", r["algorithm"], number(r["seconds"], ".0f", 1e6), number(r["tflops"], ".0f"),
                     number(r["share"], ".0f", 100), number(r.get("error"), ".1e"), number(other.get("seconds"), ".0f", 1e6),
                     number(r.get("cudnn_error"), ".1e"), number((r.get("ratio") or (None, None))[1], ".2f")))
    head = ("layer", "pass", "precision ours / cuDNN", "algorithm", "µs", "TFLOP/s", "share %", "error", "cuDNN µs", "cuDNN error", "cuDNN/ours")
    return [f"PyTorch {section.get('torch')}, cuDNN {section.get('cudnn')}, channels_last, benchmark on.", "", *_table(head, rows)]


def _nets(section):
    rows = []
    for r in section.get("rows") or []:
        for name, timing in r["times"].items():
            ratio = (r.get("ratios") or {}).get(name) or (None, None)
            rows.append((r["net"], r["mode"], r["batch"], r["size"], r["precision"], name, number(timing["seconds"], ".2f", 1e3),
                         number(r["batch"] / timing["seconds"] if timing["seconds"] else None, ",.0f"), number(ratio[1], ".2f")))
    return _table(("net", "mode", "batch", "pixels", "precision of all sides", "side", "ms", "images/s", "torch/ours"), rows)


def _cifar(section):
    rows = [(e["epoch"], number(e.get("train_loss"), ".4f"), number(e.get("test_accuracy"), ".2f", 100), number(e.get("images_per_second"), ",.0f"),
             number(e.get("seconds"), ".1f")) for e in section.get("epochs") or []]
    return [f"`{section.get('command', '')}`", "", *_table(("epoch", "loss", "test accuracy %", "images/s", "seconds"), rows)]


_RENDERERS = {"facts": _facts, "kernels": _kernels, "timings": _timings, "convolutions": _convolutions, "nets": _nets, "cifar": _cifar}
