"""Convolutions on a device that runs CUDA kernels: on a GPU every algorithm beside cuDNN, on the emulator their errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict

from .. import conv
from ..array import Device, get_backend
from ..array.dtypes import as_dtype
from ..cuda.precision import backends
from . import gpu_sides
from .accuracy import Operands, truth
from .conv import totals
from .cuda_timing import FLUSH, time_calls
from .machine import commit
from .problems import Layer, parse_problem, problem_text

LEGEND = """
time: median of GPU events around one call, all sides of a block in turn, the second-level cache emptied before each; ±: half the distance between
the quartiles, in % of it. Arrays are channels-last on both sides, the same memory; forward is convolution + bias on all sides.
TFLOP/s: 2 · multiply-accumulates of the direct sum / time. floor %: the least possible time, max(bytes that must move / copy rate, operations / GEMM
rate of this precision), over the time; both rates are measured in this run. error: largest |y - truth| / largest |truth|, truth in float64 (~ where
a part is drawn); bound: the algorithm's own, in the same unit; ! where the error is above it; rms error: root mean square, in the same unit.
> is what the library takes by itself. cuDNN/it: median (quartiles) of the ratios of neighbouring times; above 1 ours is faster.
""".strip()
LEGEND_UNTIMED = """
error: largest |y - truth| / largest |truth|, truth in float64 (~ where a part is drawn); bound: the algorithm's own, in the same unit; ! where the
error is above it; rms error: root mean square. > is what the library takes by itself on a GPU.
Not timed: on the emulator g++ plays the GPU on this processor, and times there mean nothing.
""".strip()
TINY = ("2,3,6,5,4,3,3,1,1", "1,16,9,7,8,3,3,1,1", "1,8,7,9,16,3,3,2,1", "2,4,5,6,8,1,1", "1,64,4,4,64,3,3,1,1")
"""What is checked on the emulator if nothing is asked for."""

HEADERS = ["algorithm", "time ms", "±%", "TFLOP/s", "floor %", "error", "bound", "rms error"]


def tiny_layers() -> list[Layer]:
    """The problems of :data:`TINY`."""
    return [Layer(text, parse_problem(text)) for text in TINY]


def measure(layers: Sequence[Layer], *, device="cuda", passes: Sequence[str] = conv.PASSES, algorithms: Sequence[str] | None = None,
            precision: str = "float32", seconds: float = 0.3, rounds: int | None = None, against: bool = False, user: conv.Algorithm | None = None,
            on_block: Callable[[Layer, str, list[dict]], None] = lambda layer, which, rows: None,
            progress: Callable[[str], None] = lambda text: None) -> dict:
    """Measure convolutions on a device.

    Args:
        layers: what to measure.
        device: ``"cuda"``, ``"cuda:1"`` …, or ``"emulator"``, where errors are compared and nothing is timed.
        passes: of ``conv.PASSES``.
        algorithms: names of those with kernels; None is all that support the problem (``direct`` only on the emulator).
        precision: of :data:`~scratchvgg.bench.gpu_sides.PRECISIONS`.
        seconds, rounds: of each side of each block, see :func:`~scratchvgg.bench.cuda_timing.time_calls`.
        against: measure cuDNN, through PyTorch, beside.
        user: another algorithm, beside ours.
        on_block: called with the rows of each layer and pass when they are there.
        progress: told what is going on.

    Returns:
        A report of plain values, as :func:`scratchvgg.bench.conv.measure`'s: ``machine`` has ``name copy_rate gemm_rate`` (bytes and operations a
        second), a row ``floor`` (seconds) and ``share`` of it; cuDNN's rows are called ``torch``. Without a GPU rows have errors only.

    Raises:
        ValueError: for an unknown algorithm or precision.
        RuntimeError: if the device is not there, or PyTorch sees no GPU.
        ImportError: for ``against`` without PyTorch.
    """
    if precision not in gpu_sides.PRECISIONS:
        raise ValueError(f"dtype: expected one of {', '.join(gpu_sides.PRECISIONS)}, got {precision!r}")
    for name in algorithms or ():
        conv.get(name, kernels=True)
    backend = get_backend(Device(device))
    timed = backend.device.type == "cuda"
    torch = gpu_sides.torch_gpu() if against and timed else None
    report = {
        "kind": "conv", "machine": _machine(backend, torch, precision, progress) if timed else {"name": "the emulator", "commit": commit()},
        "torch": None, "legend": LEGEND if timed else LEGEND_UNTIMED, "rows": [], "interrupted": False,
        "settings": {"device": str(backend.device), "precision": precision, "seconds": seconds, "rounds": rounds, "flush": FLUSH, "timed": timed},
    }
    if torch is not None:
        gpu_sides.set_precision(torch, precision)
        report["torch"] = gpu_sides.describe(torch, precision)
    how = {"seconds": seconds, "rounds": rounds, "progress": progress}
    with _tf32(precision == "tf32"), backend.quiet():
        for layer, which in [(layer, which) for layer in layers for which in passes if which in layer.passes]:
            ways = candidates(layer.problem, precision, algorithms, small=not timed)
            if user is not None and which == "forward" and user.supports(layer.problem, gpu_sides.PRECISIONS[precision]):
                ways[user.name] = user
            if not ways:
                continue
            try:
                rows, report["interrupted"] = _block(backend, torch, layer, which, ways, precision, report["machine"] if timed else None, how)
            except KeyboardInterrupt:
                rows, report["interrupted"] = [], True
            report["rows"] += rows
            if rows:
                on_block(layer, which, rows)
            if report["interrupted"]:
                break
    return report | {"totals": totals(report["rows"], layers, passes)}


@contextlib.contextmanager
def _tf32(allowed: bool):
    """Ours is held to the precision too."""
    before = backends.cudnn.allow_tf32
    backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        backends.cudnn.allow_tf32 = before


def _machine(backend, torch, precision, progress) -> dict:
    from ..cuda import get_device_properties

    progress("measuring the GPU: copy and GEMM rate")
    return {"name": get_device_properties(backend.device).name, "commit": commit(), **gpu_sides.rates(backend, torch, precision)}


def candidates(problem: conv.Problem, precision: str, names: Sequence[str] | None = None, small: bool = False) -> dict[str, conv.Algorithm]:
    """Our algorithms that compute in ``precision``: TF32's for "tf32" only, the slow twin for small problems only, unless it is asked for."""
    dtype = as_dtype(gpu_sides.PRECISIONS[precision])
    found = {}
    for name, algorithm in conv.algorithms(kernels=True).items():
        rounds_to_tf32 = algorithm.permitted is not None
        wanted = name in names if names else (small or name != "direct")
        if wanted and rounds_to_tf32 == (precision == "tf32") and algorithm.supports(problem, dtype):
            found[name] = algorithm
    return found


def _block(backend, torch, layer, which, ways, precision, rates, how) -> tuple[list[dict], bool]:
    """The rows of one layer and pass, fastest first and cuDNN's last, and whether Ctrl-C came."""
    problem, element, progress = layer.problem, as_dtype(gpu_sides.PRECISIONS[precision]), how["progress"]
    title = f"{layer.title} {which}"
    progress(f"{title}: the truth in float64")
    host = Operands.draw(problem, element)
    right = truth(problem, which, host, relu=False)
    operands = [backend.asarray(a) for a in (host.x, host.w, host.bias, host.dy)]
    chosen = conv.choose(problem, element, None, which, kernels=True).name
    common = {"layer": layer.name, "count": layer.count, "problem": asdict(problem), "shape": problem_text(problem), "pass": which}
    rows, sides = [], {}
    for name, algorithm in ways.items():
        progress(f"{title}: {name}, error")
        call = gpu_sides.our_convolution(backend, algorithm, problem, which, *operands)
        row = common | {"algorithm": name, "chosen": name == chosen, "bound": algorithm.error_bound(problem, element, which) * right.bound_unit,
                        "workspace": algorithm.workspace(problem, element, which)}
        try:
            row |= _errors(right, backend.to_numpy(call()))
            sides[name] = call
        except Exception as error:  # the others are still worth a table
            row["failed"] = f"{type(error).__name__}: {error}"
        rows.append(row)
    if torch is not None:
        call = gpu_sides.torch_convolution(torch, problem, which, *(gpu_sides.share(torch, backend, a) for a in operands))
        rows.append(common | {"algorithm": "torch", "chosen": False} | _errors(right, gpu_sides.to_host(torch, call())))
        sides["torch"] = call
    if rates is None or not sides:
        return rows, False
    timings = time_calls(backend, sides, how["seconds"], rounds=how["rounds"], flush=FLUSH, progress=lambda text: progress(f"{title}: {text}"))
    least = floor(problem, element, rates)
    for row in rows:
        name = row["algorithm"]
        if name in timings and timings[name].n:
            row |= timings[name].summary()
            row |= {"tflops": 2 * problem.macs / row["seconds"] / 1e12, "floor": least, "share": least / row["seconds"]}
            if "torch" in timings and name != "torch":
                row["ratio"] = timings.ratio("torch", name)
    rows.sort(key=lambda row: (row["algorithm"] == "torch", row.get("seconds", float("inf"))))
    return [row for row in rows if "failed" in row or "seconds" in row], timings.interrupted


def _errors(right, result) -> dict:
    error, rms = right.errors(result)
    return {"error": error, "rms": rms, "drawn": right.drawn}


def floor(problem: conv.Problem, dtype, rates: dict) -> float:
    """Seconds that no implementation can go below: every number moved once, every product of the direct sum computed at cuBLAS's rate."""
    count = sum(n * c * h * w for n, c, h, w in (problem.x_shape, problem.w_shape, problem.y_shape))
    seconds = count * as_dtype(dtype).itemsize / rates["copy_rate"]
    return max(seconds, 2 * problem.macs / rates["gemm_rate"]) if rates["gemm_rate"] else seconds


def table_rows(rows: Sequence[dict], against: bool, timed: bool) -> tuple[list[list[str]], list[str]]:
    """A block of the report: cells and headers; those that failed come without numbers."""
    from .tables import ratio

    keep = slice(0, None) if timed else slice(4, None)  # without times
    cells = []
    for row in rows:
        name = f"{'>' if row['chosen'] else ' '} {'cuDNN' if row['algorithm'] == 'torch' else row['algorithm']}"
        if "failed" in row:
            numbers = ["failed", *[""] * (len(HEADERS) - 2)]
            cells.append([name, *(numbers if timed else numbers[4:])] + [""] * against)
            continue
        numbers = [""] * 4
        if timed:
            numbers = [f"{1e3 * row['seconds']:.4f}", f"{50 * row['spread']:.0f}", f"{row['tflops']:.2f}", f"{100 * row['share']:.0f}"]
        flag, near = "!" if "bound" in row and not row["error"] <= row["bound"] else "", "~" if row["drawn"] < 1 else ""
        numbers += [f"{flag}{near}{row['error']:.1e}", f"{row['bound']:.1e}" if "bound" in row else "", f"{row['rms']:.1e}"]
        cells.append([name, *numbers[keep]] + [ratio(row.get("ratio"))] * against)
    return cells, HEADERS[:1] + HEADERS[1:][keep] + ["cuDNN/it"] * against
