"""The table nobody else prints: every algorithm of a convolution, its time beside its error, and PyTorch's in the same run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict

from .. import conv
from ..array import CPU, get_backend, get_num_threads
from ..array.dtypes import as_dtype
from . import machine, torch_side
from .accuracy import Operands, Truth, truth
from .problems import Layer, problem_text
from .timing import interleave

DIRECT_AT_MOST = 200_000  # multiply–accumulates: the seven loops take a microsecond each
RELU = conv.Epilogue(relu=True)
DTYPES = ("float16", "float32", "float64")
LEGEND = """
time: median of the rounds; ±: half the distance between the quartiles, in % of it. All sides of a block are timed in turn, in one process.
GFLOP/s: 2 · multiply-accumulates of the direct sum / time, whatever the algorithm executes: Winograd and FFT can pass the GEMM peak (peak %).
scratch: declared workspace of all threads together. error: largest |y - truth| / largest |truth|, truth in float64 (~ where a part is drawn);
bound: the algorithm's own, in the same unit; ! where the error is above it; rms error: root mean square, in the same unit. forward is convolution
+ bias + ReLU on both sides; filters that an algorithm prepares (*) are prepared before, as in inference; PyTorch's arrays, weights too, are laid
out beforehand, in NCHW and in channels_last.
> is what the library takes by itself (in inference, where filters stay prepared). torch/ours: median (quartiles) of the ratios of neighbouring
times, PyTorch in its better format; above 1 ours is faster.
""".strip()


def measure(layers: Sequence[Layer], *, passes: Sequence[str] = conv.PASSES, algorithms: Sequence[str] | None = None, without: Sequence[str] = (),
            dtype: str = "float32", seconds: float = 0.5, rounds: int | None = None, against: str | None = None, flush: int = 0,
            on_block: Callable[[Layer, str, list[dict]], None] = lambda layer, which, rows: None,
            progress: Callable[[str], None] = lambda text: None) -> dict:
    """Measure convolutions.

    Args:
        layers: what to measure.
        passes: of ``conv.PASSES``.
        algorithms: names; None is all that support the problem (``direct`` for tiny ones only).
        without: names to leave out.
        dtype: of all arrays, a name.
        seconds, rounds, flush: see :func:`~scratchvgg.bench.timing.interleave`; for each algorithm of each block.
        against: ``"torch"`` to measure PyTorch beside.
        on_block: called with the rows of each layer and pass when they are there.
        progress: told what is going on.

    Returns:
        A report of plain values: ``machine``, ``torch``, ``settings``, ``rows``, ``totals``, ``interrupted``. A row has ``layer problem shape
        count pass algorithm chosen seconds low high spread best rounds inner gflops share_of_peak intensity operations workspace
        workspace_of_a_thread error rms bound drawn``, with ``against`` also ``ratio`` (low, median, high of torch's time / this one's); one that
        raised has ``failed``. PyTorch's rows, one for each memory format, have ``layout`` and ``better``.

    Raises:
        ValueError: for an unknown algorithm or dtype.
        ImportError: for ``against="torch"`` without PyTorch.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    for name in (*(algorithms or ()), *without):
        conv.get(name)
    progress("measuring the machine: GEMM and copy rate")
    others = machine.Others()
    report = {
        "kind": "conv", "machine": machine.describe(dtype), "torch": torch_side.describe() if against == "torch" else None,
        "settings": {"dtype": dtype, "seconds": seconds, "rounds": rounds, "flush": flush, "threads": get_num_threads(), "conv": conv.current()},
        "legend": LEGEND, "rows": [], "interrupted": False,
    }
    how = {"seconds": seconds, "rounds": rounds, "flush": flush}
    for layer, which in [(layer, which) for layer in layers for which in passes if which in layer.passes]:
        try:
            report["machine"]["gemm_peak"] = max(report["machine"]["gemm_peak"], machine.gemm_peak(dtype, (1024,)))
            peak, tell = report["machine"]["gemm_peak"], functools.partial(_tell, progress, f"{layer.title} {which}: ")
            ways = candidates(layer.problem, as_dtype(dtype), algorithms, without)
            rows, report["interrupted"] = _block(layer, which, ways, dtype, how, against, peak, tell)
        except KeyboardInterrupt:
            rows, report["interrupted"] = [], True
        report["rows"] += rows
        if rows:
            on_block(layer, which, rows)
        if report["interrupted"]:
            break
    report["machine"]["others"] = others.share()
    for row in report["rows"]:  # the best rate of the whole run, met between the blocks: a busy moment at the start does not flatter
        if "gflops" in row:
            row["share_of_peak"] = row["gflops"] / report["machine"]["gemm_peak"]
    return report | {"totals": totals(report["rows"], layers, passes)}


def _tell(progress, prefix: str, text: str) -> None:
    progress(prefix + text)


def candidates(problem: conv.Problem, dtype, names: Sequence[str] | None = None, without: Sequence[str] = ()) -> dict[str, conv.Algorithm]:
    """The algorithms worth timing: those that support the problem; the slow twin for tiny problems only, unless it is asked for."""
    found = {name: a for name, a in conv.algorithms().items() if name in (names or [name]) and name not in without and a.supports(problem, dtype)}
    if names is None and problem.macs > DIRECT_AT_MOST:
        found.pop("direct", None)
    return found


def _block(layer, which, ways, dtype, options, against, peak, progress) -> tuple[list[dict], bool]:
    """The rows of one layer and pass, fastest first and PyTorch's last, and whether Ctrl-C came."""
    problem, element = layer.problem, as_dtype(dtype)
    operands = Operands.draw(problem, element)
    progress("the truth in float64")
    right = truth(problem, which, operands)
    chosen = conv.choose(problem, element, None, which, prepared=which == "forward").name
    common = {"layer": layer.name, "count": layer.count, "problem": asdict(problem), "shape": problem_text(problem), "pass": which}
    rows, sides = [], {}
    for name, algorithm in ways.items():
        progress(f"{name}, error")
        call = ours(algorithm, problem, which, operands)
        row = common | {"algorithm": name, "chosen": name == chosen} | _declared(algorithm, problem, element, which, right)
        try:
            row |= _errors(right, call())
            sides[name] = call
        except Exception as error:  # somebody's algorithm: the others are still worth a table
            row["failed"] = f"{type(error).__name__}: {error}"
        rows.append(row)
    if against == "torch":
        for layout, call in torch_side.convolutions(problem, which, operands, dtype).items():
            sides[f"torch {layout}"] = call
            result = call().to(torch_side.require().float64).numpy()
            rows.append(common | {"algorithm": "torch", "layout": layout, "chosen": False} | _errors(right, result))
    if not sides:
        return rows, False
    timings = interleave(sides, progress=progress, **options)
    _enter_times(rows, timings, problem, element, peak)
    rows = [row for row in rows if "failed" in row or row.get("rounds")]
    rows.sort(key=lambda row: (row["algorithm"] == "torch", row.get("seconds", float("inf"))))
    return rows, timings.interrupted


def ours(algorithm: conv.Algorithm, problem: conv.Problem, which: str, operands: Operands) -> Callable:
    """A call of one pass, as the net would make it: forward with bias, ReLU and prepared filters."""
    backend = get_backend(CPU)
    x, w, bias, dy = operands.x, operands.w, operands.bias, operands.dy
    if which == "grad_input":
        return lambda: algorithm.grad_input(backend, problem, dy, w)
    if which == "grad_weight":
        return lambda: algorithm.grad_weight(backend, problem, dy, x)
    prepared = []

    def forward():
        if not prepared:
            prepared.append(algorithm.prepare(backend, problem, w) if algorithm.prepares else None)
        return conv.convolve(algorithm, backend, problem, x, w, bias, epilogue=RELU, prepared=prepared[0])

    return forward


def _declared(algorithm, problem, dtype, which, right: Truth) -> dict:
    scratch = algorithm.workspace(problem, dtype, which)
    return {
        "bound": algorithm.error_bound(problem, dtype, which) * right.bound_unit, "operations": algorithm.operations(problem, which),
        "workspace": scratch * get_num_threads(), "workspace_of_a_thread": scratch, "prepares": algorithm.prepares and which == "forward",
    }


def _errors(right: Truth, result) -> dict:
    error, rms = right.errors(result)
    return {"error": error, "rms": rms, "drawn": right.drawn}


def _enter_times(rows, timings, problem, dtype, peak) -> None:
    """Times, rates and ratios into the rows."""
    layouts = {row["layout"]: f"torch {row['layout']}" for row in rows if "layout" in row}
    medians = {layout: timings[side].median for layout, side in layouts.items() if timings[side].n}
    better = min(medians, key=medians.get, default=None)
    for row in rows:
        side = layouts[row["layout"]] if "layout" in row else row["algorithm"]
        if side not in timings:
            continue
        row |= timings[side].summary()
        row["gflops"] = 2 * problem.macs / row["seconds"] / 1e9
        row["share_of_peak"] = row["gflops"] / peak
        row["intensity"] = intensity(problem, dtype)
        if "layout" in row:
            row["better"] = row["layout"] == better
        elif better is not None:
            row["ratio"] = timings.ratio(layouts[better], side)


def intensity(problem: conv.Problem, dtype) -> float:
    """Operations per byte that must move whatever the algorithm: input, filter and output once each."""
    count = sum(n * c * h * w for n, c, h, w in (problem.x_shape, problem.w_shape, problem.y_shape))
    return 2 * problem.macs / (count * as_dtype(dtype).itemsize)


def above_bound(rows: Sequence[dict]) -> list[dict]:
    """The rows whose measured error is above the declared bound, or is no number."""
    return [row for row in rows if "bound" in row and "error" in row and not row["error"] <= row["bound"]]


def totals(rows: Sequence[dict], layers: Sequence[Layer], passes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds of all layers of a pass together, each as often as the net has it: way → pass → seconds, and ``"all"`` passes.

    Ways: ``chosen`` (what the library takes), ``fastest``, each algorithm that does every layer, ``torch`` (its better format each time). A sum
    that would lack a layer is left out.
    """
    times: dict[str, dict[tuple, float]] = {}
    for row in rows:
        if "seconds" not in row or row.get("better") is False:
            continue
        place, cost = (row["layer"], row["pass"]), row["count"] * row["seconds"]
        ways = [row["algorithm"]] + ["chosen"] * row["chosen"] + ["fastest"] * (row["algorithm"] != "torch")
        for way in ways:
            known = times.setdefault(way, {})
            known[place] = min(cost, known.get(place, cost))
    result: dict[str, dict[str, float]] = {}
    for way, known in times.items():
        for which in (*passes, "all"):
            places = [(layer.name, p) for layer in layers for p in layer.passes if p in passes and which in (p, "all")]
            if places and all(place in known for place in places):
                result.setdefault(way, {})[which] = sum(known[place] for place in places)
    order = {"chosen": 0, "fastest": 1, "torch": 3}
    return dict(sorted(result.items(), key=lambda item: (order.get(item[0], 2), item[0])))


