"""Padding of the last dimensions with a constant, a reflection, the border or the other end.

Each axis of the output is a few slices of the input: ``[(output slice, input slice), …]``. Forward copies along them and backward
adds along them, one axis after the other; a slice of one element stands for the whole border it is repeated over.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor, is_number, plain_number


class ConstantPad(Op):
    """Keeps only numbers. Negative padding cuts."""

    name = "pad"

    @staticmethod
    def forward(ctx, x, before, after, value):
        ctx.shape = x.shape
        shape = tuple(n + a + b for n, a, b in zip(x.shape, before, after, strict=True))
        ctx.inner = tuple(slice(max(0, b), n - max(0, a)) for n, b, a in zip(shape, before, after, strict=True))
        ctx.outer = tuple(slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(x.shape, before, after, strict=True))
        y = ctx.xp.full_like(x, value, shape=shape)
        y[ctx.inner] = x[ctx.outer]
        return y

    @staticmethod
    def backward(ctx, g):
        gx = ctx.xp.zeros_like(g, shape=ctx.shape)
        gx[ctx.outer] = g[ctx.inner]
        return gx, None, None, None


class BorderPad(Op):
    """Reflect, replicate or circular padding. Keeps only numbers."""

    name = "pad"

    @staticmethod
    def forward(ctx, x, mode, before, after):
        ctx.steps = []
        for axis, (b, a) in enumerate(zip(before, after, strict=True)):
            if b or a:
                pieces = _pieces(mode, x.shape[axis], max(0, b), max(0, a))
                ctx.steps.append((axis, x.shape[axis], max(0, b) + max(0, a), max(0, -b), max(0, -a), pieces))
                x = _extend(ctx.xp, x, *ctx.steps[-1])
        return x if ctx.steps else x.copy("K")

    @staticmethod
    def backward(ctx, g):
        for step in reversed(ctx.steps):
            g = _gather(ctx.xp, g, *step)
        return g, None, None, None


def _pieces(mode, size, before, after):
    """(output slice, input slice) along one axis; the body is the second of them."""
    left, body, right = slice(0, before), slice(before, before + size), slice(before + size, before + size + after)
    if mode == "reflect":
        sources = slice(before, 0, -1), slice(size - 2, size - 2 - after if size - 2 - after >= 0 else None, -1)
    elif mode == "circular":
        sources = slice(size - before, size), slice(0, after)
    else:
        sources = slice(0, 1), slice(size - 1, size)
    pieces = [(left, sources[0]), (body, slice(0, size)), (right, sources[1])]
    return [p for p, wanted in zip(pieces, (before, True, after), strict=True) if wanted]


def _on(axis, where):
    return (slice(None),) * axis + (where,)


def _extend(xp, x, axis, size, extra, cut_before, cut_after, pieces):
    y = xp.empty_like(x, shape=(*x.shape[:axis], size + extra, *x.shape[axis + 1 :]))
    for out, source in pieces:
        y[_on(axis, out)] = x[_on(axis, source)]
    return y[_on(axis, slice(cut_before, size + extra - cut_after))]


def _gather(xp, g, axis, size, extra, cut_before, cut_after, pieces):
    whole = xp.zeros_like(g, shape=(*g.shape[:axis], size + extra, *g.shape[axis + 1 :]))
    whole[_on(axis, slice(cut_before, size + extra - cut_after))] = g
    gx = xp.zeros_like(g, shape=(*g.shape[:axis], size, *g.shape[axis + 1 :]))
    for out, source in pieces:
        target = gx[_on(axis, source)]
        part = whole[_on(axis, out)]
        target += part if part.shape == target.shape else part.sum(axis, keepdims=True)
    return gx


@ops.register
def pad(input, pad, mode: str = "constant", value=None):
    """Widen (or, with negative numbers, cut) the last dimensions.

    Args:
        pad: (left, right) of the last dimension, then of the one before it, and so on.
        mode: ``"constant"``, ``"reflect"`` (the border itself is not repeated), ``"replicate"`` or ``"circular"``.
        value: what to fill with in constant mode; 0 by default.

    Raises:
        RuntimeError: an odd count, more pairs than dimensions, a result of negative size, padding that reflect or circular cannot
            supply, or ``value`` with a mode other than constant. NotImplementedError: a mode or a number of dimensions that torch does
            not take either.
    """
    check_tensor("pad", "input", input)
    pad = tuple(plain_number(p) for p in pad)
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise RuntimeError(f"pad: expected a pair of numbers for each of at most {input.ndim} dimensions, got {pad}")
    pairs = [(0, 0)] * (input.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[::-2], strict=True))
    before, after = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    shape = tuple(n + b + a for n, b, a in zip(input.shape, before, after, strict=True))
    if mode == "constant":
        if any(n + min(b, 0) + min(a, 0) < 0 for n, b, a in zip(input.shape, before, after, strict=True)):
            raise RuntimeError(f"pad: {pad} cuts more than there is in an input of shape {tuple(input.shape)}")
        if value is not None and not is_number(value):
            raise TypeError(f"pad: value must be a number, got {type(value).__name__}")
        return ConstantPad.apply(input, before, after, 0 if value is None else plain_number(value))
    _check_border(input, pad, mode, value, before, after, shape)
    if mode == "circular" and min(pad) < 0:  # the other end is that of what the cut leaves
        input = ConstantPad.apply(input, *(tuple(min(0, p) for p in side) for side in (before, after)), 0)
        before, after = (tuple(max(0, p) for p in side) for side in (before, after))
    return BorderPad.apply(input, mode, before, after)


def _check_size(input, pad, shape, least):
    if min(shape, default=1) < least:
        raise RuntimeError(f"pad: {pad} makes a result of shape {shape} from input of shape {tuple(input.shape)}")


def _check_border(input, pad, mode, value, before, after, shape):
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"pad: mode must be constant, reflect, replicate or circular, got {mode!r}")
    if value is not None and value != 0:
        raise RuntimeError(f"pad: mode {mode!r} takes no value, got {value}")
    axes = len(pad) // 2
    if axes not in (1, 2, 3) or input.ndim not in (axes + 1, axes + 2):
        raise NotImplementedError(
            f"pad: mode {mode!r} pads the last 1, 2 or 3 dimensions of an input with one or two more, got {axes} of {input.ndim}"
        )
    _check_size(input, pad, shape[-axes:], 1)
    if 0 in input.shape[input.ndim - axes :]:
        raise RuntimeError(f"pad: mode {mode!r} needs something to repeat, got input of shape {tuple(input.shape)}")
    for n, b, a in zip(input.shape, before, after, strict=True):
        limit = {"reflect": n - 1, "circular": n}.get(mode, max(b, a))
        if (b or a) and max(b, a) > limit:
            raise RuntimeError(f"pad: mode {mode!r} can add at most {limit} elements to a dimension of {n}, got {pad}")
