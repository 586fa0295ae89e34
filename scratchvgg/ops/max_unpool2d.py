"""Max unpooling: put each value where :func:`max_pool2d` found it, zeros elsewhere. Backward reads the gradient at those places."""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, pair
from .windows import check_planes


class MaxUnpool2d(Op):
    """Keeps the indices."""

    name = "max_unpool2d"

    @staticmethod
    def forward(ctx, x, indices, size):
        xp, ctx.shape = ctx.xp, x.shape
        ctx.save(indices=indices)
        y = xp.zeros((*x.shape[:-2], size[0] * size[1]), x.dtype)
        xp.put_along_axis(y, _flat(indices), _flat(x), -1)
        return y.reshape(*x.shape[:-2], *size)

    @staticmethod
    def backward(ctx, g):
        (indices,) = ctx.saved
        return ctx.xp.take_along_axis(_flat(g), _flat(indices), -1).reshape(ctx.shape), None, None


def _flat(x):
    """(…, H, W) as (…, H·W)."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


@ops.register
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The partial inverse of :func:`max_pool2d`.

    Args:
        input: (N, C, P, Q) or (C, P, Q).
        indices: int64, same shape: positions in the H × W plane, from ``return_indices=True``.
        kernel_size, stride, padding: those of the pooling; they give the default size (P − 1) · stride − 2 · padding + kernel.
        output_size: (H, W), or a shape that ends so, within one stride of the default.

    Raises:
        RuntimeError: indices of another type or shape, or outside the plane. ValueError: an output size out of reach.
    """
    check_planes("max_unpool2d", input)
    check_tensor("max_unpool2d", "indices", indices)
    if indices.dtype.name != "int64" or indices.shape != input.shape:
        raise RuntimeError(
            f"max_unpool2d: indices must be int64 of shape {tuple(input.shape)}, got {indices.dtype} of shape {tuple(indices.shape)}"
        )
    kernel = pair("max_unpool2d", "kernel_size", kernel_size)
    stride = kernel if stride is None else pair("max_unpool2d", "stride", stride)
    padding = pair("max_unpool2d", "padding", padding)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(input.shape[-2:], stride, padding, kernel, strict=True))
    if output_size is not None:
        size = _asked(size, stride, tuple(output_size))
    if bool(((indices < 0) | (indices >= size[0] * size[1])).any()):
        raise RuntimeError(f"max_unpool2d: found an index outside the output of {size[0]}x{size[1]}")
    return MaxUnpool2d.apply(input, indices, size)


def _asked(default, stride, output_size):
    asked = output_size[-2:]
    if len(output_size) < 2 or any(not d - s < n < d + s for d, s, n in zip(default, stride, asked, strict=True)):
        raise ValueError(f"max_unpool2d: output_size must lie within one stride {stride} of {default}, got {output_size}")
    return asked
