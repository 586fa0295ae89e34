"""Pictures of a report: the roofline of ``bench conv`` and the curves of ``bench model --scaling``.

Roofline (Williams, Waterman & Patterson, CACM 52(4), 2009): no computation is faster than the machine's arithmetic, nor than its memory can
feed it. The intensity here is that of the problem (direct operations over bytes that must move), the same for all algorithms of a layer, which
so stand one above the other; an algorithm that saves operations may pass the roof.
"""

from __future__ import annotations

import numpy as np

from ..conv import PASSES
from ..weights.atomic import atomic_write

COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5195", "#8c6d31", "#56b4e9", "#4d4d4d"]  # apart for colour-blind eyes too
MARKS = ["o", "s", "^", "D", "v", "P", "X", "h"]
TORCH = {"color": "black", "marker": "_", "s": 260, "linewidths": 2.2}


def draw_roofline(path, report: dict) -> None:
    """A PNG of a ``bench conv`` report: one panel a pass, one mark a layer and algorithm, PyTorch a black bar.

    Raises:
        ImportError: without matplotlib; the message names the extra.
        ValueError: if the report has no times.
    """
    figure, canvas = _figure()
    rows = [row for row in report["rows"] if "seconds" in row and row.get("better") is not False]
    passes = [which for which in PASSES if any(row["pass"] == which for row in rows)]
    if not rows:
        raise ValueError("roofline: nothing was measured")
    figure.set_size_inches(5.2 * len(passes) + 1.6, 6.4)
    names = sorted({row["algorithm"] for row in rows} - {"torch"})
    looks = {name: {"color": COLORS[i % len(COLORS)], "marker": MARKS[(i + i // len(COLORS)) % len(MARKS)], "s": 44} for i, name in enumerate(names)}
    axes = np.atleast_1d(figure.subplots(1, len(passes), sharey=True))
    peak, copy = report["machine"]["gemm_peak"], report["machine"]["copy_rate"]
    span = [min(r["intensity"] for r in rows) / 1.6, max(r["intensity"] for r in rows) * 1.6]
    for panel, which in zip(axes, passes, strict=True):
        _roof(panel, peak, copy, span)
        _marks(panel, [row for row in rows if row["pass"] == which], looks, (span[1] / span[0]) ** (1 / 40))
        panel.set_title(which, pad=9 + 4.2 * max(len(row["layer"]) for row in rows))  # above the layers' names
        panel.set(xlabel="operations per byte that must move", xscale="log", yscale="log", xlim=span)
        panel.grid(alpha=0.2, which="both")
    lowest = min(row["gflops"] for row in rows)
    axes[0].set_ylim(max(lowest, peak / 300) / 1.6, 1.6 * max(peak, max(row["gflops"] for row in rows)))
    axes[0].set_ylabel("GFLOP/s of the direct sum (2 · MACs / time)")
    handles = {}
    for panel in axes:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(6, len(handles)), frameon=False, fontsize=9)
    figure.suptitle(_title(report), fontsize=10)
    _save(path, figure, canvas)


def _roof(panel, peak, copy, span) -> None:
    x = np.geomspace(*span, 200)
    panel.plot(x, np.minimum(peak, copy * x), color="#888888", lw=1.6, zorder=1, label=f"roof: GEMM {peak:.0f} GFLOP/s, copy {copy:.0f} GB/s")


def _marks(panel, rows, looks, apart) -> None:
    """The marks, each layer in a column under its name; columns nearer than a factor ``apart`` are moved apart."""
    layers = sorted({(row["intensity"], row["layer"]) for row in rows})
    column: dict[str, float] = {}
    last = 0.0
    for intensity, layer in layers:
        last = column[layer] = max(intensity, last * apart)
    for name in [*looks, "torch"]:
        mine = [row for row in rows if row["algorithm"] == name]
        look = TORCH if name == "torch" else looks[name]
        if mine:
            panel.scatter([column[r["layer"]] for r in mine], [r["gflops"] for r in mine], label="PyTorch" if name == "torch" else name,
                          alpha=0.9, zorder=4 if name == "torch" else 3, **look)
    chosen = [row for row in rows if row["chosen"]]
    if chosen:
        panel.scatter([column[r["layer"]] for r in chosen], [r["gflops"] for r in chosen], s=130, facecolors="none", edgecolors="#333333",
                      linewidths=0.9, zorder=2, label="taken by the library")
    for layer, x in column.items():
        panel.annotate(layer, (x, 1.01), xycoords=("data", "axes fraction"), rotation=90, fontsize=7, ha="center", va="bottom", color="#444444")


def draw_scaling(path, report: dict) -> None:
    """A PNG of a ``bench model --scaling`` report: time and time per pixel, against batch and against pixels.

    Raises:
        ImportError: without matplotlib; the message names the extra.
        ValueError: if the report has no curve.
    """
    figure, canvas = _figure()
    axes = list(dict.fromkeys(curve["along"] for curve in report["curves"]))
    if not axes:
        raise ValueError("scaling: nothing was measured")
    figure.set_size_inches(11, 4 * len(axes) + 0.4)
    for panels, along in zip(figure.subplots(len(axes), 2, squeeze=False), axes, strict=True):
        curves = [curve for curve in report["curves"] if curve["along"] == along]
        for curve in curves:
            _curve(panels, curve, "black" if curve["library"].startswith("torch") else COLORS[0])
        ticks = {_place(along, p): f"{p['batch']}" if along == "batch" else f"{p['size']}²" for curve in curves for p in curve["points"]}
        for panel in panels:
            panel.set(xscale="log", xlabel="images in the batch" if along == "batch" else "pixels of an image")
            panel.set_xticks(list(ticks), list(ticks.values()))
            panel.set_xticks([], minor=True)
            panel.grid(alpha=0.25)
            panel.legend(frameon=False, fontsize=8)
        panels[0].set(yscale="log", ylabel="seconds", title="time; dashed: linear")
        panels[1].set(ylabel="ns per input pixel", title="time per pixel", ylim=(0, None))
    figure.suptitle(_title(report), fontsize=10)
    _save(path, figure, canvas)


def _curve(panels, curve, color) -> None:
    times, flat = panels
    points = curve["points"]
    x = np.array([_place(curve["along"], p) for p in points])
    y, low, high = (np.array([p[key] for p in points]) for key in ("seconds", "low", "high"))
    times.errorbar(x, y, [y - low, high - y], marker="o", ms=4, capsize=2, color=color, label=f"{curve['title']}: n^{curve['exponent']:.2f}")
    times.plot(x, y[-1] * x / x[-1], color=color, lw=0.9, ls="--", alpha=0.5)
    flat.plot(x, [1e9 * p["seconds_per_pixel"] for p in points], marker="o", ms=4, color=color,
              label=f"{curve['library']}: largest / median {curve['cliff']:.2f}, worst step ×{curve['step']:.2f}")


def _place(along, point) -> int:
    return point["batch"] if along == "batch" else point["size"] ** 2


def _title(report) -> str:
    m, s = report["machine"], report["settings"]
    text = f"{report.get('title', 'scratchvgg')} · {m['processor']}, {m['threads']} threads, {s['dtype']}"
    return text + (f" · PyTorch {report['torch']['version']}, {report['torch']['threads']} threads" if report.get("torch") else "")


def _figure():
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'scratchvgg[plots]' (or --no-picture)") from None
    figure = Figure(layout="constrained")
    return figure, FigureCanvasAgg(figure)


def _save(path, figure, canvas) -> None:
    with atomic_write(path) as file:
        canvas.figure.savefig(file, format="png", dpi=120)
