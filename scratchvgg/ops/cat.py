"""Joining tensors: along a dimension they have (cat), or along a new one (stack). The gradient is cut where the tensors were joined."""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, common_dtype, normalize_dim


class Cat(Op):
    """Keeps only sizes."""

    name = "cat"

    @staticmethod
    def forward(ctx, dim, *arrays):
        ctx.dim, ctx.sizes = dim, [a.shape[dim] for a in arrays]
        return ctx.xp.concatenate(arrays, dim)

    @staticmethod
    def backward(ctx, g):
        pieces, start = [None], 0
        for size in ctx.sizes:
            pieces.append(g[(slice(None),) * ctx.dim + (slice(start, start + size),)])
            start += size
        return tuple(pieces)


def _check_sequence(name, tensors):
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}: tensors must be a tuple or list of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise (ValueError if name == "cat" else RuntimeError)(f"{name}: expected a non-empty list of Tensors")
    for place, tensor in enumerate(tensors):
        check_tensor(name, f"tensors[{place}]", tensor)


@ops.register
def cat(tensors, dim: int = 0):
    """Join tensors along ``dim``; all other sizes must agree. Types are promoted; tensors of shape (0,) do not count.

    Raises:
        ValueError: for no tensors. RuntimeError: for 0-dimensional ones, or sizes that do not fit.
        IndexError: ``dim`` out of range. TypeError: for anything but Tensors.
    """
    _check_sequence("cat", tensors)
    for place, tensor in enumerate(tensors):
        if tensor.ndim == 0:
            raise RuntimeError(f"cat: 0-dimensional tensors cannot be joined, tensors[{place}] is one; use stack")
    wanted = common_dtype(tensors)
    joined = [ops.to(t, wanted) for t in tensors if t.shape != (0,)] or [ops.to(t, wanted) for t in tensors]
    dim = normalize_dim("cat", dim, joined[0].ndim)
    others = [t.shape[:dim] + t.shape[dim + 1 :] for t in joined]
    if any(o != others[0] or t.ndim != joined[0].ndim for o, t in zip(others, joined, strict=True)):
        shapes = ", ".join(str(tuple(t.shape)) for t in joined)
        raise RuntimeError(f"cat: sizes must agree except in dimension {dim}, got {shapes}")
    return Cat.apply(dim, *joined)


@ops.register
def stack(tensors, dim: int = 0):
    """Join tensors of one shape along a new dimension ``dim``.

    Raises:
        RuntimeError: for no tensors, or different shapes. IndexError: ``dim`` out of range. TypeError: for anything but Tensors.
    """
    _check_sequence("stack", tensors)
    if any(t.shape != tensors[0].shape for t in tensors):
        raise RuntimeError(f"stack: expected tensors of one shape, got {', '.join(str(tuple(t.shape)) for t in tensors)}")
    dim = normalize_dim("stack", dim, tensors[0].ndim + 1)
    return cat([ops.unsqueeze(t, dim) for t in tensors], dim)
