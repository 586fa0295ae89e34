"""Other shapes over the same numbers. Nothing is copied unless the memory order demands it; g takes the way back.

The memory order belongs to this library (activations lie channels-last), so ``view`` copies where only that order stands in its
way, and raises, as torch does, where the gaps of the user's own slice do.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..array import as_dtype
from ..autograd import Op, Tensor, ops
from .common import check_tensor, normalize_dim, normalize_dims, sizes_of


class MemoryFormat:
    """A marker for a memory order: ``contiguous_format``, ``channels_last``, ``preserve_format``."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self):
        return f"scratchvgg.{self.name}"


contiguous_format = MemoryFormat("contiguous_format")
channels_last = MemoryFormat("channels_last")
preserve_format = MemoryFormat("preserve_format")


class Reshape(Op):
    """Other sizes, same number of elements."""

    view = True

    @staticmethod
    def forward(ctx, x, *, shape):
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx, g):
        return g.reshape(ctx.shape)


class Permute(Op):
    """Dimensions in another order."""

    view = True

    @staticmethod
    def forward(ctx, x, *, dims):
        ctx.dims = dims
        return x.transpose(dims)

    @staticmethod
    def backward(ctx, g):
        inverse = [0] * len(ctx.dims)
        for place, dim in enumerate(ctx.dims):
            inverse[dim] = place
        return g.transpose(inverse)


class Expand(Op):
    """Stretched dimensions of stride 0; g is added up over them."""

    view = True

    @staticmethod
    def forward(ctx, x, *, shape):
        ctx.shape = x.shape
        stretched = ctx.xp.broadcast_to(x, shape)
        return x.reshape(shape) if stretched.size == x.size else stretched  # nothing to stretch: stay writable

    @staticmethod
    def backward(ctx, g):
        lead = g.ndim - len(ctx.shape)
        axes = (*range(lead), *(lead + i for i, n in enumerate(ctx.shape) if n == 1 and g.shape[lead + i] != 1))
        return g.sum(axis=axes, keepdims=True).reshape(ctx.shape)


class Clone(Op):
    """A copy in the same or another memory order."""

    @staticmethod
    def forward(ctx, x, *, order="K"):
        if order == "channels_last":
            return ctx.xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return x.copy(order)

    @staticmethod
    def backward(ctx, g):
        return g


def infer_sizes(name: str, shape, count: int) -> tuple[int, ...]:
    """``shape`` with its −1 filled in for ``count`` elements.

    Raises:
        RuntimeError: if the sizes do not fit, are negative, or leave −1 undetermined.
    """
    shape = sizes_of(name, (tuple(shape),))
    for n in shape:
        if n < -1:
            raise RuntimeError(f"{name}: invalid size {n} in {list(shape)}")
    known = math.prod(n for n in shape if n != -1)
    if shape.count(-1) > 1:
        raise RuntimeError(f"{name}: only one dimension can be inferred, got {list(shape)}")
    if -1 in shape:
        if known == 0 and count == 0:
            raise RuntimeError(f"{name}: −1 in {list(shape)} is ambiguous for a tensor of 0 elements")
        if known and count % known == 0:
            return tuple(count // known if n == -1 else n for n in shape)
    elif known == count:
        return shape
    raise RuntimeError(f"{name}: shape {list(shape)} is invalid for input of size {count}")


@ops.register
def reshape(input, *shape):
    """``input`` with other sizes (one may be −1), in logical (row-major) order; a view where the memory allows it.

    Raises:
        RuntimeError: if the numbers of elements differ.
    """
    check_tensor("reshape", "input", input)
    return Reshape.apply(input, shape=infer_sizes("reshape", sizes_of("reshape", shape), input.array.size))


@ops.register
def view(input, *shape):
    """As :func:`reshape`, but raises where the gaps of a slice would force a copy. A dtype reinterprets the bytes.

    Where only the memory order of this library stands in the way (the tensor's dimensions are permuted in memory, without gaps),
    the result is a copy.

    Raises:
        RuntimeError: for sizes that do not fit, or a slice whose dimensions cannot be merged without a copy.
    """
    check_tensor("view", "input", input)
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, np.integer)):
        if input.requires_grad:
            raise RuntimeError("view: a tensor that requires grad cannot be viewed as another dtype")
        out = Tensor.wrap(input.backend, input.array.view(as_dtype(shape[0]).numpy))
        out.share_memory_of(input)
        return out
    sizes = infer_sizes("view", sizes_of("view", shape), input.array.size)
    out = Reshape.apply(input, shape=sizes)
    if input.array.size and not input.backend.xp.may_share_memory(out.array, input.array) and not _views_in_torch(input.array, sizes):
        raise RuntimeError(
            f"view: shape {list(sizes)} needs a copy of this slice (shape {list(input.shape)}, strides {list(input.stride())}); use reshape()"
        )
    return out


def _views_in_torch(array, sizes) -> bool:
    """Could these sizes be a view if the same slice had been cut from memory in logical order?

    Two neighbouring dimensions merge if the inner one is whole: if the stride of the next dimension outwards in memory is a
    multiple of its own extent (more than once its extent where an integer index took a dimension out in between).
    """
    dims = [d for d in range(array.ndim) if array.shape[d] > 1]
    strides = [abs(array.strides[d]) for d in dims]
    if 0 in strides or strides == sorted(strides, reverse=True):  # stretched, or in logical order already: there is no excuse
        return False
    outward = sorted(dims, key=lambda d: abs(array.strides[d]))
    whole = {inner: abs(array.strides[outer]) % abs(array.strides[inner] * array.shape[inner]) == 0 for inner, outer in pairwise(outward)}
    runs = []  # sizes of the runs of dimensions that merge
    for place, d in enumerate(dims):
        if place and whole.get(d, True):
            runs[-1] *= array.shape[d]
        else:
            runs.append(array.shape[d])
    product = 1
    for n in reversed(sizes):  # new sizes must fill each run exactly before the next one starts
        if n == 1:
            continue
        if product == runs[-1]:
            runs, product = runs[:-1], 1
        product *= n
        if not runs or runs[-1] % product:
            return False
    return True


@ops.register
def flatten(input, start_dim: int = 0, end_dim: int = -1):
    """Dimensions ``start_dim`` to ``end_dim`` as one, in logical order. A 0-dimensional tensor becomes (1,).

    Raises:
        RuntimeError: if ``start_dim`` comes after ``end_dim``.
    """
    check_tensor("flatten", "input", input)
    start, end = normalize_dim("flatten", start_dim, input.ndim), normalize_dim("flatten", end_dim, input.ndim)
    if start > end:
        raise RuntimeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    if input.ndim and start == end:
        return input
    shape = input.array.shape
    return Reshape.apply(input, shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@ops.register
def unflatten(input, dim: int, sizes):
    """One dimension as several (one of ``sizes`` may be −1).

    Raises:
        RuntimeError: if they do not multiply up to its size.
    """
    check_tensor("unflatten", "input", input)
    dim = normalize_dim("unflatten", dim, input.ndim)
    shape = input.array.shape
    return Reshape.apply(input, shape=(*shape[:dim], *infer_sizes("unflatten", tuple(sizes), shape[dim]), *shape[dim + 1 :]))


@ops.register
def permute(input, *dims):
    """Dimension ``i`` of the result is dimension ``dims[i]`` of the input; a view.

    Raises:
        RuntimeError: unless each dimension is named once.
    """
    check_tensor("permute", "input", input)
    dims = sizes_of("permute", dims)
    if len(dims) != input.ndim:
        raise RuntimeError(f"permute: got {len(dims)} dimensions {dims} for a tensor of {input.ndim}")
    return Permute.apply(input, dims=normalize_dims("permute", dims, input.ndim))


@ops.register
def transpose(input, dim0: int, dim1: int):
    """Two dimensions exchanged; a view."""
    check_tensor("transpose", "input", input)
    a, b = normalize_dim("transpose", dim0, input.ndim), normalize_dim("transpose", dim1, input.ndim)
    dims = list(range(input.ndim))
    if dims:
        dims[a], dims[b] = b, a
    return Permute.apply(input, dims=tuple(dims))


@ops.register
def swapaxes(input, axis0: int, axis1: int):
    """:func:`transpose` by NumPy's name."""
    return transpose(input, axis0, axis1)


@ops.register
def movedim(input, source, destination):
    """Dimensions ``source`` (int or tuple) moved to the places ``destination``; the others keep their order.

    Raises:
        RuntimeError: if the two have different lengths or name a dimension twice.
    """
    check_tensor("movedim", "input", input)
    source, destination = (s if isinstance(s, (tuple, list)) else (s,) for s in (source, destination))
    if len(source) != len(destination):
        raise RuntimeError(f"movedim: source {source} and destination {destination} have different lengths")
    if not source:
        return input
    source, destination = normalize_dims("movedim", source, input.ndim), normalize_dims("movedim", destination, input.ndim)
    dims = [d for d in range(input.ndim) if d not in source]
    for place, dim in sorted(zip(destination, source, strict=True)):
        dims.insert(place, dim)
    return Permute.apply(input, dims=tuple(dims))


@ops.register
def t(input):
    """The transpose of a matrix; vectors and numbers as they are.

    Raises:
        RuntimeError: for more than two dimensions.
    """
    check_tensor("t", "input", input)
    if input.ndim > 2:
        raise RuntimeError(f"t: expected at most 2 dimensions, got {input.ndim}; use transpose() or mT")
    return Permute.apply(input, dims=tuple(range(input.ndim))[::-1])


@ops.register
def squeeze(input, dim=None):
    """Without the dimensions of size 1: all of them, or those among ``dim`` (int or tuple)."""
    check_tensor("squeeze", "input", input)
    dims = tuple(range(input.ndim)) if dim is None else () if dim == () else normalize_dims("squeeze", dim, input.ndim)
    return Reshape.apply(input, shape=tuple(n for d, n in enumerate(input.array.shape) if n != 1 or d not in dims))


@ops.register
def unsqueeze(input, dim: int):
    """With a new dimension of size 1 at ``dim``."""
    check_tensor("unsqueeze", "input", input)
    dim = normalize_dim("unsqueeze", dim, input.ndim + 1)
    return Reshape.apply(input, shape=(*input.array.shape[:dim], 1, *input.array.shape[dim:]))


@ops.register
def expand(input, *sizes):
    """Dimensions of size 1 (and new leading ones) stretched to ``sizes`` without a copy; −1 keeps a size.

    Raises:
        RuntimeError: for a size that is neither 1 nor the wanted one.
    """
    check_tensor("expand", "input", input)
    sizes, shape = sizes_of("expand", sizes), input.array.shape
    lead = len(sizes) - len(shape)
    if lead < 0:
        raise RuntimeError(f"expand: got {len(sizes)} sizes {list(sizes)} for a tensor of {len(shape)} dimensions")
    wanted = []
    for place, n in enumerate(sizes):
        have = shape[place - lead] if place >= lead else None
        if n < 0 and (have is None or n != -1):
            raise RuntimeError(f"expand: size {n} is not allowed in dimension {place} of {list(sizes)}")
        if have is not None and n not in (-1, have) and have != 1:
            raise RuntimeError(f"expand: dimension {place} has size {have}, which cannot become {n}; sizes {list(sizes)}, shape {list(shape)}")
        wanted.append(have if n == -1 else n)
    return Expand.apply(input, shape=tuple(wanted))


@ops.register
def is_contiguous(input, memory_format=None) -> bool:
    """True if the memory is in logical order (or in N, H, W, C order for ``channels_last``), without gaps."""
    if memory_format is channels_last:
        return input.ndim == 4 and input.array.transpose(0, 2, 3, 1).flags.c_contiguous
    return input.array.flags.c_contiguous


@ops.register
def contiguous(input, memory_format=None):
    """The tensor itself if :func:`is_contiguous`, else a copy in that memory order.

    Raises:
        RuntimeError: ``channels_last`` for a tensor that has not four dimensions.
    """
    check_tensor("contiguous", "input", input)
    _check_format("contiguous", input, memory_format)
    if memory_format is preserve_format or is_contiguous(input, memory_format):
        return input
    return Clone.apply(input, order="channels_last" if memory_format is channels_last else "C")


@ops.register
def clone(input, *, memory_format=None):
    """A copy, by default in the same memory order.

    Raises:
        RuntimeError: ``channels_last`` for a tensor that has not four dimensions.
    """
    check_tensor("clone", "input", input)
    _check_format("clone", input, memory_format)
    return Clone.apply(input, order={contiguous_format: "C", channels_last: "channels_last"}.get(memory_format, "K"))


def _check_format(name, input, memory_format):
    if memory_format not in (None, contiguous_format, channels_last, preserve_format):
        raise TypeError(f"{name}: memory_format must be contiguous_format, channels_last or preserve_format, got {memory_format!r}")
    if memory_format is channels_last and input.ndim != 4:
        raise RuntimeError(f"{name}: channels_last needs 4 dimensions, got {input.ndim}")
