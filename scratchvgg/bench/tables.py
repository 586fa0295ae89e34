"""What the terminal shows of a report: rows and headers for a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONV = ["algorithm", "time ms", "±%", "GFLOP/s", "peak %", "scratch MiB", "error", "bound", "rms error"]
MIB = 1 << 20


def conv_rows(rows: Sequence[dict], against: bool) -> tuple[list[list[str]], list[str]]:
    """A block of ``bench conv``: cells and headers; those that failed come without a time."""
    cells = []
    for row in rows:
        name = " ".join((">" if row["chosen"] else " ", row["algorithm"], row.get("layout", ""))).rstrip() + "*" * row.get("prepares", False)
        if "failed" in row:
            cells.append([name, "failed", *[""] * (len(CONV) - 2 + against)])
            continue
        flag = "!" if "bound" in row and not row["error"] <= row["bound"] else ""
        near = "~" if row["drawn"] < 1 else ""
        line = [name, f"{1e3 * row['seconds']:.3f}", f"{50 * row['spread']:.0f}", f"{row['gflops']:.1f}", f"{100 * row['share_of_peak']:.0f}",
                f"{row['workspace'] / MIB:.1f}" if "workspace" in row else "", f"{flag}{near}{row['error']:.1e}",
                f"{row['bound']:.1e}" if "bound" in row else "", f"{row['rms']:.1e}"]
        cells.append(line + [ratio(row.get("ratio"), row.get("better"))] * against)
    return cells, CONV + ["torch/ours"] * against


def ratio(values, better=None) -> str:
    """``1.31 (1.28-1.35)``; for PyTorch's own row which format was the better."""
    if values is None:
        return {True: "better", False: "", None: ""}[better]
    low, middle, high = values
    return f"{middle:.2f} ({low:.2f}-{high:.2f})" if not math.isnan(middle) else "-"


def total_rows(totals: dict, passes: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """All layers together: milliseconds of each pass, and how many times faster than PyTorch."""
    columns = [c for c in (*passes, "all") if any(c in times for times in totals.values())]
    theirs = totals.get("torch", {})
    cells = []
    for way, times in totals.items():
        line = [way]
        for column in columns:
            line.append(f"{1e3 * times[column]:.1f}" if column in times else "")
            if theirs:
                line.append(f"{theirs[column] / times[column]:.2f}" if column in times and column in theirs else "")
        cells.append(line)
    headers = ["all layers"]
    for column in columns:
        headers += [f"{column} ms"] + ["torch/it"] * bool(theirs)
    return cells, headers


def model_rows(rows: Sequence[dict], against: bool) -> tuple[list[list[str]], list[str]]:
    """The table of ``bench model``."""
    headers = ["net", "mode", "batch", "size", "ours ms", "±%"] + ["torch ms", "±%", "format", "torch/ours"] * against
    headers += ["peak MiB", "filters MiB"] + ["torch MiB"] * against + ["error"] + ["torch error"] * against
    cells = []
    for row in rows:
        ours, theirs = row["ours"], row.get("torch") or {}
        line = [row["net"], row["mode"], row["batch"], row["size"], f"{1e3 * ours['seconds']:.1f}", f"{50 * ours['spread']:.0f}"]
        if against:
            line += [f"{1e3 * theirs['seconds']:.1f}", f"{50 * theirs['spread']:.0f}", theirs["layout"], ratio(row["ratio"])]
        line += [_mib(ours, "peak"), _mib(ours, "filters")] + [_mib(theirs, "peak")] * against
        cells.append(line + [_error(ours)] + [_error(theirs)] * against)
    return cells, headers


def _mib(side: dict, key: str) -> str:
    return "" if side.get(key) is None else f"{side[key] / MIB:.0f}"


def _error(side: dict) -> str:
    return "" if side.get("error") is None else f"{side['error']:.1e}"


def scaling_rows(curve: dict) -> tuple[list[list[str]], list[str]]:
    """One curve of ``bench model --scaling``."""
    cells = [[p["size"] if curve["along"] == "pixels" else p["batch"], f"{1e3 * p['seconds']:.1f}", f"{50 * p['spread']:.0f}",
              f"{1e9 * p['seconds_per_pixel']:.2f}", f"{p['seconds_per_pixel'] / curve['median_per_pixel']:.2f}"] for p in curve["points"]]
    return cells, ["side" if curve["along"] == "pixels" else "batch", "time ms", "±%", "ns a pixel", "of median"]
