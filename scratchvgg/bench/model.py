"""Whole nets: inference and training steps, time beside PyTorch's, peak memory, error of the logits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .. import conv, nn, optim
from ..array import get_num_threads
from ..autograd import no_grad, tensor
from . import machine, memory, torch_side
from .problems import build_net, default_size, layers_of
from .timing import Timings, interleave

MODES = ("inference", "train")
SGD = {"lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4}  # a small step: random labels must not drive the numbers to NaN
COMPARED = 2  # images whose logits are compared with float64
LEGEND = """
time: median; ±: half the distance between the quartiles, in % of it. Both sides in one process, in turn, float32, same weights and images;
PyTorch in the better of NCHW and channels_last (both were measured). train is a whole step: forward, cross entropy, backward, SGD with
momentum and weight decay.
torch/ours: median (quartiles) of the ratios of neighbouring times; above 1 ours is faster.
peak: the most resident memory during steps less that after the imports, each side in a fresh process; "filters" of it are transformed filters that
inference keeps (SCRATCHVGG_CONV_CACHE=0 turns that off). error: largest |logit - truth| / largest |truth|, truth in float64, evaluation mode.
""".strip()


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        net: name and options, see :func:`~scratchvgg.bench.problems.build_net`.
        mode: ``"inference"`` or ``"train"``.
        batch: images.
        size: height and width; 0 is the net's own.
    """

    net: str
    mode: str
    batch: int
    size: int = 0

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {self.mode!r}")
        if self.batch < 1 or self.size < 0:
            raise ValueError(f"batch and size: expected 1 or more, got {self.batch} and {self.size}")
        if not self.size:
            object.__setattr__(self, "size", default_size(self.net))

    @property
    def title(self) -> str:
        """``vgg16 train 8×224²``."""
        return f"{self.net} {self.mode} {self.batch}×{self.size}²"


DEFAULT = (Row("vgg16", "inference", 1), Row("vgg16", "inference", 8), Row("vgg16", "train", 8), Row("cifar_vgg", "train", 128))


def parse_row(text: str) -> Row:
    """``NET/MODE/BATCH`` or ``NET/MODE/BATCH/SIZE``.

    Raises:
        ValueError: for anything else.
    """
    words = text.split("/")
    if len(words) not in (3, 4) or not all(word.isdecimal() and int(word) for word in words[2:]):
        raise ValueError(f"expected NET/MODE/BATCH or NET/MODE/BATCH/SIZE, as vgg16/train/8/224, got {text!r}")
    return Row(words[0], words[1], *map(int, words[2:]))


def images_of(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N, 3, H, W) float32 and labels (N,) int64."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((row.batch, 3, row.size, row.size), np.float32), rng.integers(0, 10, row.batch)


def our_step(model: nn.Module, row: Row, optimizer: optim.Optimizer | None = None) -> Callable:
    """A call that does one inference or one training step; ``optimizer``: one that the model has already."""
    images, labels = map(tensor, images_of(row))
    if row.mode == "inference":
        model.eval()

        def infer():
            with no_grad():
                return model(images)

        return infer
    model.train()
    optimizer = optimizer or optim.SGD(model.parameters(), **SGD)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_step(model, row: Row, layout: str, optimizer=None) -> Callable:
    """The same in PyTorch."""
    torch = torch_side.require()
    images, labels = map(torch.from_numpy, images_of(row))
    images = images.contiguous(memory_format=getattr(torch, torch_side.LAYOUTS[layout]))
    if row.mode == "inference":
        model.eval()

        def infer():
            with torch.inference_mode():
                return model(images)

        return infer
    model.train()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), **SGD)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def step_of(library: str, row: Row, layout: str = "NCHW") -> Callable:
    """A step of ``"ours"`` or ``"torch"`` with a net of its own."""
    model = build_net(row.net)
    return our_step(model, row) if library == "ours" else torch_step(torch_side.twin(model, layout=layout), row, layout)


def kept_filters() -> int:
    """Bytes of transformed filters that convolutions keep in this process."""
    return conv.cache.nbytes


def measure(rows: Sequence[Row] = DEFAULT, *, against: str | None = None, seconds: float = 10.0, rounds: int | None = None, with_memory: bool = True,
            with_error: bool = True, on_row: Callable[[dict], None] = lambda row: None, progress: Callable[[str], None] = lambda text: None) -> dict:
    """Measure whole nets.

    Args:
        rows: what to measure.
        against: ``"torch"`` to measure PyTorch beside.
        seconds, rounds: of each side, see :func:`~scratchvgg.bench.timing.interleave`.
        with_memory: measure the peak memory too, in fresh processes.
        with_error: compare the logits with float64 (PyTorch's, or with none there ours).
        on_row: called with each row when its times are there.
        progress: told what is going on.

    Returns:
        A report of plain values: ``machine torch settings rows interrupted``. A row has ``net mode batch size ours torch ratio``; a side has
        ``seconds low high spread best rounds``, ``peak``, ``filters``, ``error``, and PyTorch's ``layout`` and ``formats`` (seconds of each).

    Raises:
        ValueError: for an unknown net, or images too small for it.
        ImportError: for ``against="torch"`` without PyTorch.
    """
    for row in rows:
        layers_of(row.net, 1, row.size)  # finds out what is wrong before minutes are spent
    progress("measuring the machine: GEMM and copy rate")
    others = machine.Others()
    report = {
        "kind": "model", "machine": machine.describe(), "torch": torch_side.describe() if against == "torch" else None,
        "settings": {"dtype": "float32", "seconds": seconds, "rounds": rounds, "threads": get_num_threads(), "sgd": SGD, "conv": conv.current()},
        "legend": LEGEND, "rows": [], "interrupted": False,
    }
    try:
        for row in rows:
            entry, report["interrupted"] = _measure_row(row, against, seconds, rounds, with_error, functools.partial(_tell, progress, row.title))
            if entry["ours"]["rounds"] and (against is None or "seconds" in entry["torch"]):
                report["rows"].append(entry)
                on_row(entry)
            if report["interrupted"]:
                break
            for library in ("ours", "torch")[: 1 + (against == "torch")] if with_memory else ():
                progress(f"{row.title}: peak memory of {library}, in a process of its own")
                entry[library] |= memory.measure(library, **asdict(row), layout=entry[library].get("layout", "NCHW"))
    except KeyboardInterrupt:
        report["interrupted"] = True
    report["machine"]["others"] = others.share()
    return report


def _tell(progress, title: str, text: str) -> None:
    progress(f"{title}: {text}")


def _measure_row(row: Row, against, seconds, rounds, with_error, progress) -> tuple[dict, bool]:
    progress("building the nets")
    model = build_net(row.net)
    sides: dict[str, Callable] = {"ours": our_step(model, row)}
    entry = asdict(row) | {"ours": {}}
    twins = {}
    if against == "torch":
        for layout in torch_side.LAYOUTS:
            shared = next(iter(twins.values()), None) if row.mode == "inference" else None
            twins[layout] = torch_side.twin(model, layout=layout, share_linear=shared)
            sides[f"torch {layout}"] = torch_step(twins[layout], row, layout)
        entry["torch"] = {}
    if with_error:
        progress("the logits in float64")
        errors = logit_errors(model, row, twins)
        entry["ours"]["error"] = errors.pop("ours")
    timings = interleave(sides, seconds, rounds=rounds, progress=progress)
    entry["ours"] |= timings["ours"].summary()
    if against == "torch":
        _enter_torch(entry, timings, errors if with_error else {})
    return entry, timings.interrupted


def _enter_torch(entry: dict, timings: Timings, errors: dict[str, float]) -> None:
    formats = {layout: timings[f"torch {layout}"].median for layout in torch_side.LAYOUTS if timings[f"torch {layout}"].n}
    if not formats:
        return
    layout = min(formats, key=formats.get)
    entry["torch"] |= {"layout": layout, "formats": formats, "error": errors.get(layout)} | timings[f"torch {layout}"].summary()
    entry["ratio"] = timings.ratio(f"torch {layout}", "ours")


def exact_logits(model: nn.Module, row: Row) -> np.ndarray:
    """The logits (2, classes) of the first two images by a copy of ``model``, which is on the CPU, in float64 and evaluation mode."""
    exact = build_net(row.net).double().eval()
    exact.load_state_dict({name: t.double() if t.dtype.is_floating_point else t for name, t in model.state_dict().items()})
    with no_grad():
        return exact(tensor(images_of(row)[0][:COMPARED].astype(np.float64))).numpy()


def logit_errors(model: nn.Module, row: Row, twins: dict) -> dict[str, float]:
    """Largest error of the logits over the largest true logit, in evaluation mode, of ``"ours"`` and each of ``twins``.

    All see the whole batch; the truth, PyTorch in float64 or without it ours in float64, the first two images.
    """
    was = model.training
    whole = Row(row.net, "inference", row.batch, row.size)
    results = {"ours": our_step(model, whole)().numpy()}
    images = images_of(row)[0]
    if twins:
        torch = torch_side.require()
        for layout, theirs in twins.items():
            results[layout] = torch_step(theirs, whole, layout)().numpy()
            theirs.train(was)
        with torch.inference_mode():
            right = torch_side.twin(model, "float64")(torch.from_numpy(images[:COMPARED]).double()).numpy()
    else:
        right = exact_logits(model, row)
    model.train(was)
    largest = np.abs(right).max()
    return {name: float(np.abs(result[:COMPARED] - right).max() / largest) for name, result in results.items()}
