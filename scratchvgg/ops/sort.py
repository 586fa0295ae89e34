"""Order: sort, argsort, topk, unique, bincount. Sorting is stable (equal elements keep their order) and NaN counts as the largest."""

from __future__ import annotations

from collections import namedtuple

from ..autograd import Op, Tensor, ops
from .common import check_same_device, check_tensor, normalize_dim

SortResult = namedtuple("sort", ["values", "indices"])
TopkResult = namedtuple("topk", ["values", "indices"])


class Sort(Op):
    """The first ``count`` of the order along one axis, and where they were. Keeps those places; g returns to them."""

    name = "sort"

    @staticmethod
    def forward(ctx, x, *, axis, descending, count):
        xp = ctx.xp
        ctx.shape, ctx.axis = x.shape, axis
        if descending:  # reversing before and after keeps equal elements in their order
            order = x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)
        else:
            order = xp.argsort(x, axis=axis, kind="stable")
        order = order[(*(slice(None),) * axis, slice(count))].astype(xp.int64, copy=False)
        ctx.save(order=order)
        return xp.take_along_axis(x, order, axis), order

    @staticmethod
    def backward(ctx, g, _):
        (order,) = ctx.saved
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        ctx.xp.put_along_axis(out, order, g, ctx.axis)
        return out


def _ordered(name, input, dim, descending, count=None):
    check_tensor(name, "input", input)
    axis = normalize_dim(name, dim, input.ndim)
    size = input.shape[axis] if input.ndim else 1
    if count is not None and not 0 <= count <= size:
        raise RuntimeError(f"{name}: k must be between 0 and the size {size} of dimension {axis}, got {count}")
    if input.ndim == 0:
        return ops.clone(input), ops.zeros((), dtype="int64", device=input.device)
    return Sort.apply(input, axis=axis, descending=bool(descending), count=size if count is None else count)


@ops.register
def sort(input, dim: int = -1, descending: bool = False, stable: bool = False):
    """A namedtuple ``(values, indices)`` in order along ``dim``. ``stable`` is always granted."""
    return SortResult(*_ordered("sort", input, dim, descending))


@ops.register
def argsort(input, dim: int = -1, descending: bool = False, stable: bool = False):
    """The indices that sort ``input`` along ``dim`` (int64)."""
    return _ordered("argsort", input, dim, descending)[1]


@ops.register
def topk(input, k: int, dim: int = -1, largest: bool = True, sorted: bool = True):
    """A namedtuple ``(values, indices)`` of the ``k`` largest (smallest) along ``dim``, always in order; first index first among equals.

    Raises:
        RuntimeError: for k outside the dimension.
    """
    return TopkResult(*_ordered("topk", input, dim, largest, int(k)))


@ops.register
def unique(input, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False):
    """The different elements in rising order, each once (every NaN counts as different).

    Returns:
        The elements; with ``return_inverse`` also where each input element went; with ``return_counts`` also how often each occurs.
    """
    check_tensor("unique", "input", input)
    xp = input.backend.xp
    with input.backend.quiet():
        values, inverse, counts = xp.unique(input.array, return_inverse=True, return_counts=True, equal_nan=False)
    found = [values] + [inverse.reshape(input.array.shape)] * bool(return_inverse) + [counts] * bool(return_counts)
    answer = tuple(Tensor.wrap(input.backend, f) for f in found)
    return answer if len(answer) > 1 else answer[0]


@ops.register
def bincount(input, weights=None, minlength: int = 0):
    """How often 0, 1, 2, … occur (or the sum of their weights): int64, or the weights' type, of shape (max(minlength, largest + 1),).

    Raises:
        RuntimeError: unless ``input`` is one-dimensional, of integers, none negative; for weights of another shape.
    """
    check_tensor("bincount", "input", input)
    if input.ndim != 1 or input.dtype.category != 1 or bool((input < 0).any()):
        raise RuntimeError(f"bincount: expected non-negative integers in one dimension, got {input.dtype} of shape {tuple(input.shape)}")
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(f"bincount: weights of shape {tuple(weights.shape)} for input of shape {tuple(input.shape)}")
    check_same_device("bincount", input, weights)
    xp = input.backend.xp
    with input.backend.quiet():
        if weights is None:
            return Tensor.wrap(input.backend, xp.bincount(input.array, minlength=minlength).astype(xp.int64, copy=False))
        counted = xp.bincount(input.array, weights.detach().array, minlength)
        return Tensor.wrap(input.backend, counted.astype(xp.float32 if weights.dtype.name == "float32" else xp.float64, copy=False))
