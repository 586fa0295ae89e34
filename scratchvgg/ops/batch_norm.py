"""Batch normalisation: y = (x − μ_c) / √(σ²_c + ε) · w_c + b_c for every channel c, over the batch and all positions.

Training takes μ and the biased variance σ² of the batch, and moves the running statistics by ``momentum`` towards μ and the
*unbiased* variance; evaluation uses the running statistics and writes nothing. With x̂ = (x − μ) / √(σ² + ε), M values a channel:

    ∂L/∂b = Σ g     ∂L/∂w = Σ g x̂     ∂L/∂x = w / √(σ² + ε) · (g − mean g − x̂ mean(g x̂))        (evaluation: without the means)

Everything runs on the (M, C) matrix of channels-last memory, r rows at a time as one row of r·C (a short inner loop over C would
cost more than the arithmetic), in tiles that stay in the cache. μ is a float64 sum; σ² = mean d² − (μ − s)² with d = x − s for a shift s
near μ, the mean of every 16th row: |μ − s| ≤ 4σ whatever the data, so no more than four bits are lost, in one pass over memory.
μ is kept as a *centre* in the type of x, which is subtracted first (exactly, near μ), and the rest that rounding left.
"""

from __future__ import annotations

import functools
import math

from ..array import parallel_for, ranges
from ..autograd import Op, is_recomputing, ops
from .common import check_same_device, check_tensor
from .precision import check_floating, column_sums, widen

_ROW = 1 << 14  # elements of a long row, at most; below 2¹³ NumPy broadcasts half as fast
_TILE = 1 << 17  # elements a tile
_SAMPLE = 16  # every 16th row makes the shift


@functools.cache
def largest_divisor(number, limit):
    """The largest divisor of ``number`` up to ``limit``; 1 if there is none."""
    return next((d for d in range(limit, 0, -1) if number % d == 0), 1)


class Rows:
    """An (N, C, …) array as rows of r·C elements, channels last; a view if the memory is so, else a copy."""

    def __init__(self, backend, shape):
        self.backend, self.shape, self.channels = backend, shape, shape[1]
        self.count = shape[0] * math.prod(shape[2:])
        self.repeat = largest_divisor(self.count, _ROW // max(1, self.channels))
        self.long_shape = self.count // self.repeat, self.repeat * self.channels
        self.tiles = ranges(self.long_shape[0], _TILE // max(1, self.long_shape[1]))

    def matrix(self, x):
        """x as (rows, r·C)."""
        return self.backend.xp.moveaxis(x, 1, -1).reshape(self.long_shape)

    def back(self, matrix):
        """The matrix as (N, C, …), channels last in memory."""
        n, c, *positions = self.shape
        return self.backend.xp.moveaxis(matrix.reshape(n, *positions, c), -1, 1)

    def spread(self, vector, dtype):
        """(C,) as (r·C,)."""
        return self.backend.xp.tile(vector.astype(dtype), self.repeat)

    def for_tiles(self, task):
        """``task(number, slice of rows)`` on the pool; the tiles depend on the shape only."""
        parallel_for(lambda item: task(item[0], slice(*item[1])), list(enumerate(self.tiles)))

    def two_sums(self, dtype, terms):
        """Σ a and Σ b of every channel, float64, where ``terms(slice, scratch)`` gives a tile of a, then one of b (either may be the scratch)."""
        xp = self.backend.xp
        sums = xp.empty((2, len(self.tiles), self.channels), xp.float64)

        def task(i, where):
            scratch = self.backend.workspace("batch_norm", (where.stop - where.start, self.long_shape[1]), dtype)
            for total, tile in zip(sums, terms(where, scratch), strict=True):
                total[i] = column_sums(xp, tile.reshape(-1, self.channels))

        self.for_tiles(task)
        return sums.sum(1)


def _batch_statistics(xp, rows, x, dtype):
    """Mean and biased variance of every channel, float64. The mean is a float64 sum: of centred data it is all rounding otherwise."""
    sample = x[::_SAMPLE]
    shift = (column_sums(xp, sample.reshape(-1, rows.channels)) / (len(sample) * rows.repeat)).astype(dtype)
    long_shift = rows.spread(shift, dtype)

    def terms(where, d):
        exact = rows.backend.workspace("batch_norm.exact", d.shape, "float64")
        exact[...] = x[where]
        yield exact
        xp.subtract(x[where], long_shift, out=d)
        yield xp.multiply(d, d, out=d)

    first, second = rows.two_sums(dtype, terms)
    mean = first / rows.count
    return mean, xp.maximum(second / rows.count - xp.square(mean - shift), 0)


class BatchNorm(Op):
    """Keeps x, the weight, and three numbers a channel: centre + rest = μ, and 1/√(σ² + ε)."""

    name = "batch_norm"

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5):
        xp, rows = ctx.xp, Rows(ctx.backend, x.shape)
        ctx.rows, matrix = rows, rows.matrix(x)
        wide = widen(xp, x[:0]).dtype
        vectors = normalisation(ctx, rows, matrix, weight, bias, running_mean, running_var, training, momentum, eps)
        centre, scale, shift = (rows.spread(v, wide) for v in vectors)
        ctx.save(x=x, weight=weight)
        y = ctx.backend.empty(rows.long_shape, x.dtype)

        def task(_, where):
            out = y[where] if wide == x.dtype else xp.empty(y[where].shape, wide)
            xp.subtract(matrix[where], centre, out=out)
            out *= scale
            out += shift
            if wide != x.dtype:
                y[where] = out

        rows.for_tiles(task)
        return rows.back(y)

    @staticmethod
    def backward(ctx, g):
        xp, rows = ctx.xp, ctx.rows
        x, weight = ctx.saved
        wide = widen(xp, x[:0]).dtype
        x, g = rows.matrix(x), rows.matrix(g)
        sum_g = sum_gd = None
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        if needs_weight or needs_bias or ctx.training:
            sum_g, sum_gd = _gradient_sums(xp, rows, x, g, rows.spread(ctx.centre, wide), wide)
            sum_gd -= ctx.rest * sum_g
        gx = gw = gb = None
        if needs_x:
            scale, *line = (rows.spread(v, wide) for v in gradient_line(ctx, weight, sum_g, sum_gd, rows.count))
            gx = rows.back(_input_gradient(xp, rows, x, g, scale, line))
        if needs_weight:
            gw = (sum_gd * ctx.invstd).astype(weight.dtype)
        if needs_bias:
            gb = sum_g.astype(ctx.bias_dtype)
        return gx, gw, gb


def normalisation(ctx, rows, matrix, weight, bias, running_mean, running_var, training, momentum, eps):
    """(centre, scale, shift), each (C,), of y = (x − centre) · scale + shift; moves the running statistics in training.

    Leaves on ``ctx`` what the gradient needs: training, centre, rest, invstd.
    """
    xp, wide = ctx.xp, widen(ctx.xp, matrix[:0]).dtype
    if training and rows.count:
        mean, var = _batch_statistics(xp, rows, matrix, wide)
        if running_mean is not None:
            _move(running_mean, mean, momentum)
            _move(running_var, var * (rows.count / max(1, rows.count - 1)), momentum)
    elif training:
        mean, var = xp.zeros(rows.channels), xp.zeros(rows.channels)
    else:
        mean, var = running_mean.astype(xp.float64), running_var.astype(xp.float64)
    ctx.training, ctx.centre, ctx.invstd = training, mean.astype(wide), 1 / xp.sqrt(var + eps)
    ctx.rest, ctx.bias_dtype = mean - ctx.centre, None if bias is None else bias.dtype
    scale = ctx.invstd if weight is None else ctx.invstd * weight
    return ctx.centre, scale, -ctx.rest * scale if bias is None else bias - ctx.rest * scale


def gradient_line(ctx, weight, sum_g, sum_gd, count):
    """(scale,) or (scale, centre, slope, offset), each (C,), of ∂L/∂x = scale · g + slope · (x − centre) + offset.

    ``sum_gd`` is Σ g (x − μ); the sums are not used in evaluation.
    """
    scale = ctx.invstd if weight is None else ctx.invstd * weight
    if not ctx.training:
        return (scale,)
    slope = -scale * ctx.xp.square(ctx.invstd) * sum_gd / max(1, count)
    return scale, ctx.centre, slope, -scale * sum_g / max(1, count) - slope * ctx.rest


def _gradient_sums(xp, rows, x, g, centre, dtype):
    """Σ g and Σ g (x − centre) of every channel, float64."""

    def terms(where, d):
        yield g[where]
        xp.subtract(x[where], centre, out=d)
        yield xp.multiply(d, g[where], out=d)

    return rows.two_sums(dtype, terms)


def _input_gradient(xp, rows, x, g, scale, line):
    """scale · g, plus slope · (x − centre) + offset if ``line`` is not empty but (centre, slope, offset)."""
    gx = rows.backend.empty(rows.long_shape, g.dtype)

    def task(_, where):
        if not line:
            gx[where] = g[where] * scale
            return
        centre, slope, offset = line
        d = rows.backend.workspace("batch_norm", gx[where].shape, scale.dtype)
        xp.subtract(x[where], centre, out=d)
        d *= slope
        d += offset
        if g.dtype == scale.dtype:
            xp.multiply(g[where], scale, out=gx[where])
            gx[where] += d
        else:
            gx[where] = g[where] * scale + d

    rows.for_tiles(task)
    return gx


def _move(running, new, momentum):
    running[...] = (1 - momentum) * running + momentum * new


def _check(input, named, training, eps):
    check_floating("batch_norm", input)
    if input.ndim < 2:
        raise IndexError(f"batch_norm: input must be (N, C, ...), got shape {tuple(input.shape)}")
    allowed = {input.dtype.name} | ({"float32"} if input.dtype.itemsize == 2 else set())
    if not training and (named["running_mean"] is None or named["running_var"] is None):
        raise RuntimeError("batch_norm: running_mean and running_var are needed when training=False")
    if (named["running_mean"] is None) != (named["running_var"] is None):
        raise RuntimeError("batch_norm: give both running_mean and running_var, or neither")
    for argument, value in named.items():
        if value is None:
            continue
        check_tensor("batch_norm", argument, value)
        check_same_device("batch_norm", input, value)
        if tuple(value.shape) != (input.shape[1],) or value.dtype.name not in allowed:
            raise RuntimeError(
                f"batch_norm: {argument} must be {' or '.join(sorted(allowed))} of shape ({input.shape[1]},), "
                f"got {value.dtype} of shape {tuple(value.shape)}"
            )
    if training and eps <= 0:
        raise ValueError(f"batch_norm: training needs eps above 0, got {eps}")
    if training and math.prod(input.shape) // max(1, input.shape[1]) == 1:
        raise ValueError(f"batch_norm: training needs more than 1 value per channel, got input of shape {tuple(input.shape)}")


@ops.register
def batch_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5
):
    """Normalise every channel of (N, C, …).

    Args:
        running_mean, running_var: (C,) buffers; read when not training, else updated in place:
            running ← (1 − momentum) · running + momentum · batch (with the unbiased variance). May be None in training.
        weight, bias: (C,) or None.
        training: use the statistics of this batch.

    Returns:
        The shape of ``input``, channels last in memory.

    Raises:
        RuntimeError: shapes or element types that do not fit (16-bit input may have float32 parameters), or statistics missing in evaluation.
        ValueError: training with a single value per channel or eps ≤ 0. IndexError: fewer than two dimensions. NotImplementedError: integer input.
    """
    return apply_norm(BatchNorm, input, running_mean, running_var, weight, bias, training, momentum, eps)


def apply_norm(op, input, running_mean, running_var, weight, bias, training, momentum, eps, **more):
    """Check the arguments of :func:`batch_norm` and apply ``op``, which takes them as :class:`BatchNorm` does and ``more``."""
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check(input, named, training, eps)
    options = {"training": bool(training), "momentum": momentum, "eps": eps, **more}
    if training and is_recomputing():  # they have moved already
        running_mean = running_var = None
    if running_mean is not None:
        options |= {"running_mean": running_mean.array, "running_var": running_var.array}
    out = op.apply(input, weight, bias, **options)
    if training and running_mean is not None:
        running_mean.version.value += 1
        running_var.version.value += 1
    return out
