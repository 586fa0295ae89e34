"""The numbers to reach, each beside what was measured."""

from __future__ import annotations

import math
import statistics

FP32_PEAK, BF16_RATE = 67e12, 790e12  # FLOP/s: an H200's data sheet outside the tensor cores; a matrix product measured on an H200
LONG = 20e-6  # seconds: memory-bound work with a shorter floor is bound by its launch
NOT_MEASURED = "not measured"


def goals(report: dict) -> list[tuple[str, str, str]]:
    """(goal, what was measured, "yes", "no" or "–") of a report."""
    sections = {} if report.get("rehearsal") else report["sections"]
    rows = sections.get("convolutions", {}).get("rows") or []
    copy = sections.get("facts", {}).get("copy_rate")
    return [
        ("float32 SIMT convolution ≥ 60 % of 67 TFLOP/s on the layers with 256 and 512 channels", *_rates(rows, "float32", FP32_PEAK, 0.6)),
        ("bfloat16 mma.sync convolution ≥ 50 % of 790 TFLOP/s there", *_rates(rows, "bfloat16", BF16_RATE, 0.5)),
        ("hot memory-bound kernels (floor ≥ 20 µs) ≥ 80 % of the measured copy rate" + (f", {copy / 1e12:.2f} TB/s" if copy else ""),
         *_memory(sections.get("timings", {}).get("rows") or [])),
        ("compute-sanitizer: memcheck, racecheck, initcheck and synccheck find nothing, the broken control is caught",
         *_sanitizer(sections.get("sanitizer", {}))),
    ]


def _known(value):
    return value is not None and math.isfinite(value)


def _rates(rows, precision, peak, least):
    there = [r for r in rows if r["wide"] and r["precision"] == precision and _known(r["tflops"])]
    shares = [(r["tflops"] * 1e12 / peak, f"{r['layer']} {r['pass']}") for r in there]
    if not shares:
        return NOT_MEASURED, "–"
    low, where = min(shares)
    median = statistics.median(s for s, _ in shares)
    said = f"{100 * low:.0f} % to {100 * max(shares)[0]:.0f} %, median {100 * median:.0f} %; worst: {where} ({len(shares)} of 12 measured)"
    return said, "yes" if low >= least else "no"


def _memory(rows):
    shares = [(r["share"], r["example"]) for r in rows if r["hot"] and r["bound"] == "memory" and _known(r["share"]) and r["floor"] >= LONG]
    if not shares:
        return NOT_MEASURED, "–"
    reached = sum(s >= 0.8 for s, _ in shares)
    low, where = min(shares)
    said = f"{reached} of {len(shares)}; median {100 * statistics.median(s for s, _ in shares):.0f} %; worst {100 * low:.0f} %: {where}"
    return said, "yes" if reached == len(shares) else "no"


def _sanitizer(section):
    summaries = section.get("summaries") or {}
    if not summaries and not section.get("control"):
        return NOT_MEASURED, "–"
    complete = len(summaries) == 4 and not any("no summary" in s or "time was over" in s for s in summaries.values())
    said = "; ".join(f"{tool}: {summary}" for tool, summary in summaries.items()) + f"; control: {section.get('control', NOT_MEASURED)}"
    return said, "no" if section.get("wrong") else "yes" if complete else "–"
