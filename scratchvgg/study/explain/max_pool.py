"""One output of a max-pooling, number by number: y = max of its window, the first of equal values in row-major order; back, the gradient goes to it.

Padding counts as −∞ and NaN beats everything. Where windows overlap, an input pixel gets the gradient of every window that it won.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...conv.errors import sum_bound
from ...ops.windows import Windows, pool_windows
from ..trace import Trace
from . import engine
from .explanation import Check, Explanation, Heading, Matrices, Note, Table, Text
from .matrices import matrix
from .numbers import Deviation, deviation
from .registry import explains, find, module_of
from .windows import lies_inside, over, patch_of, under


@dataclass(frozen=True)
class MaxPool(Explanation):
    """One output pixel of a max-pooling.

    Attributes:
        layer, windows, dtype: its name, geometry, and element type.
        sample, channel, row, column: of the output.
        window: (R, S), the engine's input under it, −∞ in the padding. rows, columns: where that lies.
        winner: offset r · S + s of the winner, worked out here. engine_winner: the one the engine keeps; None if it kept none.
        ties: places of the window that hold the largest value.
        stored: the engine's output. deviation: of the largest value from it.
        gradient: what arrived at the output, the engine's; None without backward.
        overlap: (R, S), windows over each pixel. wins: (R, S), how many of those it won.
        routed: (R, S) float64, the gradients of the windows that each pixel won, summed. input_engine: (R, S), the engine's dX; None without.
        input_deviation: of the two.
    """

    operation: ClassVar[str] = "max_pool2d"

    layer: str
    windows: Windows
    dtype: str
    sample: int
    channel: int
    row: int
    column: int
    window: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    winner: int
    engine_winner: int | None
    ties: int
    stored: float
    deviation: Deviation
    gradient: float | None
    overlap: np.ndarray
    wins: np.ndarray
    routed: np.ndarray | None
    input_engine: np.ndarray | None
    input_deviation: Deviation | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: output [sample {self.sample}, channel {self.channel}, row {self.row}, column {self.column}] of a max-pooling"

    @property
    def inside(self) -> np.ndarray:
        """(R, S): False in the padding."""
        return lies_inside(self.windows.size, self.rows, self.columns)

    def blocks(self) -> list:
        """The blocks, in order."""
        w = self.windows
        marks = np.where(self.inside, "", "padding").astype(object)
        marks[divmod(self.winner, w.kernel[1])] = "winner"
        r, s = divmod(self.winner, w.kernel[1])
        tie = "" if self.ties < 2 else f" {self.ties} places hold that value; the first in reading order wins" + (
            " (after a ReLU whole windows are 0)." if self.stored == 0 else ".")
        blocks = [
            Text(f"Windows of {w.kernel[0]}×{w.kernel[1]}, stride {w.stride[0]}×{w.stride[1]}, padding {w.padding[0]}×{w.padding[1]} (−∞), dilation "
                 f"{w.dilation[0]}×{w.dilation[1]}; image {w.size[0]}×{w.size[1]}, output {w.out[0]}×{w.out[1]}, {self.dtype}."),
            Matrices([matrix(self.window, "x under the window, the winner marked", marks=marks, rows=self.rows, columns=self.columns)]),
            Text(f"The largest is {self.stored:.9g}, at offset {self.winner} (row {self.rows[r]}, column {self.columns[s]} of the image).{tie}"),
            Check(self.deviation),
            Note("Backward needs the winner's offset and nothing else: the engine keeps one byte an output, not the image."
                 + (f" It kept {self.engine_winner} here{'' if self.engine_winner == self.winner else ', which is ANOTHER place'}."
                    if self.engine_winner is not None else " This run was not recorded, so it kept none.")),
        ]
        return blocks if self.gradient is None else [*blocks, *self._backward(marks)]

    def _backward(self, marks) -> list:
        most = int(self.overlap.max())
        words = ("No two windows overlap: each pixel gets the gradient of its one window if it won it, else 0." if most <= 1 else
                 f"Windows overlap: a pixel lies under up to {most} of them, and gets the gradients of all that it won.")
        shown = [matrix(self.overlap, "windows over each pixel", marks=marks, rows=self.rows, columns=self.columns),
                 matrix(self.wins, "that it won", marks=marks, columns=[""] * len(self.columns)),
                 matrix(self.routed, "gradients routed there", marks=marks, columns=[""] * len(self.columns))]
        if self.input_engine is not None:
            shown.append(matrix(self.input_engine, "dX (engine)", marks=marks, columns=[""] * len(self.columns)))
        return [Heading("Backward: the gradient goes to the winner"), Table([["gradient that arrives at this output", f"{self.gradient:+.9g}"]]),
                Text(words), Matrices(shown), *([Check(self.input_deviation)] if self.input_deviation is not None else
                                                [Note("The engine's dX is not in the trace: it went to a leaf, or others add to it.")])]


@explains("max_pool2d")
def max_pool(trace: Trace, layer: str, channel: int | None = None, row: int | None = None, column: int | None = None, sample: int = 0, *,
             visit: int = 0) -> MaxPool:
    """One output of a max-pooling layer.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradient is explained too.
        layer: name of a MaxPool2d.
        channel, row, column: of the output; by default where the sample's output is largest (in the channel).
        sample, visit: of the batch, and of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, or a trace without arrays.
    """
    call = find(trace, layer, ("max_pool2d",), visit)
    module = module_of(trace, call, nn.MaxPool2d)
    x, y = engine.given(trace, call, 0), engine.host(trace, call.results[0])
    dy = engine.arrived(trace, call)
    dx = engine.sent_back(trace, call)
    winners = next((engine.host(trace, kept.array) for kept in call.kept if kept.name == "winner"), None)
    x, y, dy, dx = (a[None] if a is not None and a.ndim == 3 else a for a in (x, y, dy, dx))
    image = Tensor.wrap(trace.output.backend, call.sources[0].array)
    w = pool_windows("max_pool2d", image, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    n = engine.sample_index(y, sample)
    c = engine.channel_of(y[n], channel)
    p, q = engine.pixel(y[n, c], row, column)
    rows, columns = (under(place, *axis) for place, axis in zip((p, q), zip(w.kernel, w.stride, w.padding, w.dilation, strict=True), strict=True))
    window = patch_of(x[n, c : c + 1], rows, columns, -np.inf if x.dtype.kind in "fV" else np.iinfo(x.dtype).min)[0]
    overlap, wins, routed = _routed(w, x[n, c], None if dy is None else dy[n, c], rows, columns)
    there = None if dx is None else patch_of(dx[n, c : c + 1], rows, columns)[0]
    top = winner_of(window, lies_inside(w.size, rows, columns))
    return MaxPool(
        layer, w, y.dtype.name, n, c, p, q, window, rows, columns, top, None if winners is None else int(winners[n, c, p, q]),
        int((window == window.flat[top]).sum()), float(y[n, c, p, q]), deviation(f"y[{n}, {c}, {p}, {q}]", window.flat[top], y[n, c, p, q]),
        None if dy is None else float(dy[n, c, p, q]), overlap, wins, routed, there,
        None if there is None else deviation("dX under the window", routed, there, *_bound(w, dy[n, c], dy.dtype)))


def winner_of(window: np.ndarray, inside: np.ndarray) -> int:
    """The offset that wins: the last NaN, else the first largest value that does not lie in the padding."""
    flat = window.ravel().astype(np.float64)
    if np.isnan(flat).any():
        return int(np.flatnonzero(np.isnan(flat))[-1])
    places = np.flatnonzero(inside.ravel())
    return int(places[np.argmax(flat[places])]) if places.size else 0


def _routed(w, x, dy, rows, columns):
    """(R, S) each: windows over the pixels at rows × columns, how many of them they win, the gradients of those summed (None without)."""
    counts, wins, sums = np.zeros(w.kernel, int), np.zeros(w.kernel, int), np.zeros(w.kernel)
    vertical, horizontal = ((w.out[i], w.kernel[i], w.stride[i], w.padding[i], w.dilation[i]) for i in (0, 1))
    lowest = -np.inf if x.dtype.kind in "fV" else np.iinfo(x.dtype).min
    for i, h in enumerate(rows):
        for j, v in enumerate(columns):
            if not (0 <= h < w.size[0] and 0 <= v < w.size[1]):
                continue
            for p, r in over(h, *vertical):
                for q, s in over(v, *horizontal):
                    down, across = under(p, *vertical[1:]), under(q, *horizontal[1:])
                    counts[i, j] += 1
                    if winner_of(patch_of(x[None], down, across, lowest)[0], lies_inside(w.size, down, across)) == r * w.kernel[1] + s:
                        wins[i, j] += 1
                        sums[i, j] += 0.0 if dy is None else float(dy[p, q])
    return counts, wins, None if dy is None else sums


def _bound(w, dy, dtype):
    """The rounding of as many additions as windows can overlap; nothing is rounded where they do not."""
    most = max(1, -(-w.kernel[0] // w.stride[0])) * max(1, -(-w.kernel[1] // w.stride[1]))
    return (0.0 if most == 1 else sum_bound(most, dtype) * most * float(np.abs(dy.astype(np.float64)).max())), "the addition of overlapping windows"
