"""What a comparison found, and how it is shown."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field

from ..page import formats
from ..shown import Shown
from ..tables import table
from . import verdict
from .numbers import Gap

WIDTH = 150  # of the terminal's text
FORWARD = ("output", "running_mean", "running_var")


@dataclass(frozen=True)
class Own:
    """A layer's own errors: both sides and the truth were given the same input, or the same gradient.

    Attributes:
        gap: the errors. allowed_a, allowed_b: what rounding explains (:mod:`.limits`).
    """

    gap: Gap
    allowed_a: float
    allowed_b: float

    @property
    def shares(self) -> tuple[float, float]:
        """The errors of A and B as shares of what is allowed; above 1 the side departs."""
        return tuple(math.inf if math.isnan(error) or math.isinf(error) else error / allowed if allowed else (math.inf if error else 0.0)
                     for error, allowed in ((self.gap.error_a, self.allowed_a), (self.gap.error_b, self.allowed_b)))

    @property
    def departs(self) -> str:
        """Which sides depart: ``""``, ``"A"``, ``"B"``, ``"AB"``."""
        return "".join(side for side, share in zip("AB", self.shares, strict=True) if not share <= 1)

    def to_dict(self) -> dict:
        """Errors, what is allowed, and who departs."""
        return {**self.gap.to_dict(), "allowed_a": self.allowed_a, "allowed_b": self.allowed_b, "departs": self.departs}


@dataclass
class Layer:
    """One layer of both sides.

    Attributes:
        name, type, shape: of the output, the batch included.
        algorithms: ``"a"`` and ``"b"`` → pass → the convolution algorithm.
        own: quantity (``output``, ``running_mean``; ``grad_input``, ``weight``, ``bias`` are gradients) → own errors.
        whole: quantity → errors in the whole net, each side computing on with its own numbers.
        frozen: the same with the truth's decisions in the place of each side's.
        flips: decisions that differ: ``"a"`` and ``"b"`` from the truth, ``"between"`` them, ``"of"`` so many; empty where nothing is decided.
        notes: differences that can be read off: other weights, other options.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    algorithms: dict[str, dict[str, str]] = field(default_factory=lambda: {"a": {}, "b": {}})
    own: dict[str, Own] = field(default_factory=dict)
    whole: dict[str, Gap] = field(default_factory=dict)
    frozen: dict[str, Gap] = field(default_factory=dict)
    flips: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def departing(self, forward: bool) -> list[tuple[str, Own]]:
        """The quantities of a direction in which a side departs."""
        return [(name, own) for name, own in self.own.items() if (name in FORWARD) == forward and own.departs]

    def worst(self) -> str | None:
        """The gradient whose own error is the largest share of what is allowed."""
        names = [name for name in self.own if name not in FORWARD]
        return max(names, key=lambda name: max(self.own[name].shares), default=None)

    def to_dict(self) -> dict:
        """Everything."""
        return {"name": self.name, "type": self.type, "output_shape": list(self.shape), "algorithms": self.algorithms,
                "own": {n: own.to_dict() for n, own in self.own.items()}, "whole": {n: gap.to_dict() for n, gap in self.whole.items()},
                "frozen": {n: gap.to_dict() for n, gap in self.frozen.items()}, "flips": self.flips, "notes": self.notes}


@dataclass
class Divergence(Shown):
    """Two sides, layer by layer, with the truth between them.

    Attributes:
        a, b: a line about each side. truth: about the truth.
        layers: in the order of the forward pass; the loss is the last.
        batch: shape of the input. mode: ``"eval"`` or ``"train"``. backward: whether gradients were compared.
        ulp_dtype: whose units in the last place were counted. dtypes: of A and B.
        notes: what else belongs to the numbers.
        seconds: of the whole comparison.
    """

    title = "Divergence"
    a: str
    b: str
    truth: str
    layers: list[Layer]
    batch: tuple[int, ...]
    mode: str
    backward: bool
    ulp_dtype: str
    dtypes: tuple[str, str] = ("float32", "float32")
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def first(self) -> dict[str, str | None]:
        """``forward`` and ``backward`` → the first layer, in the order of that pass, where a side departs; None if none does."""
        order = {"forward": self.layers, "backward": self.layers[::-1]}
        return {pass_: next((layer.name for layer in layers if layer.departing(pass_ == "forward")), None) for pass_, layers in order.items()}

    @property
    def agrees(self) -> bool:
        """No layer departs."""
        return not any(layer.departing(forward) for layer in self.layers for forward in (True, False))

    def layer(self, name: str) -> Layer:
        """The layer of a name.

        Raises:
            KeyError: if there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    @property
    def verdict(self) -> list[str]:
        """The conclusion in words."""
        return verdict.words(self)

    def to_dict(self) -> dict:
        return {"kind": "divergence", "a": self.a, "b": self.b, "truth": self.truth, "input_shape": list(self.batch), "mode": self.mode,
                "backward": self.backward, "agrees": self.agrees, "first": self.first, "verdict": self.verdict, "ulp_dtype": self.ulp_dtype,
                "dtypes": list(self.dtypes), "layers": [layer.to_dict() for layer in self.layers], "notes": self.notes,
                "legend": self.legend(), "seconds": round(self.seconds, 1)}

    FORWARD_HEADERS = ("layer", "type", "output", "own error A", "own error B", "net A", "net B", "A − B", "ULP", "equal", "flips A", "B")
    BACKWARD_HEADERS = ("layer", "at", "own error A", "own error B", "net A", "net B", "A − B", "frozen A", "B", "A − B", "ULP")

    def forward_rows(self) -> list[list[str]]:
        """A line for each layer: own errors with the share of what is allowed, errors in the whole net, ULPs, flips."""
        rows = []
        for layer in self.layers:
            own, whole = layer.own["output"], layer.whole["output"]
            flips = [f"{layer.flips[side]:,}" for side in "ab"] if layer.flips else ["", ""]
            for extra in ("running_mean", "running_var"):
                if extra in layer.own and layer.own[extra].departs:
                    own = layer.own[extra]
            rows.append([layer.name, layer.type, formats.shape(layer.shape), *_shown(own), *_plain(whole, "error_a", "error_b", "difference"),
                         _ulps(whole.ulps), f"{100 * whole.equal:.0f} %", *flips])
        return rows

    def backward_rows(self) -> list[list[str]]:
        """A line for each layer, from the loss down: the gradient that is nearest to its limit, or beyond it."""
        rows = []
        for layer in reversed(self.layers):
            at = layer.worst()
            if at is not None:
                whole, frozen = layer.whole[at], layer.frozen.get(at)
                rest = [*_plain(frozen, "error_a", "error_b", "difference"), _ulps(frozen.ulps)] if frozen else ["", "", "", _ulps(whole.ulps)]
                rows.append([layer.name, at, *_shown(layer.own[at]), *_plain(whole, "error_a", "error_b", "difference"), *rest])
        return rows

    def legend(self) -> list[str]:
        """What the columns mean."""
        lines = [
            "error: largest |value − truth| / largest |truth|; the truth is float64",
            "own error: both sides and the truth are given the same input (going back: the same input and gradient); in brackets the share of what",
            "  rounding explains: the algorithm's bound times the largest Σ|x||w| for convolution and linear layers, 4 roundings where a layer only",
            "  selects, elsewhere 64 times what a rounding of every input does to the truth. A layer departs beyond 100 %",
            "net: each side computes on with its own numbers, so the errors of all layers before are in it; flips: ReLU and pool decisions that are",
            "  not the truth's",
            f"ULP: largest |A − B| in units of the last place of {self.ulp_dtype}, over numbers of at least 1/1024 of the largest; equal: A and B",
            "  are the same number",
        ]
        if self.backward:
            lines += ["at: the gradient (of input, weight or bias) that is nearest to its limit, or beyond; frozen: with the truth's ReLU and pool",
                      "  decisions on both sides"]
        return lines

    def head(self) -> list[str]:
        """What was compared."""
        return [f"A      {self.a}", f"B      {self.b}", f"truth  {self.truth}",
                f"input  {formats.shape(self.batch)}, {self.mode} mode{', cross entropy, forward and backward' if self.backward else ', forward'}"]

    def __str__(self):
        told = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in self.verdict)
        head = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent=" " * 7) for line in self.head())
        parts = [head, told, table(self.forward_rows(), list(self.FORWARD_HEADERS), 3)]
        if self.backward:
            parts.append("backward, from the loss down\n" + table(self.backward_rows(), list(self.BACKWARD_HEADERS), 2))
        return "\n\n".join([*parts, "\n".join([*self.legend(), *self.notes])])

    def to_html(self):
        from .. import page

        back = [layer for layer in reversed(self.layers) if layer.worst() is not None]
        return page.render("sections/diverge.html", it=self, forward=list(zip(self.layers, self.forward_rows(), strict=True)),
                           backward=list(zip(back, self.backward_rows(), strict=True)), figures=self._figures())

    def _figures(self) -> list[dict]:
        """Curves over the layers: what each layer errs by itself, and what has gathered in the whole net."""
        place = list(range(len(self.layers)))

        def curves(title, groups):
            series = [{"name": name, "x": place, "y": [value(layer) for layer in self.layers]} for name, value in groups]
            return {"title": title, "series": series}

        figures = [curves("Forward: error of each layer's output", [
            ("A, own", lambda la: la.own["output"].gap.error_a), ("B, own", lambda la: la.own["output"].gap.error_b),
            ("A, net", lambda la: la.whole["output"].error_a), ("B, net", lambda la: la.whole["output"].error_b)])]
        if self.backward:
            apart = any(layer.frozen for layer in self.layers)
            frozen = [("A, frozen", lambda la: la.frozen["grad_input"].error_a), ("B, frozen", lambda la: la.frozen["grad_input"].error_b)]
            figures.append(curves("Backward: error of the gradient at each layer's input", [
                ("A, net", lambda la: la.whole["grad_input"].error_a), ("B, net", lambda la: la.whole["grad_input"].error_b),
                *(frozen if apart else [])]))
        return figures


def _shown(own: Own) -> list[str]:
    """``3.1e-07 (2 %)`` of A and B."""
    pairs = zip((own.gap.error_a, own.gap.error_b), own.shares, strict=True)
    return [f"{_number(error)} ({_percent(share)})" if error else "0" for error, share in pairs]


def _percent(share: float) -> str:
    if math.isinf(share):
        return "!"
    return f"{100 * share:.0f} %" if share < 10 else f"{share:.0f}×"


def _plain(gap: Gap, *names) -> list[str]:
    return [_number(getattr(gap, name)) for name in names]


def _number(value: float) -> str:
    return "0" if value == 0 else "inf" if math.isinf(value) else f"{value:.1e}"


def _ulps(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:,.0f}" if value < 1e6 else f"{value:.0e}"
