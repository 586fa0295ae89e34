"""Dropout: y = x · m / (1 − p), where m is 1 with probability 1 − p and 0 otherwise; outside training y = x.

Element i of the mask (in logical, C order, whatever the memory order) is kept if word i of the Philox stream is at least p · 2³²: the
same mask for a seed on every device and any number of threads.
"""

from __future__ import annotations

import math

from ..array import default_generator, parallel_for, philox, ranges
from ..autograd import Op, ops
from ..cuda.faces import philox as kernels
from .common import check_tensor, is_number
from .precision import check_floating

_TILE = 1 << 18  # words made at a time


class Dropout(Op):
    """Keeps the mask: one byte an element, or one a channel for :func:`dropout2d`."""

    name = "dropout"

    @staticmethod
    def forward(ctx, x, p, mask_shape, inplace=False):
        ctx.writes = inplace
        ctx.p, ctx.mask = p, _keep_mask(ctx.backend, p, mask_shape)
        return _scaled(ctx.xp, x, ctx.mask, p, x if inplace else None)

    @staticmethod
    def backward(ctx, g):
        return _scaled(ctx.xp, g, ctx.mask, ctx.p, None), None, None


def _scaled(xp, x, mask, p, out):
    y = xp.multiply(x, mask, out=out)
    if p < 1:
        y *= 1 / (1 - p)
    return y


def _keep_mask(backend, p, shape):
    """True where the word is at least p · 2³²."""
    count, threshold = math.prod(shape), round(p * 2**32)
    seed, stream, first = default_generator.take(count)
    if backend.runs_kernels:
        return kernels.keep(backend, seed, stream, first, count, p).reshape(shape)
    mask = backend.zeros((count,), "bool")
    if threshold < 2**32:

        def tile(piece):
            start, stop = piece
            words = philox.random_words(seed, stream, first + start, stop - start)
            mask[start:stop] = words >= threshold

        parallel_for(tile, ranges(count, _TILE))
    return mask.reshape(shape)


def _check(name, input, p):
    check_tensor(name, "input", input)
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be a probability between 0 and 1, got {p!r}")


def _drop(name, input, p, mask_shape, training, inplace):
    if not training or p == 0:
        return input
    check_floating(name, input)
    if inplace:
        input.check_writable(f"{name}_")
        return input.adopt(Dropout.apply(input, float(p), mask_shape, inplace=True))
    return Dropout.apply(input, float(p), mask_shape)


@ops.register
def dropout(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """Set each element to 0 with probability ``p`` and scale the others by 1 / (1 − p).

    Args:
        training: False returns ``input``.
        inplace: write over ``input``.

    Raises:
        ValueError: if p is outside [0, 1]. NotImplementedError: integers in training.
    """
    _check("dropout", input, p)
    return _drop("dropout", input, p, tuple(input.shape), training, inplace)


@ops.register
def dropout2d(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """As :func:`dropout`, for whole channels of (N, C, …). A 3-D input is read as (N, C, L), as torch does.

    Raises:
        ValueError: if p is outside [0, 1]. NotImplementedError: integers in training.
        RuntimeError: for fewer than two dimensions.
    """
    _check("dropout2d", input, p)
    if input.ndim < 2:
        raise RuntimeError(f"dropout2d: input must be (N, C, ...), got shape {tuple(input.shape)}")
    return _drop("dropout2d", input, p, (*input.shape[:2], *(1,) * (input.ndim - 2)), training, inplace)
