"""A cross-entropy, number by number. With logits z of C classes, m = max z, log-sum-exp s = m + log Σ exp(z − m), ℓ = z − s and softmax p = exp ℓ:

    L_n = −Σ_c T_c ℓ_c          loss = Σ L_n / D          dz = g / D · (p Σ_c T_c − T)

T is the one-hot target, or (1 − ε) one-hot + ε / C with label smoothing, times class weights; D is the number of targets (the sum of their weights).
The bounds are of first order: some roundings, and a sum of C numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...conv.errors import sum_bound, unit_roundoff
from ..errors import StudyError
from ..trace import Trace
from . import engine
from .explanation import Check, Explanation, Heading, Note, Table, Text
from .numbers import Deviation, deviation, exact_sum
from .registry import LOSS, explains, find

SHOWN = 6  # classes that are shown, the likeliest
ROUNDINGS = "some roundings and a sum"


@dataclass(frozen=True)
class CrossEntropy(Explanation):
    """The loss of one sample, and of the batch.

    Attributes:
        layer, dtype: the loss's name and the logits' type. sample: n. classes: C. targets: how many there are.
        target: the class, None for probabilities. smoothing: ε. reduction: as it was asked for.
        logits: (C,) z, the engine's. largest, exp_sum, log_sum_exp: m, Σ exp(z − m), s.
        log_softmax, softmax, expected: (C,) float64 ℓ, p, T. log_softmax_engine: the engine's ℓ; None if it kept none.
        sample_loss: L_n. loss, loss_engine: of the batch (of the sample with reduction "none").
        arrived: g, the gradient of the loss. gradient: (C,) float64 dz. gradient_engine: (C,) the engine's; None without.
        deviation, log_deviation, gradient_deviation: loss, ℓ and dz (all samples) against the engine's.
    """

    operation: ClassVar[str] = "cross_entropy"

    layer: str
    dtype: str
    sample: int
    classes: int
    targets: int
    target: int | None
    smoothing: float
    reduction: str
    logits: np.ndarray
    largest: float
    exp_sum: float
    log_sum_exp: float
    log_softmax: np.ndarray
    softmax: np.ndarray
    expected: np.ndarray
    log_softmax_engine: np.ndarray | None
    sample_loss: float
    loss: float
    loss_engine: float
    deviation: Deviation
    log_deviation: Deviation | None
    arrived: float | None
    gradient: np.ndarray | None
    gradient_engine: np.ndarray | None
    gradient_deviation: Deviation | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: cross-entropy of sample {self.sample}" + ("" if self.target is None else f", whose class is {self.target}")

    def blocks(self) -> list:
        """The blocks, in order."""
        n, order = self.sample, np.argsort(-self.softmax, kind="stable")[:SHOWN].tolist()
        if self.target is not None and self.target not in order:
            order = [*order[:-1], self.target]
        head = ["class", "z", "z − m", "exp(z − m)", "softmax p", "T", *([] if self.gradient is None else ["dz (shown)"]),
                *([] if self.gradient_engine is None else ["dz (engine)"])]
        rows = [[f"{c}{' ← target' if c == self.target else ''}", f"{self.logits[c]:.6g}", f"{self.logits[c] - self.largest:.6g}",
                 f"{np.exp(self.logits[c] - self.largest):.4g}", f"{self.softmax[c]:.6f}", f"{self.expected[c]:.4g}",
                 *([] if self.gradient is None else [f"{self.gradient[c]:+.4e}"]),
                 *([] if self.gradient_engine is None else [f"{self.gradient_engine[c]:+.4e}"])] for c in order]
        sums = [["m = max z (so that exp cannot overflow)", f"{self.largest:.9g}"], ["Σ exp(z − m)", f"{self.exp_sum:.9g}"],
                ["log-sum-exp s = m + log Σ", f"{self.log_sum_exp:.9g}"], [f"L[{n}] = −Σ T (z − s)", f"{self.sample_loss:.9g}"],
                [f"loss, {self.reduction} of {self.targets}" if self.reduction != "none" else "loss", f"{self.loss:.9g}"],
                [f"stored by the engine ({self.dtype})", f"{self.loss_engine:.9g}"]]
        smooth = f" Label smoothing gives ε / C = {self.smoothing / self.classes:.3g} to every class." if self.smoothing else ""
        blocks = [
            Text(f"{self.classes:,} classes{f'; {len(order)} are shown, the likeliest and the target' if self.classes > len(order) else ''}. "
                 f"A net that guesses has the loss ln {self.classes} = {np.log(self.classes):.4f}.{smooth}"),
            Table(rows, head), Heading("Log-sum-exp and the loss"), Table(sums), Check(self.deviation),
            *([Check(self.log_deviation)] if self.log_deviation is not None else []),
        ]
        if self.gradient is None:
            return blocks
        divided = {"mean": f" / {self.targets}", "sum": "", "none": ""}[self.reduction]
        return [*blocks, Heading("Backward: what the net said minus what it should have said"),
                Text(f"dz = g · (p − T){divided},  g = {self.arrived:g}", formula=True),
                Text(f"It sums to {abs(exact_sum(self.gradient)):.1e}: raising all logits together changes nothing."
                     + (f" The target's is {self.gradient[self.target]:+.3g}: a step against it raises the target's logit."
                        if self.target is not None and self.gradient[self.target] < 0 else "")),
                *([Check(self.gradient_deviation)] if self.gradient_deviation is not None else
                  [Note("The engine's dz is not in the trace: it went to a leaf, or others add to it.")])]


@explains("cross_entropy")
def cross_entropy(trace: Trace, layer: str = LOSS, sample: int = 0, *, label_smoothing: float = 0.0, reduction: str = "mean",
                  ignore_index: int = -100, visit: int = 0) -> CrossEntropy:
    """The loss of a run, for one sample.

    Args:
        trace: of ``trace(…, target, arrays=True)``; with ``backward=True`` the gradient is explained too.
        layer: the name of a layer that computes it, or ``"loss"``.
        sample: n; for (N, C, d1, …) the number of the place in the batch and all positions.
        label_smoothing, reduction, ignore_index: as the loss was told, which a trace does not say; the deviation shows a wrong one.
        visit: which of the layer's runs.

    Raises:
        StudyError: without a cross-entropy, for a sample that there is not, or whose target is ignored, or a trace without arrays.
    """
    call = find(trace, layer, ("cross_entropy",), visit)
    z, target, weights = (engine.given(trace, call, place) for place in range(3))
    rows = _classes_last(z)
    n, classes = engine.sample_index(rows, sample), rows.shape[1]
    weights = np.ones(classes) if weights is None else weights.astype(np.float64)
    wide = rows.astype(np.float64)
    largest = wide.max(1, keepdims=True)
    total = np.exp(wide - largest).sum(1, keepdims=True)
    logs = wide - largest - np.log(total)
    expected, divisor, label = _expected(target, z.shape, rows.shape, weights, label_smoothing, ignore_index, n)
    losses = -(expected * logs).sum(1)
    whole = {"mean": losses.sum() / divisor, "sum": losses.sum(), "none": losses[n]}[reduction]
    stored = engine.host(trace, call.results[0]).reshape(-1)
    stored = stored[n] if reduction == "none" else stored[0]
    unit = (8 * unit_roundoff(z.dtype.name) + sum_bound(classes, z.dtype)) * (1 + float(np.abs(wide - largest).max()))
    bound = unit * (float(expected.sum() / divisor) if reduction == "mean" else float(expected.sum())) + sum_bound(len(rows), z.dtype) * abs(whole)
    kept = next((_classes_last(engine.host(trace, k.array)) if z.ndim != k.array.ndim else engine.host(trace, k.array).reshape(-1, classes)
                 for k in call.kept if k.name == "logs"), None)
    found = {"arrived": None, "gradient": None, "gradient_engine": None, "gradient_deviation": None}
    g = engine.arrived(trace, call)
    if g is not None:
        g = np.broadcast_to(g.reshape(-1).astype(np.float64), (len(rows),))
        shares = (g / divisor if reduction == "mean" else g)[:, None]
        slopes = (np.exp(logs) * expected.sum(1, keepdims=True) - expected) * shares
        found |= {"arrived": float(g[n]), "gradient": slopes[n]}
        sent = engine.sent_back(trace, call)
        if sent is not None:
            sent = _classes_last(sent)
            most = unit * float(np.abs(shares).max() * expected.sum(1).max())
            found |= {"gradient_engine": sent[n], "gradient_deviation": deviation("dz, all samples", slopes, sent, most, ROUNDINGS)}
    return CrossEntropy(
        layer, z.dtype.name, n, classes, len(rows), label, label_smoothing, reduction, rows[n], float(largest[n, 0]), float(total[n, 0]),
        float(largest[n, 0] + np.log(total[n, 0])), logs[n], np.exp(logs[n]), expected[n], None if kept is None else kept[n], float(losses[n]),
        float(whole), float(stored), deviation("the loss", whole, stored, bound, ROUNDINGS),
        None if kept is None else deviation("log softmax, all samples", logs, kept, unit, ROUNDINGS), **found)


def _classes_last(z: np.ndarray) -> np.ndarray:
    """(C,), (N, C) or (N, C, d1, …) as rows of C."""
    return z.reshape(1, -1) if z.ndim == 1 else np.moveaxis(z, 1, -1).reshape(-1, z.shape[1])


def _expected(target, z_shape, shape, weights, smoothing, ignore_index, n):
    """(T of every row, D, the class of row n or None)."""
    classes = shape[1]
    if target.shape == z_shape and target.dtype.kind in "fV":
        q = _classes_last(target).astype(np.float64)
        return (q * (1 - smoothing) + smoothing / classes) * weights, float(len(q)), None
    labels = target.reshape(-1)
    valid = labels != ignore_index
    if not valid[n]:
        raise StudyError(f"sample: the target of sample {n} is ignored ({ignore_index}), so it has no loss")
    safe = np.where(valid, labels, 0)
    expected = smoothing / classes * np.broadcast_to(weights, shape).copy()
    expected[np.arange(len(labels)), safe] += (1 - smoothing) * weights[safe]
    return expected * valid[:, None], float((weights[safe] * valid).sum()), int(labels[n])
