"""Tiles of an image and their way through Winograd's transforms.

Legend besides that of ``geometry.py``: m pixels a tile has, n = m + 2 that it sees, i j position in a tile or frequency, T tiles of a piece.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import NamedTuple

import numpy as np

from . import toom_cook
from .blocks import even_ranges, padded_block

TILES = 64  # of a piece: enough rows for BLAS, few enough for the cache
SPAN = 8  # a row of tiles is not cut shorter
LINE = 768  # numbers a row of one small transform


class Piece(NamedTuple):
    """Images n0 to n1, rows of tiles h0 to h1, tiles w0 to w1 of each row."""

    n0: int
    n1: int
    h0: int
    h1: int
    w0: int
    w1: int

    @property
    def grid(self):
        """(images, rows of tiles, tiles a row)."""
        return self.n1 - self.n0, self.h1 - self.h0, self.w1 - self.w0

    @property
    def tiles(self):
        """How many."""
        n, h, w = self.grid
        return n * h * w


class Tiling:
    """How F(m×m, 3×3) cuts an image, and its transforms of pixels and gradients.

    Args:
        m: pixels of a tile in each direction.
        points: of :func:`toom_cook.matrices`.
    """

    def __init__(self, m: int, points):
        self.m, self.n, self.points = m, m + 2, points

    @cached_property
    def matrices(self) -> toom_cook.Matrices:
        """Aᵀ, G and Bᵀ in float64."""
        return toom_cook.matrices(self.m, 3, self.points)

    def grid(self, g) -> tuple[int, int]:
        """Tiles down and across an image."""
        return -(-g.P // self.m), -(-g.Q // self.m)

    def count(self, g) -> int:
        """Tiles of all images."""
        down, across = self.grid(g)
        return g.N * down * across

    def pieces(self, g, most=TILES) -> list[Piece]:
        """The output cut into pieces of ``most`` tiles or a few less: some images, some rows of an image, or part of a row."""
        return [Piece(*n, *h, *w) for n, h, w in itertools.product(*self.cuts(g, most))]

    def cuts(self, g, most):
        """Ranges of images, of rows of tiles, of tiles in a row."""
        down, across = self.grid(g)
        if down * across <= most:
            return even_ranges(g.N, max(1, most // (down * across))), [(0, down)], [(0, across)]
        spans = even_ranges(across, max(most, SPAN))
        return even_ranges(g.N, 1), even_ranges(down, max(1, most // max(b - a for a, b in spans))), spans

    def input(self, backend, g, image, piece, dtype, out=None):
        """Bᵀ d B of every tile of ``piece`` as (n, n, T, C)."""
        xp, m, n = backend.xp, self.m, self.n
        images, down, across = piece.grid
        (top, _), (left, _) = g.padding
        channels = image.shape[3]
        rows = m * piece.h0 - top, m * piece.h1 + 2 - top
        columns = m * piece.w0 - left, m * piece.w1 + 2 - left
        pixels = padded_block(backend, "winograd.pixels", image, (piece.n0, piece.n1), rows, columns, dtype)
        line = pixels.shape[2] * channels
        bt = backend.asarray(self.matrices.bt.astype(dtype.numpy))
        strided = xp.lib.stride_tricks.as_strided
        sn, sh, _, sc = pixels.strides
        bands = strided(pixels, (images, down, n, line), (sn, m * sh, sh, sc))  # the n rows of pixels under each row of tiles
        half = backend.workspace("winograd.half", bands.shape, dtype)
        xp.matmul(bt, bands, out=half)
        sn, sh, si, sc = half.strides
        tiles = strided(half, (images, down, across, n, n, channels), (sn, sh, m * channels * sc, si, channels * sc, sc))
        v = backend.workspace("winograd.input", (n, n, piece.tiles, channels), dtype) if out is None else out
        xp.matmul(bt, tiles, out=v.reshape(n, n, images, down, across, channels).transpose(2, 3, 4, 0, 1, 5))
        return v

    def gradient(self, backend, slopes, piece, dtype, out=None):
        """A dy Aᵀ of every tile as (n, n, T, K); pixels beyond the edge count as 0."""
        xp, m, n = backend.xp, self.m, self.n
        images, down, across = piece.grid
        channels = slopes.shape[3]
        rows, columns = (m * piece.h0, m * piece.h1), (m * piece.w0, m * piece.w1)
        pixels = padded_block(backend, "winograd.pixels", slopes, (piece.n0, piece.n1), rows, columns, dtype)
        a = backend.asarray(np.ascontiguousarray(self.matrices.at.T).astype(dtype.numpy))
        half = backend.workspace("winograd.half", (images, down, n, m * across * channels), dtype)
        xp.matmul(a, pixels.reshape(images, down, m, m * across * channels), out=half)
        tiles = half.reshape(images, down, n, across, m, channels).transpose(0, 1, 3, 2, 4, 5)
        e = backend.workspace("winograd.gradient", (n, n, piece.tiles, channels), dtype) if out is None else out
        xp.matmul(a, tiles, out=e.reshape(n, n, images, down, across, channels).transpose(2, 3, 4, 0, 1, 5))
        return e


class Inverse:
    """Aᵀ M A of every tile of a piece, the epilogue, and the way into the output."""

    def __init__(self, tiling, backend, g, at, bias, epilogue, result, winners, dtype):
        self.m, self.n, self.backend, self.at, self.dtype = tiling.m, tiling.n, backend, at, dtype
        self.g, self.bias, self.epilogue, self.result, self.winners = g, bias, epilogue, result, winners
        self.direct = not epilogue.pool and result.dtype == dtype.numpy and result.strides[3] == result.itemsize

    def __call__(self, piece, sums):
        xp, m, n = self.backend.xp, self.m, self.n
        tiles, k = piece.tiles, self.g.K
        images, down, across = piece.grid
        half = self.backend.workspace("winograd.half", (m, n + 1, tiles, k), self.dtype)
        length = k * max(d for d in range(1, tiles + 1) if tiles % d == 0 and (d == 1 or d * k <= LINE))
        inward = sums.reshape(n, n, tiles * k // length, length).transpose(1, 2, 0, 3)
        xp.matmul(self.at[:, :n], inward, out=half.reshape(m, n + 1, -1, length)[:, :n].transpose(1, 2, 0, 3))
        if self.epilogue.scale is not None:
            half[:, :n] *= self.epilogue.scale.astype(self.dtype.numpy, copy=False)
        half[:, n] = 0 if self.bias is None else self.bias  # one more frequency, of the polynomial 1 at every output
        if self.epilogue.pool:
            return self._pooled(piece, half)
        bottom, right = min(m * piece.h1, self.g.P), min(m * piece.w1, self.g.Q)
        target = self.result[piece.n0 : piece.n1, m * piece.h0 : bottom, m * piece.w0 : right]
        whole = self.direct and bottom == m * piece.h1 and right == m * piece.w1
        y = target if whole else self.backend.workspace("winograd.tiles", (images, m * down, m * across, k), self.dtype)
        columns = half.reshape(m, n + 1, images, down, across, k).transpose(2, 3, 4, 0, 1, 5)
        xp.matmul(self.at, columns, out=y.reshape(images, down, m, across, m, k).transpose(0, 1, 3, 2, 4, 5))
        self.epilogue.activate(xp, y.reshape(images, y.shape[1], -1))  # whole lines of memory
        if not whole:
            target[...] = y[:, : target.shape[1], : target.shape[2]]
        return None

    def _pooled(self, piece, half):
        xp, m, k = self.backend.xp, self.m, self.g.K
        images, down, across = piece.grid
        y = self.backend.workspace("winograd.tiles", (m, m, piece.tiles, k), self.dtype)
        xp.matmul(self.at, half.reshape(m, self.n + 1, -1), out=y.reshape(m, m, -1))
        windows = y.reshape(m // 2, 2, m // 2, 2, piece.tiles, k)
        corners = [windows[:, i, :, j] for i in (0, 1) for j in (0, 1)]
        winners = None
        if self.winners is not None:
            winners = self.backend.workspace("winograd.winners", corners[0].shape, "uint8")
        self.epilogue.reduce(self.backend, corners, corners[0], winners)
        for pooled, result in ((corners[0], self.result), (winners, self.winners)):
            if pooled is None:
                continue
            r = m // 2
            target = result[piece.n0 : piece.n1, r * piece.h0 : r * piece.h1, r * piece.w0 : r * piece.w1]
            grid = pooled.reshape(r, r, images, down, across, k).transpose(2, 3, 0, 4, 1, 5)
            rows, columns = target.shape[1], target.shape[2]
            if rows == r * down and columns == r * across:
                target.reshape(images, down, r, across, r, k)[...] = grid
            else:
                target[...] = grid.reshape(images, r * down, r * across, k)[:, :rows, :columns]
