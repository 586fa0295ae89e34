"""The memory ledger: what a training step of a net will take, before it is run, and what it took.

Two steps, of one image and of a few, are run and watched (:mod:`.allocations`): real ones, with layers fused and memory freed as backward goes on.
At each of their moments what lives grows by the same amount with every further image, so the two give every moment of any batch, and the largest
is the peak. Parameters, buffers and the optimiser's state do not depend on the batch; scratch memory grows until its tiles are as large as
they get, see :meth:`Profile.scratch`. The process itself (interpreter, libraries) is not counted.

So far arrays are counted. The commands let the process keep freed memory (:func:`scratchvgg.array.keep_freed_memory`), and there it has gaps:
activations lie down where the largest array was, and the next one needs a new place. The gap is between nothing and the largest array that comes
at one moment, a gradient of the classifier in the paper's nets, an activation in small ones; the prediction takes the middle. Measured for VGG-11
and VGG-16, at batches of 4 and 8: 0.1 to 0.9 of it; for small_vgg, at batches of 64 and 256: about all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .. import nn
from ..array.device import Device
from ..array.dtypes import as_dtype
from ..autograd import ops
from ..models import get_model
from ..models.recomputing import recompute_stages
from .allocations import Step, declared_scratch, of_step
from .errors import StudyError
from .shown import Shown
from .tables import table

OPTIMIZERS = {"sgd": 1, "plain-sgd": 0, "adam": 2, "adamw": 2}
"""Optimiser → how many arrays like each parameter it keeps: SGD's velocity (with momentum), Adam's two moments."""
RESERVE = 0.1
"""Share that a budget must leave for what nobody counts, such as gaps between smaller blocks. Measured: up to 7 % (cifar_vgg)."""
APART = 8 << 20
"""Bytes that it must leave besides: BLAS's own buffers, the threads' stacks. Measured: 3 to 7 MiB (small_vgg)."""
DTYPES = ("float32", "float64", "float16", "bfloat16")


def mib(size: int) -> str:
    """Bytes as MiB, with a decimal below 100: sizes in a column are to be compared."""
    return f"{size / 2**20:,.{0 if size >= 100 << 20 else 1}f} MiB"


@dataclass(frozen=True)
class Profile:
    """What two steps showed of a net at one image size.

    Attributes:
        name: of the net. image: (C, H, W). dtype, device: of everything.
        recompute: the stages are computed again in backward.
        parameter_bytes, trainable_bytes, buffer_bytes: of the net. largest_bytes: of the largest gradient.
        image_bytes: of one image.
        batches: of the two steps. steps: the two.
    """

    name: str
    image: tuple[int, ...]
    dtype: str
    device: str
    recompute: bool
    parameter_bytes: int
    trainable_bytes: int
    buffer_bytes: int
    largest_bytes: int
    image_bytes: int
    batches: tuple[int, int]
    steps: tuple[Step, Step]

    def ledger(self, batch: int, optimizer: str = "sgd") -> Ledger:
        """The ledger at a batch size.

        Raises:
            StudyError: for fewer than one image, or an unknown optimiser.
        """
        if batch < 1:
            raise StudyError(f"batch: expected 1 or more, got {batch}")
        if optimizer not in OPTIMIZERS:
            raise StudyError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
        one, two = self.steps
        curve = [self._at(batch, a, b) for a, b in zip(one.live, two.live, strict=True)]
        worst = max(range(len(curve)), key=curve.__getitem__)
        gradients = self.trainable_bytes * (2 if self._packs(optimizer) else 1)
        parts = {
            "parameters": self.parameter_bytes, "gradients": gradients, "optimizer": OPTIMIZERS[optimizer] * self.trainable_bytes,
            "buffers": self.buffer_bytes, "input": batch * self.image_bytes, "kept": self._at(batch, one.kept, two.kept),
            "scratch": self.scratch(batch),
        }
        standing = sum(parts[key] for key in ("parameters", "optimizer", "buffers", "input", "scratch")) + gradients - self.trainable_bytes
        parts["rest"] = standing + curve[worst] - sum(parts.values())
        parts["gaps"] = 0 if self.device.startswith("cuda") else max(self.largest_bytes, _leap(curve)) // 2
        peak = standing + curve[worst] + parts["gaps"]
        return Ledger(self, batch, optimizer, parts, peak, one.labels[worst], [standing + live for live in curve])

    def _packs(self, optimizer):
        """On devices that run kernels, SGD copies all gradients into a buffer of its own, which stays."""
        return not self.device.startswith("cpu") and optimizer.endswith("sgd")

    def _at(self, batch, one, two):
        a, b = self.batches
        return round(one + (batch - a) * (two - one) / (b - a))

    def scratch(self, batch: int) -> int:
        """Scratch memory of all threads at a batch size: what the larger step took, and as much more as the algorithms of the convolutions declare
        more for a thread; but no more than in proportion to the batch."""
        (one, two), (first, second) = self.steps, self.batches
        if batch <= second:
            return min(two.scratch, -(-one.scratch * batch // first))
        kernels = not self.device.startswith("cpu")
        declared = [declared_scratch(two.passes, n, kernels) for n in (second, batch)]
        return min(two.scratch + max(0, declared[1] - declared[0]), two.scratch * batch // second)

    def largest(self, budget: int, optimizer: str = "sgd", most: int = 1 << 20) -> int:
        """The largest batch that ``budget`` bytes are enough for, with the largest gaps, :data:`RESERVE` and :data:`APART`; 0 if not even one
        image fits.
        """

        def fits(batch):
            return self.ledger(batch, optimizer).most * (1 + RESERVE) + APART <= budget

        low, high = 0, 1
        while high <= most and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def _leap(curve) -> int:
    """The most that comes at one moment."""
    return max((after - before for before, after in zip([0, *curve], curve, strict=False)), default=0)


ROWS = {
    "parameters": "parameters", "gradients": "gradients", "optimizer": "optimiser's state", "buffers": "buffers", "input": "images",
    "kept": "kept for backward, at the end of forward", "scratch": "scratch, all threads",
    "rest": "gradients on their way and temporaries, less what is not there at the same time",
    "gaps": "gaps in the allocator's memory: from nothing to twice this",
}


@dataclass(frozen=True)
class Ledger(Shown):
    """Predicted bytes of a training step.

    Attributes:
        profile: where the numbers come from. batch, optimizer: what is asked.
        parts: bytes of each entry of :data:`ROWS`; their sum is the peak.
        peak: bytes at the worst moment. moment: what is going on then.
        curve: bytes of the arrays at each moment of the step.
        measured: what :func:`scratchvgg.study.peak_memory.measure` found, if it was asked.
    """

    profile: Profile
    batch: int
    optimizer: str
    parts: dict[str, int]
    peak: int
    moment: str
    curve: list[int]
    measured: dict | None = None
    title = "Memory of a training step"

    @property
    def about(self) -> str:
        """What this is the ledger of."""
        p = self.profile
        return (f"{p.name}, {self.batch} × {'×'.join(map(str, p.image))}, {p.dtype}, {self.optimizer}, {p.device}"
                + (", stages computed again in backward" if p.recompute else ""))

    def to_dict(self) -> dict:
        """Plain values."""
        p = self.profile
        return {"model": p.name, "batch": self.batch, "image": list(p.image), "dtype": p.dtype, "device": p.device, "optimizer": self.optimizer,
                "recompute": p.recompute, "parts": self.parts, "predicted_peak": self.peak, "at_most": self.most, "moment": self.moment,
                "moments": [{"what": label, "bytes": value} for label, value in zip(p.steps[0].labels, self.curve, strict=True)],
                "measured": self.measured, "error": self.error}

    @property
    def most(self) -> int:
        """Bytes with the largest gaps that are likely."""
        return self.peak + self.parts["gaps"]

    @property
    def error(self) -> float | None:
        """(predicted − measured) / measured."""
        return None if self.measured is None else self.peak / self.measured["peak"] - 1

    def rows(self) -> list[list[str]]:
        """Name and size of each part, and of the peak."""
        lines = [[ROWS[key], mib(value)] for key, value in self.parts.items()]
        lines.append([f"predicted peak (during {self.moment})", mib(self.peak)])
        if self.measured is not None:
            lines.append([f"measured peak ({self.measured['how']})", mib(self.measured["peak"])])
            lines.append(["predicted / measured", f"{1 + self.error:.3f}"])
        return lines

    def __str__(self):
        return f"{self.about}\n\n" + table(self.rows(), ["", "size"])

    def to_html(self):
        from . import page
        from .page import svg

        line = {"name": "in use", "x": list(range(len(self.curve))), "y": [value / 2**20 for value in self.curve]}
        curve = svg.lines([line], title="memory over one training step", x_label="operations: forward, then backward", y_label="MiB")
        return page.render("sections/ledger.html", it=self, rows=self.rows(), curve=curve)


def profile(model, size, *, dtype: str = "float32", device: str = "cpu", recompute: bool = False, name: str | None = None,
            at: int | None = None) -> Profile:
    """Run two small training steps of a net, after one that is not counted, and watch their memory.

    Args:
        model: a name of :func:`scratchvgg.models.list_models`, a call that builds a net, or a net, which is left as it was.
        size: height and width of the images, or one number for both; or (C, H, W).
        dtype, device: of everything; a net is taken as it is.
        recompute: with :func:`~scratchvgg.models.recomputing.recompute_stages`.
        name: to show.
        at: the batch that is asked for: convolutions are done by the algorithms that it would take (default: those of :data:`USUAL` images),
            and the larger step has no more images.

    Raises:
        StudyError: for an unknown element type, a net without stages to compute again, or one that does not do the same for one image and two.
        ValueError, RuntimeError: what building and running the net raises.
    """
    if dtype not in DTYPES:
        raise StudyError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    image = _image(size)
    with _ready(model, dtype, device, recompute) as net:
        parameters, buffers = list(net.parameters()), list(net.buffers())
        home, kind = (parameters[0].device, parameters[0].dtype) if parameters else (Device(device), as_dtype(dtype))
        first = 1
        try:
            cold = _step(net, 1, image, home, kind, at or USUAL)
        except ValueError:  # batch norm in training refuses a single number per channel: one image, a 1×1 map
            first, cold = 2, _step(net, 2, image, home, kind, at or USUAL)
        batches = first, _affordable(cold, first, at)
        large, small = (_step(net, n, image, home, kind, at or USUAL) for n in batches[::-1])  # the cold one has filled caches that stay
    steps = small, large
    if steps[0].labels != steps[1].labels:
        raise StudyError("the net does other operations for one image than for two: its memory cannot be predicted from small steps")
    return Profile(
        name or (model if isinstance(model, str) else type(net).__name__), image, kind.name, str(home), recompute,
        sum(p.nbytes for p in parameters), sum(p.nbytes for p in parameters if p.requires_grad), sum(b.nbytes for b in buffers),
        max((p.nbytes for p in parameters if p.requires_grad), default=0),
        kind.itemsize * image[0] * image[1] * image[2], batches, steps)


def _affordable(step, count, wanted):
    """The batch of the larger step: twice the smaller, or more where that is little work and memory."""
    macs = sum(problem.macs for problem, _, which in step.passes if which == "forward")
    return max(2 * count, min(MOST, wanted or MOST, int(count * min(WORK / max(1, macs), MEMORY / max(1, step.kept)))))


USUAL = 32
WORK, MEMORY, MOST = 3e10, 1 << 29, 64
"""Of the larger step: multiply–accumulates forward, bytes kept, images; up to so much."""


def predict(model, batch: int, size, *, optimizer: str = "sgd", dtype: str = "float32", device: str = "cpu", recompute: bool = False) -> Ledger:
    """The ledger of one batch size: :func:`profile` and :meth:`Profile.ledger`. Arguments and errors as there."""
    if optimizer not in OPTIMIZERS or batch < 1:  # found out before seconds are spent
        raise StudyError(f"expected a batch of 1 or more and an optimizer of {', '.join(OPTIMIZERS)}, got {batch} and {optimizer!r}")
    return profile(model, size, dtype=dtype, device=device, recompute=recompute, at=batch).ledger(batch, optimizer)


def _image(size):
    image = (size, size) if isinstance(size, int) else tuple(size)
    return image if len(image) == 3 else (3, *image)


@contextmanager
def _ready(model, dtype, device, recompute) -> Iterator[nn.Module]:
    """The net in training mode, its stages computed again if asked; a net that was given is left as it was."""
    own = not isinstance(model, nn.Module)
    if own:
        with nn.init.skip():
            built: Callable = model if callable(model) else lambda: get_model(model)
            net = built().to(dtype=dtype, device=device)
    else:
        net = model
    modes, changed = {module: module.training for module in net.modules()}, recompute and "forward" not in vars(getattr(net, "features", net))
    if recompute:
        try:
            recompute_stages(net)
        except ValueError as error:
            raise StudyError(str(error)) from None
    try:
        yield net.train()
    finally:
        for module, mode in modes.items():
            module.training = mode
        if changed:
            recompute_stages(net, on=False)


def _step(net, count, image, device, dtype, like):
    x = ops.zeros(count, *image, dtype=dtype, device=device)
    return of_step(net, x, ops.zeros(count, dtype="int64", device=device), like)
