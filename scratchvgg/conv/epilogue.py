"""What follows a convolution and can be done on its output while that is still in cache: scale, ReLU, 2×2 max-pool.

    y = pool(relu(scale · (x ⋆ w) + bias))

Each step is optional. Maximum and ReLU are monotone and round nothing, so their order does not matter: pooling first leaves a
quarter of the work for ReLU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..array import parallel_for, ranges

_ROW, _LINE = 1 << 14, 1 << 16  # zeros at hand for dense memory, and for lines of it at most
_SMALLEST, _LARGEST, _COUNT = 1 << 16, 1 << 19, 8  # numbers of a piece, and how many pieces there should be


@dataclass(frozen=True)
class Epilogue:
    """The steps after a convolution.

    Attributes:
        scale: (K,) or None; multiplies the sums before the bias is added (batch normalisation in evaluation).
        relu: max(·, 0).
        pool: maximum over windows of 2×2 pixels, stride 2; an odd last row or column is dropped. The output is (N, K, P // 2, Q // 2).
        winners: uint8 array of the pooled shape, or None; receives the place 2·i + j of each window's maximum, the first of equals.
            A NaN wins over every number, and the last NaN over earlier ones, as in torch.
    """

    scale: Any = None
    relu: bool = False
    pool: bool = False
    winners: Any = None

    @property
    def trivial(self) -> bool:
        """Nothing to do."""
        return self.scale is None and not self.relu and not self.pool

    def shape(self, problem) -> tuple[int, int, int, int]:
        """Of the result."""
        n, k, p, q = problem.y_shape
        return (n, k, p // 2, q // 2) if self.pool else (n, k, p, q)

    def activate(self, xp, y) -> None:
        """ReLU in place, if it is asked for."""
        if self.relu:
            rectify(xp, y, y)

    def reduce(self, backend, corners, out, winners=None) -> None:
        """out = max of the four ``corners`` of each window (row-major, equal shapes, any strides), then ReLU.

        Args:
            corners: four arrays; the first two are overwritten.
            out: where the maximum goes; may be the first corner. If its type is narrower, the winners are those of the rounded numbers, as if
                the layers were apart.
            winners: uint8 of the same shape, or None.
        """
        xp = backend.xp
        if winners is not None:
            if out.dtype.itemsize < corners[0].dtype.itemsize:
                corners = [c.astype(out.dtype).astype(c.dtype) for c in corners]
            peak = maximum_and_winner(backend, corners, winners)
            if self.relu:
                rectify(xp, peak, out)
            else:
                out[...] = peak
            return
        a, b, c, d = corners
        xp.maximum(a, b, out=a)
        xp.maximum(c, d, out=b)
        xp.maximum(a, b, out=out)
        self.activate(xp, out)

    def apply(self, backend, y, out=None):
        """All steps on a finished convolution ``y`` (N, K, P, Q) without bias missing; used by algorithms that do not fuse.

        ``y`` is overwritten; the result is ``y`` itself, or ``out``, or a new array when pooling.
        """
        n, k, p, q = y.shape
        if out is None:
            out = backend.empty((n, k, p // 2, q // 2), y.dtype, "channels_last") if self.pool else y
        size = 2 if self.pool else 1

        def tile(piece):
            n0, n1, p0, p1 = piece
            part = y[n0:n1, :, p0 * size : p1 * size].transpose(0, 2, 3, 1)  # as it lies in memory
            here = slice(n0, n1), slice(None), slice(p0, p1)
            target = out[here].transpose(0, 2, 3, 1)
            if self.pool:
                corners = [part[:, i::2, j : q // 2 * 2 : 2] for i in (0, 1) for j in (0, 1)]
                self.reduce(backend, corners, target, None if self.winners is None else self.winners[here].transpose(0, 2, 3, 1))
            elif self.relu:
                rectify(backend.xp, part, target)
            elif out is not y:
                target[...] = part

        parallel_for(tile, pieces(n, p // size, size * q * k))
        return out


def pieces(images, rows, row):
    """Cut images of so many rows of ``row`` numbers into (n0, n1, p0, p1), whole images or rows of one, for the pool of threads.

    A piece is large beside the second cache and small beside the third: on smaller ones the array operations are so short that
    threads wait for the interpreter's lock (measured: two threads then take longer than one).
    """
    tile = min(_LARGEST, max(_SMALLEST, images * rows * row // _COUNT))
    together = tile // max(1, rows * row)
    if together:
        return [(n0, n1, 0, rows) for n0, n1 in ranges(images, together)]
    return [(n, n + 1, p0, p1) for n in range(images) for p0, p1 in ranges(rows, tile // max(1, row))]


def rectify(xp, x, out) -> None:
    """out = max(x, 0), NaN kept; ``out`` may be ``x``.

    NumPy's maximum of two arrays is vectorised and that of an array and a number is not (three times slower in cache): a row of zeros
    takes the number's place where memory runs along the last axis.
    """
    whole = x.size // _ROW * _ROW
    if whole and x.flags.c_contiguous and out.flags.c_contiguous:
        x, out = x.reshape(-1), out.reshape(-1)
        xp.maximum(x[:whole].reshape(-1, _ROW), _zeros(xp, x.dtype)[:_ROW], out=out[:whole].reshape(-1, _ROW))
        x, out = x[whole:], out[whole:]
    length = x.shape[-1] if x.ndim else 0
    straight = 16 <= length <= _LINE and x.strides[-1] == out.strides[-1] == x.itemsize
    xp.maximum(x, _zeros(xp, x.dtype)[:length] if straight else 0, out=out)


@functools.cache
def _zeros(xp, dtype):
    zeros = xp.zeros(_LINE, dtype)
    zeros.flags.writeable = False
    return zeros


def maximum_and_winner(backend, corners, winners):
    """The largest of four equally shaped arrays, and in ``winners`` (uint8) the number of the first that has it (NaN: of the last).

    The result is scratch memory. With "beats" as a bit, the winner is 2·(bottom beats top) + (right beats left in that row).
    """
    xp = backend.xp
    a, b, c, d = corners
    top, bottom, lower, right, other = (
        backend.workspace(f"epilogue.{i}", a.shape, a.dtype if i < 2 else "bool") for i in range(5)
    )
    xp.maximum(a, b, out=top)
    xp.maximum(c, d, out=bottom)
    xp.greater(bottom, top, out=lower)
    xp.greater(b, a, out=right)
    xp.greater(d, c, out=other)
    other ^= right
    other &= lower
    right ^= other  # d > c where the lower row wins, else b > a
    lower = lower.view(xp.uint8)
    xp.add(lower, lower, out=winners)
    winners |= right.view(xp.uint8)
    xp.maximum(top, bottom, out=top)
    if xp.isnan(top.max(initial=-xp.inf)):
        for place in range(4):
            xp.copyto(winners, place, where=xp.isnan(corners[place]))
    return top


PLAIN = Epilogue()
