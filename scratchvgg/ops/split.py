"""Cutting a tensor along a dimension: split, chunk, unbind, narrow. The parts are views; their gradients are put side by side again."""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, normalize_dim


class Split(Op):
    """Parts of given sizes along one axis."""

    name = "split"
    view = True

    @staticmethod
    def forward(ctx, x, *, sizes, axis):
        ctx.axis = axis
        lead, start, parts = (slice(None),) * axis, 0, []
        for n in sizes:
            parts.append(x[(*lead, slice(start, start + n))])
            start += n
        return tuple(parts)

    @staticmethod
    def backward(ctx, *grads):
        return ctx.xp.concatenate(grads, axis=ctx.axis)


class Unbind(Op):
    """The slices along one axis, without that axis."""

    name = "unbind"
    view = True

    @staticmethod
    def forward(ctx, x, *, axis):
        ctx.axis = axis
        return tuple(ctx.xp.moveaxis(x, axis, 0)[i, ...] for i in range(x.shape[axis]))

    @staticmethod
    def backward(ctx, *grads):
        return ctx.xp.stack(grads, axis=ctx.axis)


def _axis(name, input, dim):
    check_tensor(name, "input", input)
    if input.ndim == 0:
        raise RuntimeError(f"{name}: expected a tensor of at least 1 dimension")
    return normalize_dim(name, dim, input.ndim)


@ops.register
def split(tensor, split_size_or_sections, dim: int = 0):
    """A tuple of views along ``dim``: parts of one size (the last may be smaller), or of the sizes in a list.

    Raises:
        RuntimeError: for sizes that do not add up, or a part size below 1.
    """
    axis = _axis("split", tensor, dim)
    total, sizes = tensor.shape[axis], split_size_or_sections
    if isinstance(sizes, (tuple, list)):
        if any(n < 0 for n in sizes) or sum(sizes) != total:
            raise RuntimeError(f"split: sections {list(sizes)} do not add up to size {total} of dimension {axis}")
    else:
        if sizes < 0 or (sizes == 0 and total):
            raise RuntimeError(f"split: split_size must be positive, got {sizes}")
        sizes = [min(sizes, total - start) for start in range(0, total, sizes or 1)] or [0]
    return Split.apply(tensor, sizes=tuple(sizes), axis=axis)


@ops.register
def chunk(input, chunks: int, dim: int = 0):
    """At most ``chunks`` views along ``dim``, all of size ⌈n/chunks⌉ but the last.

    Raises:
        RuntimeError: for ``chunks`` below 1.
    """
    axis = _axis("chunk", input, dim)
    if chunks < 1:
        raise RuntimeError(f"chunk: chunks must be at least 1, got {chunks}")
    size = -(-input.shape[axis] // chunks)
    return split(input, size, axis) if size else Split.apply(input, sizes=(0,) * chunks, axis=axis)


@ops.register
def unbind(input, dim: int = 0):
    """A tuple of the slices along ``dim``."""
    return Unbind.apply(input, axis=_axis("unbind", input, dim))


@ops.register
def narrow(input, dim: int, start: int, length: int):
    """``length`` slices from ``start`` on along ``dim``, as a view.

    Raises:
        RuntimeError: if they reach beyond the end. IndexError: for a start outside the dimension.
    """
    axis = _axis("narrow", input, dim)
    size, start = input.shape[axis], int(start)
    if not -size <= start <= size:
        raise IndexError(f"narrow: start must be between {-size} and {size}, got {start}")
    start += size if start < 0 else 0
    if length < 0 or start + length > size:
        raise RuntimeError(f"narrow: start {start} + length {length} is not within size {size} of dimension {axis}")
    return ops.getitem(input, (*(slice(None),) * axis, slice(start, start + length)))
