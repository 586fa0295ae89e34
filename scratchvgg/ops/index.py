"""``x[index]`` and ``x[index] = value`` with torch's rules.

An index is read in two steps, as torch does: first integers, slices, None and Ellipsis make a view; then index tensors and masks
pick from it. (NumPy mixes the two when an integer stands beside an index array, and orders the dimensions differently.)
g goes back into zeros: written for views, added for index tensors, which may name an element twice.
"""

from __future__ import annotations

from types import EllipsisType

import numpy as np

from ..autograd import Op, Tensor, ops
from .common import add_at, check_tensor, is_number, sum_to


class View(Op):
    """Integers, slices, None: shares memory."""

    name = "getitem"
    view = True

    @staticmethod
    def forward(ctx, x, *, index):
        ctx.shape, ctx.index = x.shape, index
        return x[(*index, ...)]  # the Ellipsis keeps a single element a view

    @staticmethod
    def backward(ctx, g):
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        out[(*ctx.index, ...)] = g
        return out


class Pick(Op):
    """Index arrays: a copy."""

    name = "getitem"

    @staticmethod
    def forward(ctx, x, *, index, unique):
        ctx.shape, ctx.index, ctx.unique = x.shape, index, unique
        return x[index]

    @staticmethod
    def backward(ctx, g):
        out = ctx.backend.zeros(ctx.shape, g.dtype)
        if ctx.unique:
            out[ctx.index] = g
        else:
            add_at(ctx.xp, out, ctx.index, g)
        return out


class SetItem(Op):
    """Writes ``value`` into x itself; backward needs neither's old content."""

    name = "setitem"

    @staticmethod
    def forward(ctx, x, value, *, basic, picked):
        ctx.basic, ctx.picked, ctx.shape = basic, picked, getattr(value, "shape", ())
        ctx.writes = True
        place = x[(*basic, ...)]
        place[... if picked is None else picked] = value
        return x

    @staticmethod
    def backward(ctx, g):
        place = g[(*ctx.basic, ...)]
        gx = gv = None
        if ctx.needs_input_grad[1]:
            part = place if ctx.picked is None else place[ctx.picked]
            if part.ndim < len(ctx.shape):  # the value had leading dimensions of size 1
                part = part.reshape((1,) * (len(ctx.shape) - part.ndim) + part.shape)
            gv = sum_to(ctx.xp, part, ctx.shape)
        if ctx.needs_input_grad[0]:
            gx = g.copy("K")
            gx[(*ctx.basic, ...)][... if ctx.picked is None else ctx.picked] = 0
        return gx, gv


def _is_integer(item):
    return isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_))


def _as_index(item):
    """One item of an index: None, Ellipsis, slice and int as they are, everything else as a NumPy array (bool, or integer).

    Raises:
        IndexError: for floats and other things. ValueError: for a slice with a step below 1.
    """
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
        ends = [None if e is None else e.__index__() for e in (item.start, item.stop, item.step)]
        if ends[2] is not None and ends[2] <= 0:
            raise ValueError(f"index: the step of a slice must be greater than zero, got {item}")
        return slice(*ends)
    if _is_integer(item):
        return int(item)
    if isinstance(item, Tensor):
        item = item.backend.to_numpy(item.array)
    elif isinstance(item, (list, tuple, range)):
        item = np.asarray([i.tolist() if isinstance(i, Tensor) else i for i in item])
        item = item.astype(np.int64) if item.size == 0 else item
    elif isinstance(item, (bool, np.bool_)):
        item = np.asarray(item)
    if not isinstance(item, np.ndarray):
        raise IndexError(f"index: expected integers, slices, Ellipsis, None, or integer or bool tensors, got {type(item).__name__} {item!r}")
    if item.dtype == np.uint8:  # torch's masks before it had bool
        item = item.astype(bool)
    if item.dtype.kind not in "iub":
        raise IndexError(f"index: index tensors must be integer or bool, got {item.dtype}")
    return int(item) if item.ndim == 0 and item.dtype.kind != "b" else item


def parse_index(index, shape):
    """``(basic, picked, unique)``: a tuple for a view, then a tuple of index arrays (or None) into that view.

    ``unique`` is True if no element can be picked twice (masks).

    Raises:
        IndexError: out of range, too many indices, a mask that does not fit. ValueError: a slice with a step below 1.
    """
    items = [_as_index(i) for i in (index if isinstance(index, tuple) else (index,))]
    used = sum(i.ndim if _is_mask(i) else 1 for i in items if i is not None and i is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"index: too many indices ({used}) for a tensor of {len(shape)} dimensions")
    if not any(i is Ellipsis for i in items):
        items.append(Ellipsis)
    spare = len(shape) - used
    basic, picks, place, dim, masks = [], {}, 0, 0, True  # place: dimension of the view, dim: of the tensor
    for item in items:
        if isinstance(item, EllipsisType):
            basic += [slice(None)] * spare
            place, dim, spare = place + spare, dim + spare, 0
        elif item is None:
            basic.append(None)
            place += 1
        elif isinstance(item, slice):
            basic.append(item)
            place, dim = place + 1, dim + 1
        elif isinstance(item, int):
            if not -shape[dim] <= item < shape[dim]:
                raise IndexError(f"index {item} is out of bounds for dimension {dim} with size {shape[dim]}")
            basic.append(item)
            dim += 1
        elif _is_mask(item) and item.ndim == 0:  # a bool number: a new dimension of size 1 or 0
            basic.append(None)
            picks[place] = np.zeros(int(item), np.int64)
            place += 1
        elif _is_mask(item):
            sizes = tuple(shape[dim : dim + item.ndim])
            if item.shape != sizes:
                raise IndexError(f"index: a mask of shape {item.shape} does not match the sizes {sizes} at dimension {dim}")
            for found in item.nonzero():
                basic.append(slice(None))
                picks[place] = found
                place, dim = place + 1, dim + 1
        else:
            if item.size and not (-shape[dim] <= item.min() and item.max() < shape[dim]):
                wrong = item.min() if item.min() < -shape[dim] else item.max()
                raise IndexError(f"index {wrong} is out of bounds for dimension {dim} with size {shape[dim]}")
            basic.append(slice(None))
            picks[place], masks = item, False
            place, dim = place + 1, dim + 1
    if not picks:
        return tuple(basic), None, True
    try:
        np.broadcast_shapes(*(p.shape for p in picks.values()))
    except ValueError:
        raise IndexError(f"index: index tensors of shapes {[p.shape for p in picks.values()]} do not broadcast") from None
    return tuple(basic), tuple(picks.get(p, slice(None)) for p in range(max(picks) + 1)), masks


def _is_mask(item):
    return isinstance(item, np.ndarray) and item.dtype.kind == "b"


@ops.register
def getitem(input, index):
    """``input[index]``: a view for integers, slices, None and Ellipsis; a copy for index tensors, lists and masks.

    Raises:
        IndexError: out of range, too many indices, index tensors of floating type, a mask of another shape.
        ValueError: for a slice with a step below 1.
    """
    basic, picked, unique = parse_index(index, input.array.shape)
    out = input if picked is not None and all(i == slice(None) for i in basic) else View.apply(input, index=basic)
    return out if picked is None else Pick.apply(out, index=picked, unique=unique)


@ops.register
def setitem_(input, index, value):
    """``input[index] = value`` in place; ``value`` (number, Tensor, array, list) broadcasts and takes the tensor's dtype.

    Raises:
        IndexError, ValueError: as :func:`getitem`.
        RuntimeError: if the value does not broadcast to the selection, or see ``check_writable``.
    """
    check_tensor("setitem", "input", input)
    basic, picked, _ = parse_index(index, input.array.shape)
    if not isinstance(value, Tensor) and not is_number(value):
        value = Tensor(value, device=input.device)
    if isinstance(value, Tensor) and value.ndim:
        place = input.array[(*basic, ...)]
        target = place.shape if picked is None else place[picked].shape
        _check_fits(value.array.shape, target)
    input.check_writable("setitem")
    return input.adopt(SetItem.apply(input, value, basic=basic, picked=picked))


def _check_fits(shape, target):
    while len(shape) > len(target) and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > len(target) or any(n not in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False)):
        raise RuntimeError(f"setitem: a value of shape {tuple(shape)} does not broadcast to the selected {tuple(target)}")
