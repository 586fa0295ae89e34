"""Why 3×3? One large filter against a stack of small ones that sees the same window: weights, products, time.

The argument of the paper (arXiv 1409.1556, section 2.3), for C channels in and out: two 3×3 convolutions see 5×5 pixels with 18 C² weights instead
of 25 C², three see 7×7 with 27 C² instead of 49 C²; and there are two or three ReLUs in the place of one, which makes the function more
discriminative. What it does not say: the stack keeps an activation more for each ReLU, and moves more memory. Both are counted here, and times are
measured. Two things decide about those: the products, and the algorithm. The library has faster ones for 3×3 (Winograd), so the
times are also measured with im2col on both sides, where only products and memory traffic differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from .. import conv, nn
from ..array import get_num_threads
from ..autograd import no_grad, tensor
from ..bench import machine
from ..bench.timing import interleave
from .errors import StudyError
from .page import formats
from .shown import Shown
from .tables import table
from .trace import trace
from .why3x3_experiment import Experiment, experiment

__all__ = ["Experiment", "Factorisation", "Pair", "Stack", "experiment", "factorisation"]

PASSES = ("forward", "training")
SETTINGS = ("auto", "im2col")
LARGEST = 1 << 30  # elements of one activation


@dataclass
class Stack:
    """Convolutions of the same width, each with bias and ReLU.

    Attributes:
        filters: their sizes, as (3, 3).
        weights: without biases. biases: their number.
        macs: multiply–accumulates of one image.
        receptive_field: pixels that an output sees, a side.
        relus: non-linearities.
        kept_bytes: what a training step keeps for backward, for the whole batch, as recorded on the tape.
        seconds: setting → pass → the summary of :class:`~scratchvgg.bench.timing.Timing`; empty if nothing was measured.
        algorithms: setting → pass of the convolution → the algorithms that did it.
    """

    filters: tuple[int, ...]
    weights: int
    biases: int
    macs: int
    receptive_field: int
    relus: int
    kept_bytes: int
    seconds: dict = field(default_factory=dict)
    algorithms: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``one 5×5``, ``two 3×3``."""
        return f"{('one', 'two', 'three')[len(self.filters) - 1]} {self.filters[0]}×{self.filters[0]}"


@dataclass
class Pair:
    """A large filter and the stack that sees as much.

    Attributes:
        large, small: the two.
        ratios: setting → pass → lower quartile, median and upper quartile of time(large) / time(small) over the rounds: above 1 the stack is faster.
    """

    large: Stack
    small: Stack
    ratios: dict = field(default_factory=dict)


@dataclass
class Factorisation(Shown):
    """The paper's comparison for one number of channels.

    Attributes:
        channels, size, batch: C, height and width, images.
        pairs: 5×5, and 7×7.
        machine: where the times were measured, or None.
        threads: of the times.
        interrupted: Ctrl-C ended the measurement early.
    """

    title = "Why 3×3"
    channels: int
    size: int
    batch: int
    pairs: list[Pair]
    machine: dict | None
    threads: int
    interrupted: bool = False

    def to_dict(self) -> dict:
        pairs = [{side: {"name": (stack := getattr(pair, side)).name, **asdict(stack)} for side in ("large", "small")} | {"ratios": pair.ratios}
                 for pair in self.pairs]
        return {"kind": "factorisation", "channels": self.channels, "size": self.size, "batch": self.batch, "dtype": "float32", "pairs": pairs,
                "threads": self.threads, "machine": self.machine, "interrupted": self.interrupted, "notes": self.notes()}

    HEADERS = ("", "weights", "", "MACs an image", "sees", "ReLUs", "kept")

    def rows(self) -> list[list[str]]:
        """Weights, MACs, receptive field, ReLUs and kept bytes of each stack."""
        rows = []
        for pair in self.pairs:
            for stack in (pair.large, pair.small):
                rows.append([stack.name, f"{stack.weights:,}", f"{sum(n * n for n in stack.filters)} C²", f"{stack.macs:,}",
                             f"{stack.receptive_field}×{stack.receptive_field}", str(stack.relus), formats.size(stack.kept_bytes)])
        return rows

    def time_headers(self) -> list[str]:
        """Over :meth:`time_rows`."""
        return ["algorithms", "pass", "large", "ms", "±", "stack", "ms", "±", "large / stack", "MACs say", "large by", "stack by"]

    def time_rows(self) -> list[list[str]]:
        """Times of the pairs, setting by setting, pass by pass."""
        rows = []
        for setting in SETTINGS:
            for pair in self.pairs:
                for which in PASSES:
                    if which not in pair.ratios.get(setting, {}):
                        continue
                    low, middle, high = pair.ratios[setting][which]
                    cells = [setting, which]
                    for stack in (pair.large, pair.small):
                        t = stack.seconds[setting][which]
                        cells += [stack.name, formats.ms(t["seconds"]), f"{50 * t['spread']:.0f} %"]
                    passes = conv.PASSES[:1] if which == "forward" else conv.PASSES
                    rows.append([*cells, f"{middle:.2f} ({low:.2f}–{high:.2f})", f"{pair.large.macs / pair.small.macs:.2f}",
                                 _by(pair.large, setting, passes), _by(pair.small, setting, passes)])
        return rows

    def notes(self) -> list[str]:
        """What the numbers mean, and how they were measured."""
        lines = [f"C = {self.channels} channels in and out, {self.size}×{self.size} pixels, batch {self.batch}, float32; bias and ReLU behind every "
                 "convolution; weights without biases",
                 "sees: receptive field of an output; kept: bytes that a training step keeps for backward, input not counted"]
        if self.machine is not None:
            lines += ["times: medians, both sides in turn in one process; ±: half the distance between the quartiles; training: forward and backward",
                      "  with all gradients, that of the input too; forward: inference, which keeps transformed filters from call to call",
                      "large / stack: median (quartiles) of the ratios of neighbouring times; above 1 the stack is faster. MACs say: their ratio",
                      *machine.headline(self.machine).splitlines()]
        if self.interrupted:
            lines.append("interrupted: fewer rounds than asked for")
        return lines

    def __str__(self):
        parts = [table(self.rows(), list(self.HEADERS))]
        if any(pair.ratios for pair in self.pairs):
            parts += ["", table(self.time_rows(), self.time_headers(), 3)]
        return "\n".join([*parts, "", *self.notes()])

    def to_html(self):
        from . import page

        charts = []
        for which in PASSES:
            bars = [(f"{pair.small.name}, {setting}", pair.ratios[setting][which][1]) for pair in self.pairs for setting in SETTINGS
                    if which in pair.ratios.get(setting, {})]
            bars += [(f"{pair.small.name}, MACs", pair.large.macs / pair.small.macs) for pair in self.pairs]
            charts.append({"title": f"{which}: times as fast as the large filter", "labels": [b[0] for b in bars], "ratios": [b[1] for b in bars]})
        return page.render("sections/why3x3.html", it=self, times=self.time_rows(), charts=charts)


def factorisation(channels: int, size: int = 56, batch: int = 1, *, measure: bool = True, seconds: float = 0.5, rounds: int | None = None,
                  progress: Callable[[str], None] = lambda text: None) -> Factorisation:
    """Compare one 5×5 with two 3×3, and one 7×7 with three.

    Args:
        channels: C, of every convolution's input and output.
        size: height and width. batch: images.
        measure: time them too, in turn (A B A B …), with the algorithms that the library takes and with im2col.
        seconds, rounds: of each side, see :func:`~scratchvgg.bench.timing.interleave`.
        progress: told what is going on.

    Raises:
        StudyError: for sizes that are not positive, or more than 2³⁰ elements of one activation.
    """
    for name, value in (("channels", channels), ("size", size), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise StudyError(f"{name}: expected 1 or more, got {value!r}")
    if channels * size * size * batch > LARGEST or 49 * channels * channels > LARGEST:
        raise StudyError(f"channels, size, batch: {channels}, {size}, {batch} make more than 2³⁰ numbers of one array")
    others = machine.Others()
    x = tensor(np.random.default_rng(0).standard_normal((batch, channels, size, size), np.float32))
    found = Factorisation(channels, size, batch, [], machine.describe() if measure else None, get_num_threads())
    for large, small in (((5,), (3, 3)), ((7,), (3, 3, 3))):
        nets = {filters: _net(channels, filters) for filters in (large, small)}
        pair = Pair(*(_count(net, filters, x) for filters, net in nets.items()))
        found.pairs.append(pair)
        for setting in SETTINGS if measure else ():
            if found.interrupted:
                break
            _time(found, pair, nets, x, setting, seconds, rounds, progress)
    if measure:
        found.machine["others"] = others.share()
    return found


def _net(channels: int, filters: tuple[int, ...]) -> nn.Sequential:
    layers = []
    for number in filters:
        layers += [nn.Conv2d(channels, channels, number, padding=number // 2), nn.ReLU(inplace=True)]
        nn.init.normal_(layers[-2].weight, 0.0, (2 / (channels * number**2)) ** 0.5)
    return nn.Sequential(*layers)


def _count(net, filters, x) -> Stack:
    """Everything that is not time: counted from the net itself, bytes from the tape of a recorded run."""
    weights, biases = (sum(p.numel() for name, p in net.named_parameters() if name.endswith(kind)) for kind in ("weight", "bias"))
    kept = sum(call.kept_bytes for call in trace(net, x, record=True).calls)
    return Stack(filters, weights, biases, weights * x.shape[2] * x.shape[3], 1 + sum(n - 1 for n in filters), len(filters), kept)


def _time(found, pair, nets, x, setting, seconds, rounds, progress) -> None:
    large, small = pair.large, pair.small
    stacks = dict(zip(nets, (large, small), strict=True))
    for which in PASSES:
        with conv.using(setting if setting != "auto" else conv.current()):
            sides = {stack.name: functools.partial(_run, nets[filters], x, which) for filters, stack in stacks.items()}
            for filters, stack in stacks.items():
                stack.algorithms.setdefault(setting, {}).update(_who(nets[filters], x, which))
            title = f"{large.name} and {small.name}, {which}, {setting}"
            times = interleave(sides, seconds, rounds=rounds, progress=lambda text, title=title: progress(f"{title}: {text}"))
        found.interrupted = found.interrupted or times.interrupted
        if not all(times[stack.name].n for stack in stacks.values()):
            return
        for stack in stacks.values():
            stack.seconds.setdefault(setting, {})[which] = times[stack.name].summary()
        pair.ratios.setdefault(setting, {})[which] = times.ratio(large.name, small.name)
        if found.interrupted:
            return


def _run(net, x, which):
    if which == "forward":
        with no_grad():
            return net(x)
    x.grad = None
    net.zero_grad()
    x.requires_grad_(True)
    try:
        y = net(x)
        y.backward(y.detach())
    finally:
        x.requires_grad_(False)
        x.grad = None
    return y


def _who(net, x, which) -> dict[str, list[str]]:
    """Pass → the algorithms that a run takes."""
    taken: dict[str, list[str]] = {}

    def note(problem, dtype, passed, chosen):
        names = taken.setdefault(passed, [])
        if chosen.name not in names:
            names.append(chosen.name)
        return chosen

    with conv.intercept_choices(note):
        _run(net, x, which)
    return taken


def _by(stack: Stack, setting: str, passes) -> str:
    names = [name for which in passes for name in stack.algorithms[setting].get(which, ())]
    return " ".join(dict.fromkeys(names))
