"""A dropout, number by number: y = x · m / (1 − p), where m is 0 with probability p; back, the same mask and the same factor.

The mask is a function of the place: element i is kept if word i of the Philox stream, counted from where the generator stood, is at least p · 2³².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ... import nn
from ...array import default_generator, philox
from ..errors import StudyError
from ..trace import Call, Trace
from . import engine
from .explanation import Check, Explanation, Heading, Matrices, Note, Table, Text
from .matrices import matrix
from .numbers import Deviation, deviation
from .registry import explains, find, module_of

PIECE = 6  # rows and columns that are shown


@dataclass(frozen=True)
class Dropout(Explanation):
    """A piece of a dropout's output.

    Attributes:
        layer, dtype, p, scale: of the layer; scale = 1 / (1 − p).
        sample, channel, rows, columns: the piece; channel is None for (N, F).
        x, y, mask: (R, S) of the piece, the engine's. (A device keeps the key instead of the mask: it is made again from it there.)
        size, kept: elements of the mask, and those that are kept. deviations_off: (kept − expected) / standard deviation.
        key: ``{"seed", "stream", "first_word"}`` that makes the mask again; None if the generator has moved on since the run.
        arrived, sent: (R, S), the engine's gradients; None without.
        deviation, gradient_deviation: x · m · scale and dY · m · scale against the engine's, over the whole layer.
    """

    operation: ClassVar[str] = "dropout"

    layer: str
    dtype: str
    p: float
    scale: float
    sample: int
    channel: int | None
    rows: np.ndarray
    columns: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    size: int
    kept: int
    deviations_off: float
    key: dict | None
    arrived: np.ndarray | None
    sent: np.ndarray | None
    deviation: Deviation
    gradient_deviation: Deviation | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: dropout with p = {self.p:g}, sample {self.sample}" + ("" if self.channel is None else f", channel {self.channel}")

    def blocks(self) -> list:
        """The blocks, in order."""
        blank, marks = [""] * len(self.columns), np.where(self.mask, "hit", "")
        blocks = [
            Text(f"y = x · m / (1 − p) = x · m · {self.scale:g}", formula=True),
            Matrices([matrix(self.x, "x", rows=self.rows, columns=self.columns), matrix(self.mask, "mask m (kept)", marks=marks, columns=blank),
                      matrix(self.y, "y (engine)", columns=blank)], ("×", "→")),
            Check(self.deviation),
            Table([["elements", f"{self.size:,}"], ["kept", f"{self.kept:,}"], ["share kept", f"{self.kept / max(1, self.size):.4f}"],
                   ["expected 1 − p", f"{1 - self.p:.4f}"], ["standard deviations off", f"{self.deviations_off:+.2f}"]]),
            Note("The generator has moved on since the run, so the key of the mask is not known." if self.key is None else
                 f"Philox4x32-10 makes this mask on every device: seed {self.key['seed']}, stream {self.key['stream']}, from word "
                 f"{self.key['first_word']:,}; kept where the word is at least p · 2³² = {round(self.p * 2**32):,}."),
        ]
        if self.arrived is None:
            return blocks
        shown = [matrix(self.arrived, "dY", rows=self.rows, columns=self.columns), matrix(self.mask, "mask m", marks=marks, columns=blank)]
        if self.sent is not None:
            shown.append(matrix(self.sent, "dX (engine)", columns=blank))
        return [*blocks, Heading("Backward: the same mask"),
                Text(f"dX = dY · m · {self.scale:g}; the mask, a byte an element, is all that was kept."),
                Matrices(shown, ("×", "→")[: len(shown) - 1]), *([Check(self.gradient_deviation)] if self.gradient_deviation else [])]


@explains("dropout")
def dropout(trace: Trace, layer: str, channel: int | None = None, row: int | None = None, column: int | None = None, sample: int = 0, *,
            visit: int = 0) -> Dropout:
    """A piece of a dropout's output, of at most 6 × 6, around a pixel.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradient is explained too.
        layer: name of a Dropout or Dropout2d in training.
        channel, row, column: the middle of the piece; by default where the sample's output is largest. For (N, F) ``channel`` is the feature.
        sample, visit: of the batch, and of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, a trace without arrays, or a mask that was not kept and cannot be made again.
    """
    call = find(trace, layer, ("dropout",), visit)
    p = float(module_of(trace, call, nn.Dropout, nn.Dropout2d).p)
    x, y = engine.separate(trace, call)
    scale = 1 / (1 - p) if p < 1 else 1.0
    mask, key = _mask(trace, call, p, x, y, scale)
    dy, dx = engine.arrived(trace, call), engine.sent_back(trace, call)
    kept, shape = int(mask.sum()), y.shape
    spread = math.sqrt(mask.size * p * (1 - p))
    x, y, dy, dx, m = (None if a is None else engine.as_planes(a) for a in (x, y, dy, dx, np.broadcast_to(mask, shape)))
    n = engine.sample_index(y, sample)
    c, r, q = engine.place_in(y[n], channel, row, column, flat=len(shape) == 2)
    rows, columns = engine.around(r, y.shape[2], PIECE), engine.around(q, y.shape[3], PIECE)
    piece = n, c, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Dropout(
        layer, y.dtype.name, p, scale, n, None if len(shape) == 2 else c, rows, columns, x[piece], y[piece], m[piece], mask.size, kept,
        (kept - mask.size * (1 - p)) / spread if spread else 0.0, key, None if dy is None else dy[piece],
        None if dx is None else dx[piece], deviation("y, the whole layer", _scaled(x, m, scale), y),
        None if dx is None or dy is None else deviation("dX, the whole layer", _scaled(dy, m, scale), dx))


def _scaled(x, mask, scale):
    """x · mask · scale, rounded as the type of x rounds."""
    product = np.multiply(x, mask)
    product *= scale
    return product


def _mask(trace: Trace, call: Call, p: float, x, y, scale) -> tuple[np.ndarray, dict | None]:
    """(the mask, the key that makes it again or None). The engine's own mask if it kept one; else that of the key, if it leads from x to y."""
    held = next((engine.host(trace, kept.array).astype(bool) for kept in call.kept if kept.name == "mask"), None)
    state, shape = default_generator.get_state(), _shape(trace, call)
    before = sum(math.prod(_shape(trace, other)) for other in trace.calls[: call.index] if other.op == "dropout")
    first = state["offset"] + before  # the generator stands again where the run began, if nothing was drawn since
    made = philox.random_words(state["seed"], state["stream"], first, math.prod(shape)).reshape(shape) >= round(p * 2**32)
    if np.array_equal(made, held) if held is not None else np.allclose(_scaled(x, made, scale), y, rtol=1e-3):
        return made if held is None else held, {"seed": state["seed"], "stream": state["stream"], "first_word": first}
    if held is None:
        raise StudyError("trace: the mask was not kept (on the CPU record=True or backward=True keeps it), and the generator has moved on since")
    return held, None


def _shape(trace: Trace, call: Call) -> tuple[int, ...]:
    """Of the mask: one element a channel for Dropout2d."""
    shape = call.outputs[0][0]
    return (*shape[:2], *(1,) * (len(shape) - 2)) if isinstance(trace.modules.get(call.layer), nn.Dropout2d) else shape
