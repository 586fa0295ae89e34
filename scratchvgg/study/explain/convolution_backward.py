"""The way back through one output of a convolution: its part of dW, its column of dcol, and the scatter of columns into dX (col2im).

    dW[k] = Σ_{n, p, q} dY[n, k, p, q] · patch(n, p, q)          dcol[n, p, q] = Σ_k dY[n, k, p, q] · W[k]
    dX[n, c, h, w] = Σ of dcol over every window that reads (h, w)

Sums are made in float64 from the engine's arrays; the engine's results stand beside them. Bounds: an algorithm's bound is relative to the sum S over
absolute values, and S of dW is at most ‖dY_k‖ · ‖x_c‖ (Cauchy and Schwarz), S of dX at most Σ_k max |dY_k| · Σ_{r, s} |W[k, c]|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import conv
from ...conv.errors import sum_bound
from ...ops.conv2d import channel_sums
from ..trace import Call, Trace
from . import engine
from .numbers import Deviation, deviation, exact_sum, listed
from .windows import over, patch_of


@dataclass(frozen=True)
class ConvolutionBackward:
    """Gradients at one output pixel.

    Attributes:
        arrived: (K,) dY[n, :, p, q] of the filter's group, the engine's. gradient: its entry k.
        outer: (C / groups, R, S) float64, gradient · patch: what this pixel adds to dW[k].
        pixels, silent: outputs N·P·Q that add to dW[k], and those of them whose gradient is 0.
        weight_engine, weight_shown: (C / groups, R, S), the engine's dW[k] and the sum over pixels; None if the weight is not trained.
        weight_same: whether the whole dW has the norm that the run recorded; None if it recorded none.
        weight_deviation, bias_deviation: of the two, and of db[k].
        bias_engine, bias_shown: db[k], None without.
        dcol: (C / groups, R, S) float64, the column of this pixel.
        overlap: (R, S), windows that read each pixel of the patch; 0 in the padding. overlap_rows (H,), overlap_columns (W,): their outer product
            counts the windows over every pixel of the image.
        input_engine, input_shown: (C / groups, R, S), dX of the patch; None if nobody wanted it.
        input_from: where the engine's dX comes from, in words.
        input_deviation: of the two.
    """

    arrived: np.ndarray
    gradient: float
    outer: np.ndarray
    pixels: int
    silent: int
    weight_engine: np.ndarray | None
    weight_shown: np.ndarray | None
    weight_same: bool | None
    weight_deviation: Deviation | None
    bias_engine: float | None
    bias_shown: float | None
    bias_deviation: Deviation | None
    dcol: np.ndarray
    overlap: np.ndarray
    overlap_rows: np.ndarray
    overlap_columns: np.ndarray
    input_engine: np.ndarray | None
    input_shown: np.ndarray
    input_from: str
    input_deviation: Deviation | None

    def to_dict(self) -> dict:
        """All numbers."""
        word = {name: value for name, value in vars(self).items() if not isinstance(value, (Deviation, np.ndarray))}
        arrays = {name: listed(value) for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return {**word, **arrays, **{name: value.to_dict() for name, value in vars(self).items() if isinstance(value, Deviation)}}


def backward(trace: Trace, call: Call, g: conv.Problem, n: int, k: int, p: int, q: int, patch, rows, columns) -> ConvolutionBackward | None:
    """The gradients at output (n, k, p, q) of a call, whose patch lies at ``rows`` × ``columns``; None if none arrived."""
    dy = engine.arrived(trace, call)
    if dy is None:
        return None
    x, w = engine.given(trace, call, 0), engine.given(trace, call, 1)
    deep, wide = g.C // g.groups, g.K // g.groups
    group = k // wide
    ours, theirs = slice(group * deep, (group + 1) * deep), slice(group * wide, (group + 1) * wide)
    arrived, filters = dy[n, theirs, p, q], w[theirs].astype(np.float64)
    counts = [np.array([len(over(i, *numbers)) for i in range(size)]) for size, numbers in zip((g.H, g.W), _axes(g), strict=True)]
    input_shown, overlap = _input_patch(g, dy[n, theirs], filters, rows, columns)
    return ConvolutionBackward(
        arrived, float(dy[n, k, p, q]), float(dy[n, k, p, q]) * patch.astype(np.float64), g.N * g.P * g.Q, int((dy[:, k] == 0).sum()),
        **_weight(trace, call, g, k, x[:, ours], dy), **_bias(trace, call, dy, k),
        dcol=np.tensordot(arrived.astype(np.float64), filters, 1), overlap=overlap, overlap_rows=counts[0], overlap_columns=counts[1],
        input_shown=input_shown, **_input(trace, call, g, n, ours, rows, columns, dy[n, theirs], filters, input_shown))


def _axes(g):
    """(outputs, taps, stride, padding, dilation) of both axes, as :func:`over` takes them."""
    return ((g.P, g.R, g.stride[0], g.padding[0][0], g.dilation[0]), (g.Q, g.S, g.stride[1], g.padding[1][0], g.dilation[1]))


# ---- dW and db -------------------------------------------------------------------------------------------------------


def _weight(trace, call, g, k, x, dy) -> dict:
    if not any(kept.name == "input" for kept in call.kept):  # the weight wants no gradient
        return dict.fromkeys(("weight_engine", "weight_shown", "weight_same", "weight_deviation"))
    backend, name = trace.output.backend, call.algorithms["grad_weight"]
    algorithm = conv.get(name, backend.runs_kernels)
    with backend.quiet():
        whole = algorithm.grad_weight(backend, g, call.gradients[0], call.sources[0].array)
    gradient, shown = engine.host(trace, whole)[k], filter_gradient(g, x, dy[:, k])
    norms = np.sqrt(np.square(x, dtype=np.float64).sum((0, 2, 3)).max()) * np.linalg.norm(dy[:, k].astype(np.float64))
    bound = algorithm.error_bound(g, gradient.dtype, "grad_weight") * float(norms)
    return {"weight_engine": gradient, "weight_shown": shown, "weight_same": engine.same_norm(trace, call, 1, whole),
            "weight_deviation": deviation(f"dW[{k}]", shown, gradient, bound, name)}


def filter_gradient(g: conv.Problem, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(C / groups, R, S) float64: Σ over n, p, q of dY · patch for one output channel.

    Args:
        x: (N, C / groups, H, W), the channels of its group. dy: (N, P, Q).
    """
    total = np.zeros((x.shape[1], g.R, g.S))
    for r in range(g.R):
        for s in range(g.S):
            rows, p = _reached(g.H, r, _axes(g)[0])
            columns, q = _reached(g.W, s, _axes(g)[1])
            for image, slope in zip(x, dy, strict=True):
                pixels = image[:, rows, columns].transpose(1, 2, 0).astype(np.float64)
                total[:, r, s] += np.tensordot(slope[p, q].astype(np.float64), pixels, 2)
    return total


def _reached(size, tap, axis):
    """(inputs, outputs) along one axis where the tap lies inside the image, as slices."""
    outputs, _, stride, padding, dilation = axis
    start = tap * dilation - padding
    first, last = max(0, -(start // stride)), min(outputs, (size - 1 - start) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first * stride + start, (last - 1) * stride + start + 1, stride), slice(first, last)


def _bias(trace, call, dy, k) -> dict:
    if len(call.sources) < 3 or (call.sources[2].name and call.sources[2].name not in trace.leaf_gradients):
        return dict.fromkeys(("bias_engine", "bias_shown", "bias_deviation"))
    backend = trace.output.backend
    with backend.quiet():
        made = engine.host(trace, channel_sums(backend, call.gradients[0]))[k]
    shown, bound = exact_sum(dy[:, k]), sum_bound(dy[:, k].size, dy.dtype) * float(np.abs(dy[:, k], dtype=np.float64).sum())
    return {"bias_engine": float(made), "bias_shown": shown, "bias_deviation": deviation(f"db[{k}]", shown, made, bound, f"a sum in {dy.dtype}")}


# ---- dcol and dX -----------------------------------------------------------------------------------------------------


def _input_patch(g, dy, filters, rows, columns):
    """((C / groups, R, S) float64, (R, S) counts): dX under the window, and how many windows read each of its pixels.

    Args:
        dy: (K / groups, P, Q) of the group and sample. filters: (K / groups, C / groups, R, S) float64.
    """
    total, counts = np.zeros(filters.shape[1:]), np.zeros((g.R, g.S), int)
    for i, h in enumerate(rows):
        for j, v in enumerate(columns):
            if not (0 <= h < g.H and 0 <= v < g.W):
                continue
            for p, r in over(h, *_axes(g)[0]):
                for q, s in over(v, *_axes(g)[1]):
                    total[:, i, j] += dy[:, p, q].astype(np.float64) @ filters[:, :, r, s]
                    counts[i, j] += 1
    return total, counts


def _input(trace, call, g, n, ours, rows, columns, dy, filters, shown) -> dict:
    if not any(kept.name == "weight" for kept in call.kept):
        why = "nobody asked for it: the gradient of the image is not computed unless the image requires one"
        return {"input_engine": None, "input_from": why, "input_deviation": None}
    backend, name = trace.output.backend, call.algorithms["grad_input"]
    algorithm = conv.get(name, backend.runs_kernels)
    whole = engine.sent_back(trace, call)
    if whole is not None:
        source = trace.calls[call.sources[0].call]
        words = f"as it arrived at {source.layer or source.op}"
    else:
        with backend.quiet():
            made = algorithm.grad_input(backend, g, call.gradients[0], call.sources[1].array)
        whole, same = engine.host(trace, made), engine.same_norm(trace, call, 0, made)
        words = f"of {name}, run again on the same arrays" + ("; its norm is the recorded one" if same else "")
    slopes = np.abs(dy).reshape(len(dy), -1).max(1).astype(np.float64)
    bound = algorithm.error_bound(g, whole.dtype, "grad_input") * float((slopes @ np.abs(filters).sum((2, 3))).max())
    inside = patch_of(whole[n, ours], rows, columns)
    return {"input_engine": inside, "input_from": words, "input_deviation": deviation("dX under the window", shown, inside, bound, name)}
