"""Does time grow linearly? A net's inference against the batch and against the pixels of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from .. import conv, optim
from ..array import get_num_threads
from . import machine, torch_side
from .model import SGD, Row, our_step, torch_step
from .problems import build_net, layers_of
from .timing import Timings, interleave

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (112, 160, 224, 320, 448)
LEGEND = """
exponent: slope of log time over log n (least squares): 1 is linear, below 1 the small ones pay a fixed price. cliff: the largest time per input
pixel over the median of the curve. step: the largest growth of the time per pixel from one size to the next: above 1 by more than the noise is a
cliff, while fixed prices show in the first points only. All sizes of a curve are timed in turn.
""".strip()


def measure(net: str = "vgg16", *, mode: str = "inference", batches: Sequence[int] = BATCHES, sizes: Sequence[int] = SIZES, size: int = 0,
            against: str | None = None, rounds: int = 3, on_curve: Callable[[dict], None] = lambda curve: None,
            progress: Callable[[str], None] = lambda text: None) -> dict:
    """Two curves for ours, two for PyTorch if it is to stand beside.

    Args:
        net, mode: see :class:`~scratchvgg.bench.model.Row`.
        batches: of images of ``size`` (0: the net's own).
        sizes: heights and widths, one image.
        rounds: samples of each point.
        on_curve: called with each curve when it is there.

    Returns:
        A report: ``machine torch settings curves interrupted``. A curve has ``title library along points exponent cliff step median_per_pixel``.

    Raises:
        ValueError: for an unknown net, or images too small for it.
        ImportError: for ``against="torch"`` without PyTorch.
    """
    rows = [Row(net, mode, 1, side) for side in (size, *sizes)]
    layers_of(net, 1, min(row.size for row in rows))
    report = {
        "kind": "scaling", "machine": machine.describe(), "torch": torch_side.describe() if against == "torch" else None,
        "settings": {"dtype": "float32", "rounds": rounds, "threads": get_num_threads(), "net": net, "mode": mode, "conv": conv.current()},
        "legend": LEGEND, "curves": [], "interrupted": False,
    }
    others = machine.Others()
    axes = {"batch": [Row(net, mode, batch, size) for batch in batches], "pixels": [Row(net, mode, 1, side) for side in sizes]}
    try:
        model = build_net(net)
        for library in ("ours", "torch") if against == "torch" else ("ours",):
            layout = "channels_last" if mode == "inference" else "NCHW"
            theirs = torch_side.twin(model, layout=layout) if library == "torch" else None
            # one optimizer for all rows: each holds as much memory as the weights
            kind, net_of_it = (optim, model) if theirs is None else (torch_side.require().optim, theirs)
            sgd = kind.SGD(net_of_it.parameters(), **SGD) if mode == "train" else None
            for along, rows in axes.items():
                if not rows:
                    continue
                sides = {row.title: our_step(model, row, sgd) if theirs is None else torch_step(theirs, row, layout, sgd) for row in rows}
                timings = interleave(sides, rounds=rounds, progress=lambda text, library=library: progress(f"{library}: {text}"))
                made = curve(library + (f" {layout}" if theirs is not None else ""), along, rows, timings)
                if made["points"]:
                    report["curves"].append(made)
                    on_curve(made)
                if timings.interrupted:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        report["interrupted"] = True
    report["machine"]["others"] = others.share()
    return report


def curve(library: str, along: str, rows: Sequence[Row], timings: Timings) -> dict:
    """Points, exponent and cliff of measured rows."""
    points = []
    for row in rows:
        if timings[row.title].n:
            per_pixel = timings[row.title].median / (row.batch * row.size**2)
            points.append({"batch": row.batch, "size": row.size, "seconds_per_pixel": per_pixel} | timings[row.title].summary())
    per_pixel = [p["seconds_per_pixel"] for p in points]
    middle = float(np.median(per_pixel)) if points else float("nan")
    return {
        "title": f"{library}, {rows[0].net} {rows[0].mode}, {f'{rows[0].size}×{rows[0].size}' if along == 'batch' else 'one image'}",
        "library": library, "along": along, "points": points, "median_per_pixel": middle, "exponent": exponent(points),
        "cliff": max(per_pixel, default=middle) / middle, "step": max((b / a for a, b in pairwise(per_pixel)), default=float("nan")),
    }


def exponent(points: Sequence[dict]) -> float:
    """Slope of log seconds over log (images · pixels); NaN with fewer than two points."""
    if len(points) < 2:
        return float("nan")
    n, t = ([np.log(v) for v in column] for column in ([p["batch"] * p["size"] ** 2 for p in points], [p["seconds"] for p in points]))
    return float(np.polyfit(n, t, 1)[0])
