"""A ReLU, number by number: y = max(x, 0); back, the gradient passes where y > 0 and is 0 elsewhere, at x = 0 too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..trace import Trace
from . import engine
from .explanation import Check, Explanation, Heading, Matrices, Text
from .matrices import matrix
from .numbers import Deviation, deviation
from .registry import explains, find

PIECE = 6  # rows and columns that are shown


@dataclass(frozen=True)
class ReLU(Explanation):
    """A piece of a ReLU's output.

    Attributes:
        layer, dtype: its name and element type. sample, channel: the piece is of; channel is None for (N, F).
        rows, columns: the numbers of its rows and columns in the plane (for (N, F): one row of features).
        x, y: (R, S) of the piece, the engine's. mask: where y > 0.
        open_share, zero_inputs: of the whole output: the share that passes, and how many inputs are exactly 0.
        arrived, sent: (R, S), the engine's gradients of output and input; None where there are none.
        deviation, gradient_deviation: max(x, 0) and the masked gradient against the engine's, over the whole layer.
    """

    operation: ClassVar[str] = "relu"

    layer: str
    dtype: str
    sample: int
    channel: int | None
    rows: np.ndarray
    columns: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    open_share: float
    zero_inputs: int
    arrived: np.ndarray | None
    sent: np.ndarray | None
    deviation: Deviation
    gradient_deviation: Deviation | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: a ReLU, sample {self.sample}" + ("" if self.channel is None else f", channel {self.channel}")

    def blocks(self) -> list:
        """The blocks, in order."""
        blank, marks = [""] * len(self.columns), np.where(self.mask, "hit", "")
        blocks = [
            Text("y = max(x, 0)", formula=True),
            Matrices([matrix(self.x, "x", marks=marks, rows=self.rows, columns=self.columns), matrix(self.y, "y (engine)", columns=blank)], ("→",)),
            Text(f"{100 * self.open_share:.1f} % of the layer's outputs are above 0 and let gradients through (marked)."
                 + (f" {self.zero_inputs:,} inputs are exactly 0: they count as shut." if self.zero_inputs else "")),
            Check(self.deviation),
        ]
        if self.arrived is None:
            return blocks
        shown = [matrix(self.arrived, "dY", rows=self.rows, columns=self.columns), matrix(self.mask, "y > 0", marks=marks, columns=blank)]
        if self.sent is not None:
            shown.append(matrix(self.sent, "dX (engine)", columns=blank))
        return [*blocks, Heading("Backward: the mask once more"), Text("dX = dY where y > 0, else 0", formula=True),
                Matrices(shown, ("×", "=")[: len(shown) - 1]), *([Check(self.gradient_deviation)] if self.gradient_deviation else [])]


@explains("relu")
def relu(trace: Trace, layer: str, channel: int | None = None, row: int | None = None, column: int | None = None, sample: int = 0, *,
         visit: int = 0) -> ReLU:
    """A piece of a ReLU's output, of at most 6 × 6, around a pixel.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradient is explained too.
        layer: name of the layer that calls relu.
        channel, row, column: the middle of the piece; by default where the sample's output is largest. For (N, F) ``channel`` is the feature.
        sample, visit: of the batch, and of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, or a trace without arrays.
    """
    call = find(trace, layer, ("relu",), visit)
    x, y = engine.separate(trace, call)
    dy, dx = engine.arrived(trace, call), engine.sent_back(trace, call)
    shape = y.shape
    x, y, dy, dx = (None if a is None else engine.as_planes(a) for a in (x, y, dy, dx))
    n = engine.sample_index(y, sample)
    c, p, q = engine.place_in(y[n], channel, row, column, flat=len(shape) == 2)
    rows, columns = engine.around(p, y.shape[2], PIECE), engine.around(q, y.shape[3], PIECE)
    piece = n, c, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    open_ = y > 0
    return ReLU(
        layer, y.dtype.name, n, None if len(shape) == 2 else c, rows, columns, x[piece], y[piece], open_[piece], float(open_.mean()),
        int((x == 0).sum()), None if dy is None else dy[piece], None if dx is None else dx[piece],
        deviation("y, the whole layer", np.maximum(x, 0), y),
        None if dx is None or dy is None else deviation("dX, the whole layer", np.where(open_, dy, 0), dx))
