"""Batch normalisation, ReLU and 2×2 max-pool as one operation: y = pool(relu((x − μ) / √(σ² + ε) · w + b)).

As ``batch_norm``, but each tile is rectified and pooled while it is in cache, so that the normalised values are never written out.
Backward first sends g to where it belongs, the winner of each window unless y is 0 there, and adds up on the way; then it makes ∂L/∂x of
it in place. Kept are x, y (which the next layer keeps anyway) and one byte a window. 16-bit numbers are computed with in float32; windows
compare rounded ones.
"""

from __future__ import annotations

from ..array import parallel_for
from ..autograd import Op
from ..conv import Epilogue
from ..conv.epilogue import pieces, rectify
from .batch_norm import Rows, apply_norm, batch_norm, gradient_line, largest_divisor, normalisation
from .conv2d_act import unpool
from .masked import masked
from .max_pool2d import max_pool2d
from .precision import column_sums, widen
from .relu import relu
from .windows import pool_windows

_LINE = 1 << 15  # numbers, at most


class BatchNormReLU(Op):
    """Keeps x, the weight, the (pooled) output, the winners (uint8) and three numbers a channel."""

    name = "batch_norm_relu"

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean=None, running_var=None, training=False, momentum=0.1, eps=1e-5, pool=False):
        xp, backend, (n, c, h, w) = ctx.xp, ctx.backend, x.shape
        rows = Rows(backend, x.shape)
        matrix = rows.matrix(x)
        vectors = normalisation(ctx, rows, matrix, weight, bias, running_mean, running_var, training, momentum, eps)
        wide = widen(xp, x[:0]).dtype
        centre, scale, shift = _along_lines(xp, vectors, w, wide)
        ctx.size = size = 2 if pool else 1
        shape = n, c, h // size, w // size
        y = backend.empty(shape, x.dtype, "channels_last")
        winners = backend.empty(shape, "uint8", "channels_last") if pool and any(ctx.needs_input_grad) else None
        image, result, epilogue = matrix.reshape(n, h, w * c), y.transpose(0, 2, 3, 1), Epilogue(relu=True, pool=pool)

        def tile(piece):
            n0, n1, p0, p1 = piece
            part, target = image[n0:n1, _pixels(piece, size, h)], result[n0:n1, p0:p1]
            lines = _lines(part)
            apart = pool or wide != x.dtype
            value = backend.workspace("batch_norm_act", lines.shape, wide) if apart else target.reshape(lines.shape)
            length = lines.shape[1]
            xp.subtract(lines, centre[:length], out=value)
            value *= scale[:length]
            value += shift[:length]
            if pool:
                pixels = value.reshape(n1 - n0, -1, w, c)
                corners = [pixels[:, i : 2 * (p1 - p0) : 2, j : w // 2 * 2 : 2] for i in (0, 1) for j in (0, 1)]
                epilogue.reduce(backend, corners, target, None if winners is None else winners[n0:n1, :, p0:p1].transpose(0, 2, 3, 1))
            else:
                rectify(xp, value, value)
                if apart:
                    target.reshape(lines.shape)[...] = value

        parallel_for(tile, pieces(n, h // size, size * w * c))
        ctx.save(input=x, weight=weight, output=y, winners=winners)
        return y

    @staticmethod
    def backward(ctx, g):
        xp, backend = ctx.xp, ctx.backend
        x, weight, y, winners = ctx.saved
        n, c, h, w = x.shape
        image = Rows(backend, x.shape).matrix(x).reshape(n, h, w * c)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        gx = backend.empty((n, h, w * c), g.dtype)
        work = pieces(n, h // ctx.size, ctx.size * w * c)
        sums = xp.zeros((2, len(work), c), xp.float64)
        wide = widen(xp, x[:0]).dtype
        (centre,) = _along_lines(xp, [ctx.centre], w, wide)

        def centred(piece):
            """x − centre of a piece, in scratch memory, and the piece of ``gx``; both as lines."""
            lines, out = (_lines(a[piece[0] : piece[1], _pixels(piece, ctx.size, h)]) for a in (image, gx))
            d = backend.workspace("batch_norm_act", lines.shape, wide)
            return xp.subtract(lines, centre[: lines.shape[1]], out=d), out

        def send(item):
            number, piece = item
            d, slope = centred(piece)
            _send(backend, ctx.size, piece, g, y, winners, slope.reshape(piece[1] - piece[0], -1, w, c))
            sums[0, number] = column_sums(xp, slope.reshape(-1, c))
            d *= slope
            sums[1, number] = column_sums(xp, d.reshape(-1, c))

        parallel_for(send, enumerate(work))
        sum_g, sum_gd = sums.sum(1)
        sum_gd -= ctx.rest * sum_g
        if needs_x:
            scale, *line = _along_lines(xp, gradient_line(ctx, weight, sum_g, sum_gd, n * h * w), w, wide)

            def finish(piece):
                d, out = centred(piece)
                length = out.shape[1]
                total = out if wide == out.dtype else out.astype(wide)
                total *= scale[:length]
                if line:
                    d *= line[1][:length]
                    d += line[2][:length]
                    total += d
                if total is not out:
                    out[...] = total

            parallel_for(finish, work)
        gw = (sum_gd * ctx.invstd).astype(weight.dtype) if needs_weight else None
        gb = sum_g.astype(ctx.bias_dtype) if needs_bias else None
        return gx.reshape(n, h, w, c).transpose(0, 3, 1, 2) if needs_x else None, gw, gb


def _pixels(piece, size, height):
    """The rows of pixels of a piece of rows of windows; the last piece has the row that may be left over too."""
    _, _, p0, p1 = piece
    return slice(p0 * size, height if p1 == height // size else p1 * size)


def _lines(part):
    """A piece (n, rows, W · C) as long lines of whole rows: below 2¹³ numbers NumPy broadcasts half as fast."""
    n, rows, row = part.shape
    return part.reshape(-1, largest_divisor(n * rows, max(1, _LINE // row)) * row)


def _along_lines(xp, vectors, width, dtype):
    """Each (C,) repeated over the pixels of a line."""
    return [xp.tile(v.astype(dtype), width * max(1, _LINE // (width * len(v)))) for v in vectors]


def _send(backend, size, piece, g, y, winners, out):
    """The gradient of a tile's values before ReLU and pool, ``out`` (n, rows, W, C), from those of the result."""
    n0, n1, p0, p1 = piece
    here = slice(n0, n1), slice(None), slice(p0, p1)
    part, value = (a[here].transpose(0, 2, 3, 1) for a in (g, y))
    if size == 1:
        masked(backend.xp, part, value > 0, out)
        return
    _, windows, across, _ = part.shape
    out[:, 2 * windows :] = 0
    out[:, :, 2 * across :] = 0
    kept = backend.workspace("batch_norm_act.kept", part.shape, g.dtype)
    masked(backend.xp, part, value > 0, kept)
    unpool(backend.xp, kept, winners[here].transpose(0, 2, 3, 1), out[:, : 2 * windows, : 2 * across])


def batch_norm_relu(
    input, running_mean=None, running_var=None, weight=None, bias=None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    pool: bool = False,
):
    """``relu(batch_norm(...))``, and then ``max_pool2d(·, 2)`` if ``pool``, as one operation that passes over memory less often.

    Args:
        input: (N, C, …); (N, C, H, W) with ``pool``.
        pool: also take the maximum of every 2 × 2 pixels.
        (others): as for ``batch_norm``.

    Returns:
        The shape of ``input``, or (N, C, ⌊H / 2⌋, ⌊W / 2⌋) with ``pool``, channels last in memory.

    Raises:
        As ``batch_norm`` and ``max_pool2d``; nothing is changed then.
    """
    if pool:
        pool_windows("max_pool2d", input, 2, None, 0)
    arguments = input, running_mean, running_var, weight, bias, training, momentum, eps
    if input.ndim == 4:
        return apply_norm(BatchNormReLU, *arguments, pool=pool)
    y = relu(batch_norm(*arguments))
    return max_pool2d(y, 2) if pool else y
