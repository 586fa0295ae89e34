"""One output of a linear layer, number by number: y[n, f] = b[f] + Σ_i x[n, i] · W[f, i], and the way back:

    dW[f] = Σ_n dY[n, f] · x[n]          dX[n] = Σ_f dY[n, f] · W[f]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...conv.errors import sum_bound
from ...ops.linear import transposed_times
from ...ops.precision import widen
from ..trace import Call, Trace
from . import engine
from .explanation import Bars, Check, Explanation, Heading, Matrices, Note, Table, Text
from .matrices import matrix
from .numbers import Deviation, deviation, exact_sum
from .registry import explains, find

SHOWN = 8  # products that are shown, the largest
BLOCK = 256  # rows of W in float64 at a time
MOST = 128 << 20  # bytes of a dW that is made again to be compared


@dataclass(frozen=True)
class Linear(Explanation):
    """One output of a linear layer.

    Attributes:
        layer, dtype: its name and element type. sample, feature: n and f; leading dimensions of x are laid in one.
        x, weight: (I,) x[n] and W[f], the engine's. bias: b[f], or None. products: (I,) float64.
        shown, stored, deviation: the sum, the engine's output, and how far apart they are.
        shape: (rows of x, I, F) of the whole product.
        arrived: (rows,) dY[:, f], the engine's; None without backward. gradient: dY[n, f].
        weight_engine, weight_shown: (I,) dW[f]; None where it is not trained, or too large to be made again.
        input_engine, input_shown: (I,) dX[n]; None without.
        weight_same: whether dW has the norm that the run recorded. weight_deviation, input_deviation: of the two.
    """

    operation: ClassVar[str] = "linear"

    layer: str
    dtype: str
    sample: int
    feature: int
    x: np.ndarray
    weight: np.ndarray
    bias: float | None
    products: np.ndarray
    shown: float
    stored: float
    deviation: Deviation
    shape: tuple[int, int, int]
    arrived: np.ndarray | None
    gradient: float | None
    weight_engine: np.ndarray | None
    weight_shown: np.ndarray | None
    weight_same: bool | None
    weight_deviation: Deviation | None
    input_engine: np.ndarray | None
    input_shown: np.ndarray | None
    input_deviation: Deviation | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: output [sample {self.sample}, feature {self.feature}] of a linear layer"

    @property
    def strongest(self) -> np.ndarray:
        """The inputs with the largest |product|, first ones first."""
        return np.argsort(-np.abs(self.products), kind="stable")[:SHOWN]

    def blocks(self) -> list:
        """The blocks, in order."""
        n, f, top, total = self.sample, self.feature, self.strongest, exact_sum(self.products)
        bias = "" if self.bias is None else f"b[{f}] + "
        rows = [["Σ of the products (float64)", f"{total:+.9g}"], *([] if self.bias is None else [[f"+ bias b[{f}]", f"{self.bias:+.9g}"]]),
                ["= shown", f"{self.shown:+.9g}"], [f"stored by the engine ({self.dtype})", f"{self.stored:+.9g}"]]
        blocks = [
            Text(f"y[{n}, {f}] = {bias}Σ x[{n}, i] · W[{f}, i],  {len(self.x):,} products; all of it: Y ({self.shape[0]}×{self.shape[2]:,}) = "
                 f"X ({self.shape[0]}×{self.shape[1]:,}) · Wᵀ", formula=True),
            Matrices([matrix(np.stack([self.x[top], self.weight[top], self.products[top]]), "the inputs with the largest products",
                             rows=["x", "W", "product"], columns=top)]),
            Bars(self.products[top].tolist(), [f"input {i}" for i in top], "products, largest first"),
            *([Note(f"The other {len(self.x) - len(top):,} inputs add {total - exact_sum(self.products[top]):+.5g} together.")]
              if len(self.x) > len(top) else []),
            Table(rows), Check(self.deviation),
        ]
        return blocks if self.arrived is None else [*blocks, *self._backward(top)]

    def _backward(self, top) -> list:
        n, f = self.sample, self.feature
        blocks = [Heading("Backward"), Table([[f"gradient that arrives, dY[{n}, {f}]", f"{self.gradient:+.9g}"]]),
                  Text(f"dW[{f}] = Σ_n dY[n, {f}] · x[n]: {len(self.arrived)} row{'s' * (len(self.arrived) != 1)} of X, each times one number.")]
        if self.weight_engine is not None:
            blocks += [_two(f"dW[{f}]", self.weight_shown[top], self.weight_engine[top], top),
                       Check(self.weight_deviation)]
            if self.weight_same is not None:
                same = "is, to the last bit, the one that the run recorded" if self.weight_same else "is NOT the one that the run recorded"
                blocks.append(Note(f"The engine's dW was made again from the same arrays; its norm {same}."))
        else:
            blocks.append(Note("The engine's dW is not compared: the weight is not trained, or so large that it is not made a second time."))
        if self.input_engine is not None:
            blocks += [Text(f"dX[{n}] = Σ_f dY[{n}, f] · W[f]"),
                       _two(f"dX[{n}]", self.input_shown[top], self.input_engine[top], top),
                       Check(self.input_deviation)]
        return blocks


def _two(title, shown, engine_, places):
    return Matrices([matrix(np.stack([shown, engine_]), title, rows=["shown", "engine"], columns=places)])


@explains("linear")
def linear(trace: Trace, layer: str, channel: int | None = None, sample: int = 0, *, visit: int = 0) -> Linear:
    """One output of a linear layer.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradients are explained too.
        layer: name of the layer that calls linear.
        channel: the feature f; by default that of the sample's largest output.
        sample: row of x. visit: which of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, or a trace without arrays.
    """
    call = find(trace, layer, ("linear",), visit)
    x, w, b = (engine.given(trace, call, place) for place in range(3))
    y = engine.host(trace, call.results[0])
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    n = engine.sample_index(y, sample)
    f = engine.index("channel", channel, y.shape[1]) if channel is not None else int(np.argmax(y[n]))
    bias = None if b is None else float(np.broadcast_to(b, (len(w),))[f])
    products = x[n].astype(np.float64) * w[f].astype(np.float64)
    shown = exact_sum([*products, *([] if bias is None else [bias])])
    bound = sum_bound(len(products) + 1, y.dtype) * (float(np.abs(products).sum()) + abs(bias or 0.0))
    return Linear(layer, y.dtype.name, n, f, x[n], w[f], bias, products, shown, float(y[n, f]),
                  deviation(f"y[{n}, {f}]", shown, y[n, f], bound, f"a sum in {y.dtype}"), (len(x), x.shape[1], len(w)),
                  **_backward(trace, call, n, f, x, w))


def _backward(trace: Trace, call: Call, n: int, f: int, x, w) -> dict:
    found = dict.fromkeys(("arrived", "gradient", "weight_engine", "weight_shown", "weight_same", "weight_deviation", "input_engine", "input_shown",
                           "input_deviation"))
    dy = engine.arrived(trace, call)
    if dy is None:
        return found
    dy = dy.reshape(-1, dy.shape[-1])
    found |= {"arrived": dy[:, f], "gradient": float(dy[n, f]), "weight_shown": dy[:, f].astype(np.float64) @ x.astype(np.float64)}
    if any(kept.name == "x" for kept in call.kept) and w.nbytes <= MOST:
        backend = trace.output.backend
        slopes, rows = (a.reshape(-1, a.shape[-1]) for a in (call.gradients[0], call.sources[0].array))
        with backend.quiet():
            made = transposed_times(backend.xp, widen(backend.xp, slopes), widen(backend.xp, rows)).astype(slopes.dtype, copy=False)
        sizes = np.abs(dy[:, f]).astype(np.float64) @ np.abs(x).astype(np.float64)
        gradient = engine.host(trace, made)[f]
        found |= {"weight_engine": gradient, "weight_same": engine.same_norm(trace, call, 1, made), "weight_deviation": deviation(
            f"dW[{f}]", found["weight_shown"], gradient, sum_bound(len(x), dy.dtype) * float(sizes.max()), f"a sum in {dy.dtype}")}
    dx = engine.sent_back(trace, call)
    if dx is not None:
        total, sizes = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        for start in range(0, len(w), BLOCK):
            rows = w[start : start + BLOCK].astype(np.float64)
            slope = dy[n, start : start + BLOCK].astype(np.float64)
            total += slope @ rows
            sizes += np.abs(slope) @ np.abs(rows)
        there = dx.reshape(-1, x.shape[1])[n]
        found |= {"input_engine": there, "input_shown": total, "input_deviation": deviation(
            f"dX[{n}]", total, there, sum_bound(len(w), dy.dtype) * float(sizes.max()), f"a sum in {dy.dtype}")}
    return found
