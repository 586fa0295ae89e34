"""unfold (im2col) and fold (col2im): sliding windows as columns, and columns added back to where they came from.

Column l = p · Q + q of (N, C·R·S, L) holds the window at (p, q): entry (c · R + r) · S + s is x[n, c, p·stride − padding + r·dilation, …].
Each is the other's transpose, so each is the other's backward.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, pair
from .windows import Windows, batched, check_planes


class Unfold(Op):
    """Keeps only the geometry."""

    name = "unfold"

    @staticmethod
    def forward(ctx, x, windows):
        ctx.windows, ctx.shape = windows, x.shape
        columns = _unfold(ctx.xp, batched(x), windows)
        return columns[0] if x.ndim == 3 else columns

    @staticmethod
    def backward(ctx, g):
        return _fold(ctx.xp, g if g.ndim == 3 else g[None], ctx.windows).reshape(ctx.shape), None


class Fold(Op):
    """Keeps only the geometry."""

    name = "fold"

    @staticmethod
    def forward(ctx, columns, windows):
        ctx.windows, ctx.shape = windows, columns.shape
        x = _fold(ctx.xp, columns if columns.ndim == 3 else columns[None], windows)
        return x[0] if columns.ndim == 2 else x

    @staticmethod
    def backward(ctx, g):
        return _unfold(ctx.xp, batched(g), ctx.windows).reshape(ctx.shape), None


def _unfold(xp, x, windows):
    n, c = x.shape[:2]
    columns = xp.zeros((n, c, *windows.kernel, *windows.out), x.dtype)
    for _, r, s in windows.offsets():
        (rows, p), (cols, q) = windows.inside(0, r), windows.inside(1, s)
        columns[:, :, r, s, p, q] = x[:, :, rows, cols]
    return columns.reshape(n, c * windows.kernel[0] * windows.kernel[1], windows.out[0] * windows.out[1])


def _fold(xp, columns, windows):
    n, c = columns.shape[0], columns.shape[1] // (windows.kernel[0] * windows.kernel[1])
    columns = columns.reshape(n, c, *windows.kernel, *windows.out)
    x = xp.zeros((n, c, *windows.size), columns.dtype)
    for _, r, s in windows.offsets():
        (rows, p), (cols, q) = windows.inside(0, r), windows.inside(1, s)
        x[:, :, rows, cols] += columns[:, :, r, s, p, q]
    return x


def _windows(name, size, kernel_size, dilation, padding, stride) -> Windows:
    numbers = [pair(name, "kernel_size", kernel_size), pair(name, "stride", stride), pair(name, "padding", padding)]
    kernel, stride, padding = numbers
    dilation = pair(name, "dilation", dilation)
    if min(kernel + stride + dilation) < 1 or min(padding) < 0:
        raise RuntimeError(
            f"{name}: kernel_size, stride and dilation must be positive and padding not negative, "
            f"got {kernel}, {stride}, {dilation} and {padding}"
        )
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    out = tuple((n + 2 * p - e) // s + 1 for n, p, e, s in zip(size, padding, reach, stride, strict=True))
    if min(out) < 1:
        raise RuntimeError(f"{name}: a plane of {size[0]}x{size[1]} leaves no room for one window: there would be {out[0]}x{out[1]}")
    return Windows(size, kernel, stride, padding, dilation, out)


@ops.register
def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """All windows of (N, C, H, W) or (C, H, W) as columns of (N, C·R·S, L).

    Args:
        kernel_size, dilation, padding, stride: an int or (vertical, horizontal); the padding is zeros.

    Raises:
        RuntimeError, IndexError: for shapes or sizes that torch refuses too.
    """
    check_planes("unfold", input, IndexError)
    return Unfold.apply(input, _windows("unfold", tuple(input.shape[-2:]), kernel_size, dilation, padding, stride))


@ops.register
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Add the columns of (N, C·R·S, L) or (C·R·S, L) back into planes of ``output_size``: (N, C, H, W) or (C, H, W).

    Raises:
        RuntimeError: if rows are not a multiple of R·S or L is not the number of windows that ``output_size`` has.
    """
    check_tensor("fold", "input", input)
    windows = _windows("fold", pair("fold", "output_size", output_size), kernel_size, dilation, padding, stride)
    area, count = windows.kernel[0] * windows.kernel[1], windows.out[0] * windows.out[1]
    if input.ndim not in (2, 3) or input.shape[-2] % area or input.shape[-1] != count or 0 in input.shape[-2:]:
        raise RuntimeError(
            f"fold: input must be (N, C·{area}, {count}) or (C·{area}, {count}) for windows of {windows.kernel} over {windows.size}, "
            f"got shape {tuple(input.shape)}"
        )
    return Fold.apply(input, windows)
