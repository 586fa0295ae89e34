"""The report as Markdown."""

from __future__ import annotations

import math

from .goals import goals


def markdown(report: dict) -> str:
    """All sections in order; a section that failed, was cut or was skipped says so first."""
    lines = ["# GPU report", ""]
    if report.get("rehearsal"):
        lines += [f"**{report['rehearsal']}**", ""]
    if report.get("stopped"):
        lines += [f"**{report['stopped']}: this is what there was by then**", ""]
    lines += [f"{report['date']}, {report.get('seconds', 0):.0f} s.", "", *_table(("goal", "measured", "reached"), goals(report)), "", _LEGEND, ""]
    for name, section in report["sections"].items():
        lines += [f"## {name}: {section['status']}" + (f" in {section['seconds']:.0f} s" if "seconds" in section else ""), ""]
        lines += [f"{section[key]}" for key in ("why", "note") if section.get(key)]
        if section.get("running"):
            lines.append(f"- ended at: {section['running'][1]}")
        for wrong in section.get("wrong") or []:
            lines.append(f"- WRONG: {wrong}")
        if section.get("error"):
            lines += ["```", section["error"].strip(), "```"]
        if section.get("clocks"):
            lines += [f"- {when}: {_state(section['clocks'][when])}" for when in ("before", "after")]
        lines += ["", *_RENDERERS.get(name, _plain)(section), ""]
    return "\n".join(lines).rstrip() + "\n"


_LEGEND = """Times are the median of the rounds, by events on the GPU; for single kernels its cache is emptied before each sample, for nets it stays
warm and the host's time counts. floor: the bytes that must move at the measured copy rate, or the operations at the matrix product rate measured in
that precision (outside the tensor cores: 67 TFLOP/s for float32, the data sheet's, half of it for float64), whichever takes longer;
share = floor / time.
Ratios are PyTorch's time / our time: above 1, ours is the faster. Errors are RMS, relative to the RMS of float64's result. –: not measured."""


def _state(state):
    return ", ".join(f"{key} {value}" for key, value in state.items()) if state else "nvidia-smi says nothing"


def _table(head, rows):
    if not rows:
        return []
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head),
            *("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows)]


def number(value, form: str = ".3g", scale: float = 1.0) -> str:
    """A number for people; "–" for what is missing or not a number."""
    return "–" if value is None or not math.isfinite(value) else format(value * scale, form)


def _plain(section):
    hidden = ("status", "seconds", "wrong", "error", "why", "note", "rows", "done", "running", "clocks")
    return [f"- {key}: {'–' if value is None else value}" for key, value in section.items() if key not in hidden]


def _facts(section):
    rates, known = section.get("gemm_rates") or {}, ("copy_rate", "gemm_rates")
    lines = _plain({key: value for key, value in section.items() if key not in known})
    lines.append(f"- copy, bytes read and written: {number(section.get('copy_rate'), '.2f', 1e-12)} TB/s")
    return lines + [f"- matrix product 8192³ through PyTorch, {name}: {number(rate, '.0f', 1e-12)} TFLOP/s" for name, rate in rates.items()]


def _kernels(section):
    rows = section.get("rows") or []
    same, compared = sum(bool(r["bits_of_the_emulator"]) for r in rows), sum(r["bits_of_the_emulator"] is not None for r in rows)
    names = sorted({r["kernel"] for r in rows})
    worst = {n: max((r for r in rows if r["kernel"] == n), key=lambda r: r["error"] / max(r["tolerance"], 1e-30)) for n in names}
    table = [(n, sum(r["kernel"] == n for r in rows), number(worst[n]["error"], ".1e"), number(worst[n]["tolerance"], ".1e"), worst[n]["example"],
              number(max((r["from_the_emulator"] for r in rows if r["kernel"] == n and r["from_the_emulator"] is not None), default=None), ".1e"),
              all(r["deterministic"] for r in rows if r["kernel"] == n)) for n in names]
    return [f"{len(rows)} examples; {compared} compared with the emulator, {same} of them equal to the last bit.", "",
            *_table(("kernel", "examples", "worst error", "allowed", "where", "furthest from the emulator", "same bits twice"), table)]


def _timings(section):
    rows = [(r["kernel"], r["example"], "hot" if r["hot"] else "", number(r["seconds"], ".1f", 1e6), number(r["spread"], ".0f", 100),
             number(r["floor"], ".1f", 1e6), r["bound"] or "–", number(r["share"], ".0f", 100)) for r in section.get("rows") or []]
    return _table(("kernel", "example", "", "µs", "± %", "floor µs", "floor set by", "share %"), rows)


def _convolutions(section):
    head = ("layer", "pass", "precision ours / cuDNN", "algorithm", "µs", "± %", "TFLOP/s", "share %", "error", "cuDNN µs", "cuDNN error",
            "cuDNN/ours")
    rows = []
    for r in section.get("rows") or []:
        other = r.get("cudnn") or {}
        rows.append((r["layer"], r["pass"], f"{r['precision']} / {r['precision'] if other else '–'}", r["algorithm"],
                     number(r["seconds"], ".0f", 1e6), number(r["spread"], ".0f", 100), number(r["tflops"], ".0f"), number(r["share"], ".0f", 100),
                     number(r.get("error"), ".1e"), number(other.get("seconds"), ".0f", 1e6), number(r.get("cudnn_error"), ".1e"),
                     number((r.get("ratio") or (None, None))[1], ".2f")))
    return [_versions(section), "", *_table(head, rows)]


def _versions(section):
    if not section.get("torch"):
        return "PyTorch saw no GPU: ours alone."
    return (f"PyTorch {section['torch']}, cuDNN {section.get('cudnn') or '–'}, channels_last, cudnn.benchmark on; TF32 off on both sides but in the "
            "rows that say so.")


def _operations(section):
    head, rows = ("operation", "", "shape", "precision of both", "ours µs", "± %", "torch µs", "torch/ours"), []
    for r in section.get("rows") or []:
        ours, theirs = r["times"]["ours"], r["times"].get("torch") or {}
        rows.append((r["operation"], r["mode"], "×".join(map(str, r["shape"])), r["precision"], number(ours["seconds"], ".0f", 1e6),
                     number(ours["spread"], ".0f", 100), number(theirs.get("seconds"), ".0f", 1e6), number((r["ratio"] or (None, None))[1], ".2f")))
    return [_versions(section), "", *_table(head, rows)]


def _nets(section):
    head, rows = ("net", "mode", "batch", "pixels", "precision of all sides", "side", "ms", "images/s", "torch/ours"), []
    for r in section.get("rows") or []:
        for name, timing in r["times"].items():
            seconds, ratio = timing["seconds"], (r.get("ratios") or {}).get(name) or (None, None)
            rows.append((r["net"], r["mode"], r["batch"], r["size"], r["precision"], name, number(seconds, ".2f", 1e3),
                         number(r["batch"] / seconds if seconds else None, ",.0f"), number(ratio[1], ".2f")))
    return [_versions(section), "", *_table(head, rows)]


def _cifar(section):
    head = ("epoch", "loss", "test accuracy %", "images/s", "seconds")
    rows = [(e["epoch"], number(e.get("train_loss"), ".4f"), number(e.get("test_accuracy"), ".2f", 100), number(e.get("images_per_second"), ",.0f"),
             number(e.get("seconds"), ".1f")) for e in section.get("epochs") or []]
    return [f"`{section.get('command', '')}` on {section.get('data', '–')}", "", *_table(head, rows)]


_RENDERERS = {"facts": _facts, "kernels": _kernels, "timings": _timings, "convolutions": _convolutions, "operations": _operations, "nets": _nets,
              "cifar": _cifar}
