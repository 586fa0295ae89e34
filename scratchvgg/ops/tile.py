"""Copies in another arrangement: repeat, tile, flip, roll."""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, normalize_dim, normalize_dims, sizes_of


class Repeat(Op):
    """The tensor laid out ``times[d]`` times along each dimension d; g is added over the copies."""

    name = "repeat"

    @staticmethod
    def forward(ctx, x, *, times):
        ctx.times, ctx.shape = times, x.shape
        return ctx.xp.tile(x, times)

    @staticmethod
    def backward(ctx, g):
        lead = len(ctx.times) - len(ctx.shape)
        sizes = [m for pair in zip(ctx.times, (1,) * lead + ctx.shape, strict=True) for m in pair]
        return g.reshape(sizes).sum(axis=tuple(range(0, len(sizes), 2))).reshape(ctx.shape)


class Flip(Op):
    """Reversed along some axes."""

    name = "flip"

    @staticmethod
    def forward(ctx, x, *, axes):
        ctx.axes = axes
        return ctx.xp.flip(x, axes).copy("K")

    @staticmethod
    def backward(ctx, g):
        return ctx.xp.flip(g, ctx.axes)


class Roll(Op):
    """Shifted in a circle along some axes."""

    name = "roll"

    @staticmethod
    def forward(ctx, x, *, shifts, axes):
        ctx.shifts, ctx.axes = shifts, axes
        return ctx.xp.roll(x, shifts, axes)

    @staticmethod
    def backward(ctx, g):
        return ctx.xp.roll(g, tuple(-s for s in ctx.shifts), ctx.axes)


@ops.register
def repeat(input, *repeats):
    """``repeats[d]`` copies along each dimension; more numbers than dimensions add leading ones (torch's ``Tensor.repeat``).

    Raises:
        RuntimeError: for fewer numbers than dimensions, or negative ones.
    """
    check_tensor("repeat", "input", input)
    times = sizes_of("repeat", repeats)
    if len(times) < input.ndim:
        raise RuntimeError(f"repeat: got {len(times)} repeats {times} for a tensor of {input.ndim} dimensions")
    if any(n < 0 for n in times):
        raise RuntimeError(f"repeat: repeats must not be negative, got {times}")
    return Repeat.apply(input, times=times)


@ops.register
def tile(input, *dims):
    """As :func:`repeat`, but missing leading numbers count as 1."""
    check_tensor("tile", "input", input)
    times = sizes_of("tile", dims)
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


@ops.register
def flip(input, *dims):
    """A copy with the order reversed along ``dims``.

    Raises:
        RuntimeError: for a dimension named twice.
    """
    check_tensor("flip", "input", input)
    dims = sizes_of("flip", dims)
    return Flip.apply(input, axes=normalize_dims("flip", dims, input.ndim) if dims else ())


@ops.register
def roll(input, shifts, dims=None):
    """A copy shifted by ``shifts`` along ``dims``; what leaves at one end enters at the other. Without ``dims`` the flattened order rolls.

    Raises:
        RuntimeError: if shifts and dims differ in number.
    """
    check_tensor("roll", "input", input)
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise RuntimeError(f"roll: {len(shifts)} shifts need as many dims")
        return ops.reshape(roll(ops.reshape(input, (-1,)), shifts, 0), input.shape) if input.array.size else ops.clone(input)
    dims = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if len(dims) != len(shifts):
        raise RuntimeError(f"roll: shifts and dims must be equally many, got {shifts} and {dims}")
    if input.ndim == 0:
        return ops.clone(input)
    return Roll.apply(input, shifts=shifts, axes=tuple(normalize_dim("roll", d, input.ndim) for d in dims))
