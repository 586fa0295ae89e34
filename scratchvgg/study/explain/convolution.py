"""One output of a convolution, number by number: y[n, k, p, q] = b[k] + Σ_{c, r, s} x[n, c, h, w] · W[k, c, r, s], and the way back.

Legend: N batch, C channels in, K channels out, H W input, R S filter, P Q output; h = p·stride + r·dilation − padding, w alike. The products stand in
the order of ``conv/im2col.py``: the column of a pixel runs over r, then s, then the channels of the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ... import conv, nn
from ...conv.im2col import compute_dtype, tiles
from ...ops.conv2d import conv_problem
from ..trace import Call, Trace
from . import engine
from .convolution_backward import ConvolutionBackward, backward
from .convolution_blocks import blocks_of
from .explanation import Explanation
from .numbers import Deviation, deviation, exact_sum, listed
from .registry import explains, find, module_of
from .windows import lies_inside, patch_of, under


@dataclass(frozen=True)
class Gemm:
    """The matrix product that the whole layer is: (M, K) · (K, N), once for each group.

    Attributes:
        m, n, k: sizes of one group's. groups: how many there are.
        column_bytes: of the column matrices of all groups, which are never built.
        tiles: pieces that im2col cuts the output into. tile_rows, tile_bytes: of the largest one's columns, for one group.
    """

    m: int
    n: int
    k: int
    groups: int
    column_bytes: int
    tiles: int
    tile_rows: int
    tile_bytes: int

    def to_dict(self) -> dict:
        """Plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Convolution(Explanation):
    """One output pixel of a convolution.

    Attributes:
        layer: its name. problem: its geometry. dtype: of its arrays.
        sample, channel, row, column: n, k, p, q.
        algorithms: pass → the algorithm that the engine used.
        first_channel: number of the first input channel that the filter's group sees.
        patch: (C / groups, R, S), the engine's input under the filter, 0 in the padding.
        rows, columns: the input rows (R,) and columns (S,) under it; outside of the image they are padding.
        filter: (C / groups, R, S), the engine's weights W[k]. bias: b[k], or None.
        products: (C / groups, R, S) float64, patch · filter.
        shown: b[k] + the sum of the products, rounded once. stored: what the engine stored. deviation: of the two.
        backward: the gradients, or None without them in the trace.
    """

    operation: ClassVar[str] = "conv2d"

    layer: str
    problem: conv.Problem
    dtype: str
    sample: int
    channel: int
    row: int
    column: int
    algorithms: dict[str, str]
    first_channel: int
    patch: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    filter: np.ndarray
    bias: float | None
    products: np.ndarray
    shown: float
    stored: float
    deviation: Deviation
    backward: ConvolutionBackward | None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: output [sample {self.sample}, channel {self.channel}, row {self.row}, column {self.column}] of a convolution"

    @property
    def inside(self) -> np.ndarray:
        """(R, S): True where the patch lies in the image, False in the padding."""
        return lies_inside((self.problem.H, self.problem.W), self.rows, self.columns)

    @property
    def im2col_column(self) -> np.ndarray:
        """(R·S·C / groups,): the patch as its row of the column matrix."""
        return in_order(self.patch)

    @property
    def filter_row(self) -> np.ndarray:
        """(R·S·C / groups,): the filter in the same order."""
        return in_order(self.filter)

    @property
    def contributions(self) -> np.ndarray:
        """(C / groups,): what each input channel adds."""
        return self.products.sum((1, 2))

    @property
    def strongest(self) -> list[int]:
        """The channels of the patch, those with the largest |contribution| first."""
        return np.argsort(-np.abs(self.contributions), kind="stable").tolist()

    @property
    def gemm(self) -> Gemm:
        """The matrix product that the layer is."""
        return gemm_of(self.problem, self.dtype)

    def blocks(self) -> list:
        """The blocks, in order."""
        return blocks_of(self)

    def to_dict(self) -> dict:
        """All numbers: the patch, filter and products as (C / groups, R, S), the column and filter row in im2col's order."""
        g = self.problem
        return {
            "layer": self.layer, "operation": self.operation, "sample": self.sample, "channel": self.channel, "row": self.row, "column": self.column,
            "dtype": self.dtype, "algorithms": self.algorithms,
            "problem": {name: getattr(g, name) for name in ("N", "C", "H", "W", "K", "R", "S", "P", "Q", "stride", "padding", "dilation", "groups")},
            "first_channel": self.first_channel, "input_rows": self.rows, "input_columns": self.columns, "inside": self.inside,
            "patch": listed(self.patch), "filter": listed(self.filter), "products": self.products, "column_order": "r, s, c",
            "im2col_column": listed(self.im2col_column), "filter_row": listed(self.filter_row), "contributions": self.contributions,
            "sum_of_products": exact_sum(self.products), "bias": self.bias, "shown": self.shown, "stored": self.stored,
            "deviation": self.deviation.to_dict(), "gemm": self.gemm.to_dict(),
            "backward": None if self.backward is None else self.backward.to_dict(),
        }


def in_order(patch: np.ndarray) -> np.ndarray:
    """(C, R, S) as im2col lays it out: r slowest, then s, then c."""
    return patch.transpose(1, 2, 0).ravel()


def gemm_of(g: conv.Problem, dtype) -> Gemm:
    """The matrix product of a convolution, and what its columns take."""
    deep, wide, itemsize = g.R * g.S * g.C // g.groups, g.K // g.groups, compute_dtype(dtype).itemsize
    work = tiles(g, itemsize)
    rows = max(((n1 - n0) * (p1 - p0) * g.Q for n0, n1, p0, p1 in work), default=0)
    m = g.N * g.P * g.Q
    return Gemm(m, wide, deep, g.groups, m * deep * g.groups * itemsize, len(work), rows, rows * deep * itemsize)


@explains("conv2d")
def convolution(trace: Trace, layer: str, channel: int | None = None, row: int | None = None, column: int | None = None, sample: int = 0, *,
                visit: int = 0) -> Convolution:
    """One output of a convolution layer.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradients are explained too.
        layer: name of a Conv2d.
        channel, row, column: k, p, q of the output; by default where the sample's output is largest (in the channel).
        sample: n.
        visit: which of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, or a trace without arrays.
    """
    call = find(trace, layer, ("conv2d",), visit)
    g = problem_of(trace, call)
    x, w, y = engine.given(trace, call, 0), engine.given(trace, call, 1), engine.host(trace, call.results[0])
    b = engine.given(trace, call, 2)
    n = engine.sample_index(y, sample)
    k = engine.channel_of(y[n], channel)
    p, q = engine.pixel(y[n, k], row, column)
    deep = g.C // g.groups
    first = k // (g.K // g.groups) * deep
    rows, columns = under(p, g.R, g.stride[0], g.padding[0][0], g.dilation[0]), under(q, g.S, g.stride[1], g.padding[1][0], g.dilation[1])
    patch = patch_of(x[n, first : first + deep], rows, columns)
    products = patch.astype(np.float64) * w[k].astype(np.float64)
    terms = [*products.ravel(), *([] if b is None else [b[k]])]
    shown, name = exact_sum(terms), call.algorithms["forward"]
    algorithm = conv.get(name, trace.output.backend.runs_kernels)
    sizes = np.abs(x[n, first : first + deep]).reshape(deep, -1).max(1).astype(np.float64)  # Σ |x|·|w| is at most Σ_c max |x_c| · Σ |w_c|
    largest = float(sizes @ np.abs(w[k].astype(np.float64)).sum((1, 2))) + (0.0 if b is None else abs(float(b[k])))
    bound = algorithm.error_bound(g, y.dtype) * largest
    return Convolution(
        layer, g, y.dtype.name, n, k, p, q, dict(call.algorithms), first, patch, rows, columns, w[k], None if b is None else float(b[k]), products,
        shown, float(y[n, k, p, q]), deviation(f"y[{n}, {k}, {p}, {q}]", shown, y[n, k, p, q], bound, name),
        backward(trace, call, g, n, k, p, q, patch, rows, columns))


def problem_of(trace: Trace, call: Call) -> conv.Problem:
    """The geometry of a convolution layer's call, with the padding that the operation itself adds.

    Raises:
        StudyError: if no Conv2d made the call.
    """
    module = module_of(trace, call, nn.Conv2d)
    padding = module.padding if module.padding_mode == "zeros" else 0  # other borders are laid around the image before
    return conv_problem(call.sources[0].shape, call.sources[1].shape, module.stride, padding, module.dilation, module.groups)

