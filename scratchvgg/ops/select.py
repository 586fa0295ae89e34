"""Choosing elements: where, masked_fill, masked_select, gather, index_select, nonzero. g goes back to where the element came from."""

from __future__ import annotations

from ..array.dtypes import number_dtype, promote_types
from ..autograd import Op, Tensor, ops
from .common import add_at, broadcast_shape, check_tensor, normalize_dim, promote, sum_to


class Where(Op):
    """The condition alone tells where g goes."""

    name = "where"

    @staticmethod
    def forward(ctx, condition, a, b):
        ctx.shapes = getattr(a, "shape", ()), getattr(b, "shape", ())
        ctx.save(condition=condition)
        return ctx.xp.where(condition, a, b)

    @staticmethod
    def backward(ctx, g):
        xp, zero = ctx.xp, g.dtype.type(0)
        (condition,) = ctx.saved
        ga = sum_to(xp, xp.where(condition, g, zero), ctx.shapes[0]) if ctx.needs_input_grad[1] else None
        gb = sum_to(xp, xp.where(condition, zero, g), ctx.shapes[1]) if ctx.needs_input_grad[2] else None
        return None, ga, gb


class MaskedFill(Op):
    """x with ``value`` where the mask is True."""

    name = "masked_fill"

    @staticmethod
    def forward(ctx, x, mask, value):
        xp = ctx.xp
        ctx.shape = x.shape
        ctx.save(mask=mask)
        out = xp.broadcast_to(x, xp.broadcast_shapes(x.shape, mask.shape)).copy("K")
        xp.copyto(out, value, where=mask, casting="unsafe")
        return out

    @staticmethod
    def backward(ctx, g):
        xp, zero = ctx.xp, g.dtype.type(0)
        (mask,) = ctx.saved
        gx = sum_to(xp, xp.where(mask, zero, g), ctx.shape) if ctx.needs_input_grad[0] else None
        gv = xp.asarray(xp.where(mask, g, zero).sum(), g.dtype) if ctx.needs_input_grad[2] else None
        return gx, None, gv


class Gather(Op):
    """out[i][j][k] = x[i][index[i][j][k]][k] for dim 1; g is added where the index points."""

    name = "gather"

    @staticmethod
    def forward(ctx, x, index, *, dim):
        xp = ctx.xp
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save(index=index)
        return x[_places(xp, index, dim)]

    @staticmethod
    def backward(ctx, g):
        (index,) = ctx.saved
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        add_at(ctx.xp, out, _places(ctx.xp, index, ctx.dim), g)
        return out, None


def _places(xp, index, dim):
    """The index arrays that pick ``x[…, index, …]`` along ``dim``."""
    places = list(xp.ogrid[tuple(slice(n) for n in index.shape)])
    places[dim] = index
    return tuple(places)


class IndexSelect(Op):
    """Slices of x along one dimension, in the order of the index; equal indices add their g."""

    name = "index_select"

    @staticmethod
    def forward(ctx, x, index, *, dim):
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save(index=index)
        return ctx.xp.take(x, index, axis=dim)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        (index,) = ctx.saved
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        add_at(xp, out.swapaxes(0, ctx.dim), index, g.swapaxes(0, ctx.dim))
        return out, None


def _check_mask(name, input, mask):
    """The shape that input and a bool mask broadcast to."""
    check_tensor(name, "input", input)
    check_tensor(name, "mask", mask)
    if mask.dtype.name != "bool":
        raise RuntimeError(f"{name}: the mask must be a bool tensor, got {mask.dtype}")
    return broadcast_shape(name, [input, mask])


@ops.register
def masked_fill(input, mask, value):
    """A copy of ``input`` with ``value`` (a number or 0-dimensional Tensor) where ``mask`` is True; both broadcast.

    Raises:
        RuntimeError: for a mask that is not bool, or a value with dimensions.
    """
    _check_mask("masked_fill", input, mask)
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"masked_fill: value must be a number or a 0-dimensional tensor, got shape {tuple(value.shape)}")
        return MaskedFill.apply(input, mask, ops.to(value, input.dtype))
    return MaskedFill.apply(input, mask, input.array.dtype.type(value))


@ops.register
def masked_select(input, mask):
    """The elements where ``mask`` is True, as one dimension in logical order; both broadcast.

    Raises:
        RuntimeError: for a mask that is not bool.
    """
    shape = _check_mask("masked_select", input, mask)
    if not shape:
        input, mask, shape = ops.reshape(input, (1,)), ops.reshape(mask, (1,)), (1,)
    return ops.getitem(ops.expand(input, shape), ops.expand(mask, shape))


@ops.register
def where(condition, input=None, other=None):
    """``input`` where ``condition`` (bool) is True, else ``other``; everything broadcasts, either may be a number. With the condition
    alone: its non-zero places, one index tensor per dimension.

    Raises:
        RuntimeError: for a condition that is not bool, or shapes that do not broadcast.
    """
    check_tensor("where", "condition", condition)
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if condition.dtype.name != "bool":
        raise RuntimeError(f"where: condition must be a bool tensor, got {condition.dtype}")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        kind = promote_types(number_dtype(input), number_dtype(other))
        input = ops.full((), input, dtype=kind, device=condition.device)
    a, b = promote("where", input, other)
    broadcast_shape("where", [condition, a, b])
    return Where.apply(condition, *(v if isinstance(v, Tensor) else _typed(v, a, b) for v in (a, b)))


def _typed(number, a, b):
    return (a if isinstance(a, Tensor) else b).array.dtype.type(number)


@ops.register
def gather(input, dim: int, index):
    """Elements of ``input`` that ``index`` names along ``dim``; the result has the shape of ``index``, which may be smaller in the
    other dimensions.

    Raises:
        RuntimeError: for an index of floating type, other number of dimensions, larger sizes, or out of bounds (negative ones are).
    """
    check_tensor("gather", "input", input)
    check_tensor("gather", "index", index)
    dim = normalize_dim("gather", dim, input.ndim)
    if index.dtype.name not in ("int32", "int64"):
        raise RuntimeError(f"gather: index must be int64 or int32, got {index.dtype}")
    if index.ndim == 0 and input.ndim == 0:
        return ops.reshape(gather(ops.reshape(input, (1,)), 0, ops.reshape(index, (1,))), ())
    if index.array.size == 0:
        return ops.getitem(ops.reshape(input, (-1,)), Tensor.wrap(index.backend, index.array))
    if index.ndim != input.ndim:
        raise RuntimeError(f"gather: index has {index.ndim} dimensions, input has {input.ndim}")
    for d, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)):
        if d != dim and n > m:
            raise RuntimeError(f"gather: index of shape {tuple(index.shape)} is larger than input of shape {tuple(input.shape)} in dimension {d}")
    _check_bounds("gather", index, input.shape[dim], RuntimeError)
    return Gather.apply(input, index, dim=dim)


@ops.register
def index_select(input, dim: int, index):
    """The slices of ``input`` along ``dim`` that the vector ``index`` names.

    Raises:
        IndexError: for an index that is not a vector, or out of bounds (negative ones are).
        RuntimeError: for an index of floating type.
    """
    check_tensor("index_select", "input", input)
    check_tensor("index_select", "index", index)
    dim = normalize_dim("index_select", dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"index_select: index must be a vector, got shape {tuple(index.shape)}")
    if index.dtype.name not in ("int32", "int64"):
        raise RuntimeError(f"index_select: index must be int64 or int32, got {index.dtype}")
    if input.ndim == 0:
        return ops.reshape(index_select(ops.reshape(input, (1,)), 0, index), ())
    index = ops.reshape(index, (-1,))
    _check_bounds("index_select", index, input.shape[dim], IndexError)
    return IndexSelect.apply(input, index, dim=dim)


def _check_bounds(name, index, size, error):
    with index.backend.quiet():
        low, high = (int(index.array.min()), int(index.array.max())) if index.array.size else (0, -1)
    if low < 0 or high >= size:
        raise error(f"{name}: index {low if low < 0 else high} is out of bounds for a dimension of size {size}")


@ops.register
def nonzero(input, *, as_tuple: bool = False):
    """Where ``input`` is not 0: int64 of shape (count, dimensions), in logical order; or one vector per dimension."""
    check_tensor("nonzero", "input", input)
    xp, array = input.backend.xp, input.array
    found = [f.astype(xp.int64, copy=False) for f in (array.reshape(1) if array.ndim == 0 else array).nonzero()]
    if as_tuple:
        return tuple(Tensor.wrap(input.backend, f) for f in found)
    rows = xp.stack(found[: array.ndim], 1) if array.ndim else xp.empty((len(found[0]), 0), xp.int64)
    return Tensor.wrap(input.backend, rows)
