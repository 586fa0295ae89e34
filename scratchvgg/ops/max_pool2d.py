"""Max pooling: y[n, c, p, q] = max over (r, s) of x[n, c, p·stride − padding + r·dilation, …]; the padding counts as −∞.

Of equal values the first in row-major order wins; NaN beats everything. Backward sends g to the winner and needs nothing but which
of the R · S offsets won: one byte an output, instead of the input.
"""

from __future__ import annotations

import math

from ..array import as_dtype, parallel_for
from ..autograd import Op, ops
from ..conv.epilogue import pieces
from .masked import masked
from .windows import Windows, batched, layout_of, pool_windows


class MaxPool2d(Op):
    """Keeps the winning offset k = r · S + s of every window (uint8; int32 for windows of more than 256)."""

    name = "max_pool2d"

    @staticmethod
    def forward(ctx, x, windows, return_indices=False):
        ctx.windows, ctx.unbatched = windows, x.ndim == 3
        x = batched(x)
        ctx.shape, ctx.layout = x.shape, layout_of(x)
        y = ctx.backend.empty((*x.shape[:2], *windows.out), x.dtype, ctx.layout)
        winner = None
        if return_indices or ctx.needs_input_grad[0]:
            winner = ctx.backend.empty(y.shape, "uint8" if math.prod(windows.kernel) <= 256 else "int32", ctx.layout)
            ctx.save(winner=winner)
            _over_tiles(lambda part, there, here: _maximum_and_winner(ctx.xp, part, x[there], y[here], winner[here]), x, windows)
        else:
            _over_tiles(lambda part, there, here: _maximum(ctx.xp, part, x[there], y[here]), x, windows)
        cut = 0 if ctx.unbatched else slice(None)
        return (y[cut], indices_in_plane(ctx.xp, windows, winner)[cut]) if return_indices else y[cut]

    @staticmethod
    def backward(ctx, g, *_):
        (winner,) = ctx.saved
        g = batched(g)
        make = ctx.backend.empty if _covers(ctx.windows) else ctx.backend.zeros
        gx = make(ctx.shape, g.dtype, ctx.layout)
        _over_tiles(lambda part, there, here: _scatter(ctx.xp, part, g[here], winner[here], gx[there]), gx, ctx.windows, apart=True)
        return gx[0] if ctx.unbatched else gx, None


def _over_tiles(task, x, windows, apart=False):
    """``task(windows of the tile, where in the input, where in the output)`` on the pool for tiles that fit the cache: some rows of windows.

    Rows of windows stay together if they reach into vertical padding or, with ``apart``, if they share rows of the input.
    """
    (rows, width), out, (step, reach) = windows.size, windows.out[0], (windows.stride[0], (windows.kernel[0] - 1) * windows.dilation[0] + 1)
    cut = windows.padding[0] == 0 and (out - 1) * step + reach <= rows and (step >= reach or not apart)

    def tile(piece):
        n0, n1, p0, p1 = piece
        first, last = (p0 * step, rows if p1 == out else (p1 - 1) * step + reach) if cut else (0, rows)
        part = windows._replace(size=(last - first, width), out=(p1 - p0, windows.out[1]))
        task(part, (slice(n0, n1), slice(None), slice(first, last)), (slice(n0, n1), slice(None), slice(p0, p1)))

    row = x.shape[1] * width * (step if cut else rows)
    work = pieces(x.shape[0], out if cut else 1, row)
    parallel_for(tile, work if cut else [(n0, n1, 0, out) for n0, n1, _, _ in work])


def _slices(windows, r, s):
    """Where offset (r, s) lies in the input, and the windows that have it inside."""
    rows, p = windows.inside(0, r)
    columns, q = windows.inside(1, s)
    return (slice(None), slice(None), rows, columns), (slice(None), slice(None), p, q)


def _lowest(xp, dtype):
    return -math.inf if as_dtype(dtype).is_floating_point else xp.iinfo(dtype).min


def _maximum(xp, windows, x, y):
    offsets = windows.offsets()
    if not any(windows.padding):  # the first offset lies inside everywhere
        y[...] = x[_slices(windows, 0, 0)[0]]
        offsets = offsets[1:]
    else:
        y[...] = _lowest(xp, y.dtype)
    for _, r, s in offsets:
        there, here = _slices(windows, r, s)
        xp.maximum(y[here], x[there], out=y[here])


def _maximum_and_winner(xp, windows: Windows, x, y, winner):
    """Running maximum over the offsets; the winner is the largest k that beat all before it, so the codes need only a maximum too."""
    padded = any(windows.padding)
    if padded:
        y[...] = _lowest(xp, y.dtype)
        winner[...] = _first_inside(xp, windows)
    for k, r, s in windows.offsets():
        there, here = _slices(windows, r, s)
        value, best = x[there], y[here]
        if k == 0 and not padded:
            best[...] = value
            winner[...] = 0
            continue
        code = (value > best).view(xp.uint8).astype(winner.dtype, copy=False)
        code *= k
        xp.maximum(winner[here], code, out=winner[here])
        xp.maximum(best, value, out=best)
    if y.size and xp.isnan(y.max()):
        for k, r, s in windows.offsets():
            there, here = _slices(windows, r, s)
            xp.copyto(winner[here], k, where=xp.isnan(x[there]))


def _first_inside(xp, windows):
    """(P, Q): the first offset of each window that is not padding; it wins where everything is −∞."""
    axes = []
    for out, stride, pad, dilation in zip(windows.out, windows.stride, windows.padding, windows.dilation, strict=True):
        start = pad - xp.arange(out) * stride
        axes.append(xp.maximum(0, -(-start // dilation)))
    return axes[0][:, None] * windows.kernel[1] + axes[1]


def indices_in_plane(xp, windows, winner):
    """The winner's place in the H × W plane, int64, as ``return_indices`` asks."""
    k = winner.astype(xp.int64)
    row, column = k // windows.kernel[1], k % windows.kernel[1]
    (sh, sw), (ph, pw), (dh, dw) = windows.stride, windows.padding, windows.dilation
    row = row * dh + (xp.arange(windows.out[0]) * sh - ph)[:, None]
    column = column * dw + (xp.arange(windows.out[1]) * sw - pw)
    return row * windows.size[1] + column


def _covers(windows):
    """True if every input element lies in exactly one window, so that each is written once."""
    return windows.separate and all(
        p == 0 and d == 1 and s == k and o * s == n
        for n, k, s, p, d, o in zip(
            windows.size, windows.kernel, windows.stride, windows.padding, windows.dilation, windows.out, strict=True
        )
    )


def _scatter(xp, windows, g, winner, gx):
    """Add g to the winners, offset by offset; where no windows overlap, every place gets its gradient or 0 once."""
    for k, r, s in windows.offsets():
        there, here = _slices(windows, r, s)
        if windows.separate:
            masked(xp, g[here], winner[here] == k, gx[there], gaps=True)
        else:
            part = xp.empty_like(g[here])
            masked(xp, g[here], winner[here] == k, part)
            xp.add(gx[there], part, out=gx[there])


@ops.register
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False):
    """Maximum over sliding windows.

    Args:
        input: (N, C, H, W) or (C, H, W); N may be 0.
        kernel_size, stride, padding, dilation: an int or (vertical, horizontal); ``stride=None`` means ``kernel_size``.
            Padding is −∞ and at most half of the window.
        ceil_mode: count a last window that hangs over the edge.
        return_indices: also return the int64 position of each maximum in its H × W plane (for :func:`max_unpool2d`). With dilation a
            window may see padding only: its value is −∞, its index means nothing and its gradient goes nowhere.

    Returns:
        (N, C, P, Q) with P = ⌊(H + 2·padding − dilation·(R − 1) − 1) / stride⌋ + 1, or the pair (output, indices).

    Raises:
        RuntimeError: for shapes or sizes torch refuses too.
    """
    windows = pool_windows("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    if input.dtype.name == "bool":
        raise NotImplementedError("max_pool2d: not implemented for bool")
    return MaxPool2d.apply(input, windows, return_indices=return_indices)


@ops.register
def max_pool2d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False):
    """:func:`max_pool2d` with ``return_indices=True``."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)
