"""Whole nets on a GPU beside PyTorch's: inference and training steps in the same precision, the error of the logits beside the time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from .. import cuda as our_cuda
from .. import nn, optim
from ..array import Device, as_dtype, get_backend
from ..autograd import Tensor, autocast, no_grad, tensor
from ..cuda.precision import backends
from . import gpu_sides, torch_side
from .cuda_timing import time_calls
from .machine import commit
from .model import COMPARED, SGD, Row, exact_logits, images_of
from .problems import build_net, layers_of
from .tables import ratio

DEFAULT = (Row("vgg16", "inference", 1), Row("vgg16", "inference", 64), Row("vgg16", "train", 64), Row("cifar_vgg", "train", 128))
LEGEND = """
time: median of GPU events around a whole step, both sides in turn; ±: half the distance between the quartiles, in % of it. The same weights, images
and precision on both sides, channels_last; in 16 bits both run under autocast, without a gradient scaler. "graph" is our step recorded once
and replayed as a CUDA graph. train is forward, cross entropy, backward, SGD with momentum and weight decay.
torch/ours: median (quartiles) of the ratios of neighbouring times; above 1 ours is faster. error: largest |logit - truth| / largest |truth| of
two images, truth in float64, evaluation mode.
""".strip()


def measure(rows: Sequence[Row] = DEFAULT, *, device="cuda", precision: str = "float32", against: bool = False, seconds: float = 6.0,
            rounds: int | None = None, with_error: bool = True, graphs: bool = True, progress: Callable[[str], None] = lambda text: None) -> dict:
    """Measure whole nets on a GPU.

    Args:
        rows: what to measure.
        device: the GPU.
        precision: ``"float32"``, ``"tf32"``, ``"bfloat16"`` or ``"float16"``; of both sides.
        against: measure PyTorch beside.
        seconds, rounds: of each side, see :func:`~scratchvgg.bench.cuda_timing.time_calls`.
        with_error: compare the logits with float64.
        graphs: measure our step as a CUDA graph too.
        progress: told what is going on.

    Returns:
        A report of plain values: ``machine torch settings rows interrupted``. A row has ``net mode batch size ours``, with ``graphs`` also
        ``graph``, with ``against`` ``torch`` and ``ratio``; a side has ``seconds low high spread best rounds`` and ``error``.

    Raises:
        ValueError: for an unknown net, or images too small for it.
        RuntimeError: if the GPU is not there, or PyTorch sees none.
        ImportError: for ``against`` without PyTorch.
    """
    for row in rows:
        layers_of(row.net, 1, row.size)  # finds out what is wrong before minutes are spent
    backend = get_backend(Device(device))
    torch = gpu_sides.torch_gpu() if against else None
    about = None
    if torch is not None:
        gpu_sides.set_precision(torch, precision)
        about = gpu_sides.describe(torch, precision)
    report = {
        "kind": "model", "machine": {"name": our_cuda.get_device_name(backend.device), "commit": commit()}, "torch": about, "legend": LEGEND,
        "settings": {"device": str(backend.device), "precision": precision, "seconds": seconds, "rounds": rounds, "sgd": SGD, "timed": True},
        "rows": [], "interrupted": False,
    }
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        for row in rows:
            entry, timed = _measure_row(backend, torch, row, precision, seconds, rounds, with_error, graphs, progress)
            report["interrupted"] = timed.interrupted
            if all(timing.n for timing in timed.values()):
                report["rows"].append(entry)
            if report["interrupted"]:
                break
    except KeyboardInterrupt:
        report["interrupted"] = True
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before
    return report


def _measure_row(backend, torch, row, precision, seconds, rounds, with_error, graphs, progress):
    progress(f"{row.title}: building the nets")
    model, (images, labels) = build_net(row.net), images_of(row)
    right = exact_logits(model, row) if with_error else None
    theirs = torch_side.twin(model, layout="channels_last").cuda() if torch is not None else None
    model.to(backend.device)
    rows_of_pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    x, t = Tensor.wrap(backend, backend.asarray(rows_of_pixels).transpose(0, 3, 1, 2)), tensor(labels).to(backend.device)
    nets = {"ours": (model, our_step(model, row, x, t, precision))}
    if theirs is not None:
        nets["torch"] = theirs, torch_step(torch, theirs, row, gpu_sides.share(torch, backend, x.array), torch.from_numpy(labels).cuda(), precision)
    entry = asdict(row) | {name: {} for name in nets}
    if with_error:
        for name, logits in _logits(torch, backend, nets, row, x, precision).items():
            entry[name]["error"] = float(np.abs(logits[:COMPARED] - right).max() / np.abs(right).max())
    calls = {}
    for name, (net, step) in nets.items():
        net.train(row.mode == "train")
        calls[name] = step
    if graphs:
        progress(f"{row.title}: recording a CUDA graph")
        calls["graph"] = recorded(calls["ours"])
        entry["graph"] = {}
    timed = time_calls(backend, calls, seconds, rounds=rounds, flush=0, progress=lambda text: progress(f"{row.title}: {text}"))
    for name in calls:
        entry[name] |= timed[name].summary() if timed[name].n else {}
    if "torch" in calls:
        entry["ratio"] = timed.ratio("torch", "ours")
    return entry, timed


def _region(cast, precision: str, dtype):
    """Autocast in 16 bits, nothing else."""
    return cast("cuda", dtype=dtype) if precision in ("bfloat16", "float16") else contextlib.nullcontext()


def our_step(model: nn.Module, row: Row, x, t, precision: str) -> Callable:
    """A call that does one inference or one training step on images ``x`` (N, 3, H, W) and labels ``t`` (N,) of the model's device."""
    dtype = as_dtype(gpu_sides.PRECISIONS[precision])
    optimizer = optim.SGD(model.parameters(), **SGD) if row.mode == "train" else None

    def infer():
        with no_grad(), _region(autocast, precision, dtype):
            return model(x)

    def train():
        with _region(autocast, precision, dtype):
            loss = nn.functional.cross_entropy(model(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return train if optimizer else infer


def torch_step(torch, model, row: Row, x, t, precision: str) -> Callable:
    """The same in PyTorch."""
    dtype = getattr(torch, gpu_sides.PRECISIONS[precision])
    optimizer = torch.optim.SGD(model.parameters(), **SGD) if row.mode == "train" else None

    def infer():
        with torch.no_grad(), _region(torch.autocast, precision, dtype):
            return model(x)

    def train():
        with _region(torch.autocast, precision, dtype):
            loss = torch.nn.functional.cross_entropy(model(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return train if optimizer else infer


def recorded(step: Callable) -> Callable:
    """``step`` as a CUDA graph: three calls beforehand make what is made only once."""
    stream, graph = our_cuda.Stream(), our_cuda.CUDAGraph()
    stream.wait_stream(our_cuda.current_stream())
    with our_cuda.stream(stream):
        for _ in range(3):
            step()
    our_cuda.synchronize()
    with our_cuda.graph(graph, stream=stream):
        step()
    return graph.replay


def _logits(torch, backend, nets, row, x, precision) -> dict[str, np.ndarray]:
    """The logits of each side's net in evaluation mode, on the host."""
    whole, results = Row(row.net, "inference", row.batch, row.size), {}
    for name, (net, _) in nets.items():
        net.eval()
        if name == "ours":
            results[name] = our_step(net, whole, x, None, precision)().float().cpu().numpy()
        else:
            step = torch_step(torch, net, whole, gpu_sides.share(torch, backend, x.array), None, precision)
            results[name] = gpu_sides.to_host(torch, step())
    return results


def table_rows(rows: Sequence[dict], against: bool) -> tuple[list[list[str]], list[str]]:
    """The table of ``bench model --device cuda``: cells and headers."""
    graphs = any("graph" in row for row in rows)
    headers = ["net", "mode", "batch", "size", "ours ms", "±%"] + ["graph ms"] * graphs + ["torch ms", "±%", "torch/ours"] * against
    headers += ["error"] + ["torch error"] * against
    cells = []
    for row in rows:
        line = [row["net"], row["mode"], row["batch"], row["size"], *_time(row["ours"])] + _time(row.get("graph"))[:1] * graphs
        line += [*_time(row["torch"]), ratio(row["ratio"])] if against else []
        cells.append(line + [f"{row[side]['error']:.1e}" if "error" in row[side] else "" for side in ("ours", "torch")[: 1 + against]])
    return cells, headers


def _time(side) -> list[str]:
    return [f"{1e3 * side['seconds']:.3f}", f"{50 * side['spread']:.0f}"] if side else ["", ""]
