"""Average pooling: y = (sum of the window) / count. Backward spreads g / count evenly over the window.

The sum is separable: R strided additions of rows, then S of columns, instead of R · S. Padding counts as zeros in the sum, and in the
count only with ``count_include_pad``. A window that hangs over the padding's edge (``ceil_mode``) counts what lies inside it.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .precision import check_floating, widen
from .windows import batched, layout_of, over_images, pool_windows


class AvgPool2d(Op):
    """Keeps only the geometry."""

    name = "avg_pool2d"

    @staticmethod
    def forward(ctx, x, windows, count_include_pad=True, divisor_override=None):
        xp, ctx.windows, ctx.unbatched = ctx.xp, windows, x.ndim == 3
        x = batched(x)
        ctx.shape, ctx.layout = x.shape, layout_of(x)
        ctx.count = _counts(xp, windows, count_include_pad, divisor_override).astype(widen(xp, x[:0]).dtype)
        y = ctx.backend.empty((*x.shape[:2], *windows.out), x.dtype, ctx.layout)

        def task(n):
            rows = _add_windows(xp, windows, 2, widen(xp, x[n]), y[n].shape[:3] + x.shape[3:])
            y[n] = _add_windows(xp, windows, 3, rows, y[n].shape) / ctx.count

        over_images(task, x)
        return y[0] if ctx.unbatched else y

    @staticmethod
    def backward(ctx, g):
        xp, g = ctx.xp, batched(g)
        gx = ctx.backend.empty(ctx.shape, g.dtype, ctx.layout)

        def task(n):
            columns = _spread(xp, ctx.windows, 3, g[n] / ctx.count, g[n].shape[:3] + ctx.shape[3:])
            gx[n] = _spread(xp, ctx.windows, 2, columns, gx[n].shape)

        over_images(task, gx)
        return gx[0] if ctx.unbatched else gx, None


def _at(axis, where):
    return (slice(None),) * axis + (where,)


def _zeros(xp, like, shape):
    """Zeros of ``shape`` in the memory order of ``like``."""
    return xp.zeros_like(like, shape=shape)


def _add_windows(xp, windows, axis, x, shape):
    """Sum over the window along one axis."""
    out = _zeros(xp, x, shape)
    for offset in range(windows.kernel[axis - 2]):
        there, here = windows.inside(axis - 2, offset)
        out[_at(axis, here)] += x[_at(axis, there)]
    return out


def _spread(xp, windows, axis, g, shape):
    """The transpose of :func:`_add_windows`."""
    out = _zeros(xp, g, shape)
    for offset in range(windows.kernel[axis - 2]):
        there, here = windows.inside(axis - 2, offset)
        out[_at(axis, there)] += g[_at(axis, here)]
    return out


def _counts(xp, windows, count_include_pad, divisor_override):
    """(P, Q): what each window's sum is divided by."""
    if divisor_override is not None:
        return xp.full(windows.out, divisor_override, xp.float64)
    counts = []
    for size, kernel, stride, pad, out in zip(windows.size, windows.kernel, windows.stride, windows.padding, windows.out, strict=True):
        start = xp.arange(out) * stride - pad
        low, high = (-pad, size + pad) if count_include_pad else (0, size)
        counts.append(xp.minimum(start + kernel, high) - xp.maximum(start, low))
    return (counts[0][:, None] * counts[1]).astype(xp.float64)


@ops.register
def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override=None
):
    """Mean over sliding windows.

    Args:
        input: (N, C, H, W) or (C, H, W); N may be 0.
        kernel_size, stride, padding: an int or (vertical, horizontal); ``stride=None`` means ``kernel_size``.
        ceil_mode: count a last window that hangs over the edge.
        count_include_pad: divide by the window with its padding.
        divisor_override: divide by this whole number instead.

    Returns:
        (N, C, P, Q).

    Raises:
        RuntimeError, IndexError: for shapes or sizes torch refuses too. NotImplementedError: integer input.
    """
    windows = pool_windows("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode, IndexError)
    check_floating("avg_pool2d", input)
    if divisor_override is not None and not isinstance(divisor_override, int):
        raise TypeError(f"avg_pool2d: divisor_override must be an int, got {divisor_override!r}")
    if divisor_override == 0:
        raise RuntimeError("avg_pool2d: divisor_override must not be 0")
    return AvgPool2d.apply(input, windows, count_include_pad=count_include_pad, divisor_override=divisor_override)
