"""Winograd's convolution, F(m×m, 3×3): fewer products by transforming tiles of the input, the filter and the output.

Each m×m tile of the output sees n×n pixels, n = m + 2. With the matrices of ``toom_cook.py``, applied to rows and then to columns,

    forward       Y  = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ d B) ] A          summed over c between the transforms
    grad_input    the forward of dy with the turned, transposed filter (see :meth:`Problem.transposed`)
    grad_weight   dW = Gᵀ [ Σ (A dy Aᵀ) ⊙ (Bᵀ d B) ] G        summed over all tiles between the transforms

so that the sums over channels (or tiles) are n² plain matrix products, one per frequency, on 1/m² as many rows: 2.25 times fewer
multiplications than the direct sum for m = 2, 4 times for m = 4.

What makes it fast here: in channels-last memory a row of tiles, all its columns and channels, is one row of a matrix, so the first
transform is one product by Bᵀ without any gathering, and the second reads six neighbouring pixels as a 6×C matrix. The inverse writes
its tiles straight into the output. The bias is one more frequency of that last product. Pieces of some dozen tiles stay in the cache.

Legend besides that of ``geometry.py``: i j position in a tile, f = (i, j) frequency, T tiles of a piece, th tw tiles down and across.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..array import parallel_for
from ..array.dtypes import as_dtype
from . import toom_cook
from .blocks import batches, even_ranges, padded_block, panel_width
from .cost import CALL, moved, product
from .epilogue import PLAIN
from .errors import sum_bound, unit_roundoff
from .im2col import compute_dtype
from .registry import Algorithm, register

TILES = 64  # of a piece: enough rows for BLAS, few enough for the cache
SPAN = 8  # a row of tiles is not cut shorter
TASKS = 8  # into which few tiles are cut
FEW = 128  # so many tiles or fewer are multiplied frequency by frequency, not piece by piece: the filters are then read once
FILTERS = 1 << 11  # filters transformed at a time, a small product
PARTS = 4  # grad_weight adds up this many partial sums, each in a fixed order
SUMS = 4 << 20  # bytes: larger sums are not added up piece by piece, they would leave the cache every time
BATCH = 48 << 20  # bytes of transformed tiles that are then multiplied at a time
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


class Winograd(Algorithm):
    """3×3 filters at stride 1 without dilation or groups; padding of at most 2. float16 is computed in float32."""

    m = 0
    points = ()
    fuses = True
    prepares = True

    @cached_property
    def n(self) -> int:
        """Pixels a tile sees in each direction."""
        return self.m + 2

    @cached_property
    def matrices(self) -> toom_cook.Matrices:
        """Aᵀ, G and Bᵀ in float64."""
        return toom_cook.matrices(self.m, 3, self.points)

    def supports(self, problem, dtype):
        g = problem
        plain = (g.R, g.S, g.stride, g.dilation, g.groups) == (3, 3, (1, 1), (1, 1), 1)
        return plain and as_dtype(dtype).is_floating_point and max(p for side in g.padding for p in side) <= 2 and g.P > 0 and g.Q > 0

    # ---- passes -----------------------------------------------------------------------------------------------------

    def prepare(self, backend, problem, w):
        return self._filters(backend, problem, w.transpose(2, 3, 1, 0), compute_dtype(w.dtype))

    def filter_key(self, problem):
        return self._panel(problem)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN, prepared=None):
        filters = self.prepare(backend, problem, w) if prepared is None else prepared
        return self._correlate(backend, problem, x, filters, bias, out, epilogue)

    def grad_input(self, backend, problem, dy, w, out=None):
        turned = w.transpose(2, 3, 0, 1)[::-1, ::-1]
        g = problem.transposed()
        return self._correlate(backend, g, dy, self._filters(backend, g, turned, compute_dtype(dy.dtype)), None, out, PLAIN)

    def grad_weight(self, backend, problem, dy, x, out=None):
        g, n, dtype = problem, self.n, compute_dtype(x.dtype)
        xp = backend.xp
        image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        add_up = self._gradient_by_piece if n * n * g.C * g.K * dtype.itemsize <= SUMS else self._gradient_by_frequency
        sums = add_up(backend, g, image, gradient, dtype)
        kron = backend.asarray(np.kron(self.matrices.g.T, self.matrices.g.T).astype(dtype.numpy))
        dw = backend.empty((g.K, 3, 3, g.C), dtype)

        def inverse(part):
            k = slice(*part)
            xp.matmul(kron, sums[:, k].swapaxes(0, 1), out=dw[k].reshape(-1, 9, g.C))

        parallel_for(inverse, even_ranges(g.K, max(1, FILTERS // g.C)))
        dw = dw.transpose(0, 3, 1, 2)
        if out is None:
            return dw.astype(x.dtype, copy=False)
        out[...] = dw
        return out

    def _gradient_by_piece(self, backend, g, image, gradient, dtype):
        """Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ d B) as (n², K, C), a piece at a time: everything stays in the cache of one core."""
        xp, n = backend.xp, self.n
        work = self._pieces(g)
        sums = [backend.zeros((n * n, g.K, g.C), dtype) for _ in range(max(1, min(PARTS, len(work))))]

        def part(number):  # every so many pieces, in order: the same sum on any number of threads
            for piece in work[number :: len(sums)]:
                v = self._transform_input(backend, g, image, piece, dtype)
                e = self._transform_gradient(backend, gradient, piece, dtype)
                products = backend.workspace("winograd.products", (n * n, g.K, g.C), dtype)
                xp.matmul(e.reshape(n * n, piece.tiles, g.K).swapaxes(1, 2), v.reshape(n * n, piece.tiles, g.C), out=products)
                sums[number] += products

        parallel_for(part, range(len(sums)))
        for other in sums[1:]:
            sums[0] += other
        return sums[0]

    def _gradient_by_frequency(self, backend, g, image, gradient, dtype):
        """The same sums where they are large: the tiles of many pieces are transformed, then each frequency is one long product."""
        xp, n = backend.xp, self.n
        sums = backend.empty((n * n, g.K, g.C), dtype)
        tile = n * n * (g.C + g.K) * dtype.itemsize
        for number, work in enumerate(batches(self._pieces(g), max(TILES, BATCH // tile))):
            starts = np.cumsum([0] + [piece.tiles for piece in work]).tolist()
            v = backend.workspace("winograd.every.input", (n, n, starts[-1], g.C), dtype)
            e = backend.workspace("winograd.every.gradient", (n, n, starts[-1], g.K), dtype)

            def transform(i, work=work, starts=starts, v=v, e=e):
                tiles = slice(starts[i], starts[i + 1])
                self._transform_input(backend, g, image, work[i], dtype, out=v[:, :, tiles])
                self._transform_gradient(backend, gradient, work[i], dtype, out=e[:, :, tiles])

            def multiply(f, number=number, v=v, e=e):
                i, j = divmod(f, n)
                product = sums[f] if number == 0 else backend.workspace("winograd.products", sums[f].shape, dtype)
                xp.matmul(e[i, j].T, v[i, j], out=product)
                if number:
                    sums[f] += product

            parallel_for(transform, range(len(work)))
            parallel_for(multiply, range(n * n))
        return sums

    # ---- the steps --------------------------------------------------------------------------------------------------

    def _panel(self, g) -> int:
        """Columns of a panel of filters: as wide as a small product with the largest piece allows."""
        longest = [max((end - start for start, end in ranges), default=1) for ranges in self._cuts(g, TILES)]
        return panel_width(math.prod(longest), g.C, g.K)

    def _filters(self, backend, g, taps, dtype):
        """G w Gᵀ of (3, 3, C, K), the channels summed over first, as (n², panels, C, K / panels): see ``panel_width``."""
        xp, n = backend.xp, self.n
        c, k, wide = g.C, g.K, self._panel(g)
        kron = backend.asarray(np.kron(self.matrices.g, self.matrices.g).astype(dtype.numpy))
        filters = backend.empty((n * n, k // wide, c, wide), dtype)

        def task(part):
            panel, (c0, c1) = part
            some = backend.workspace("winograd.taps", (3, 3, c1 - c0, wide), dtype)
            some[...] = taps[:, :, c0:c1, panel * wide : (panel + 1) * wide]
            xp.matmul(kron, some.reshape(9, -1), out=filters[:, panel, c0:c1].reshape(n * n, -1))

        parallel_for(task, [(panel, depth) for panel in range(k // wide) for depth in even_ranges(c, max(1, FILTERS // wide))])
        return filters

    def _pieces(self, g, most=TILES) -> list[Piece]:
        """The output cut into pieces of ``most`` tiles or a few less: some images, some rows of an image, or part of a row."""
        return [Piece(*n, *h, *w) for n, h, w in itertools.product(*self._cuts(g, most))]

    def _cuts(self, g, most):
        """Ranges of images, of rows of tiles, of tiles in a row."""
        down, across = -(-g.P // self.m), -(-g.Q // self.m)
        if down * across <= most:
            return even_ranges(g.N, max(1, most // (down * across))), [(0, down)], [(0, across)]
        spans = even_ranges(across, max(most, SPAN))
        return even_ranges(g.N, 1), even_ranges(down, max(1, most // max(b - a for a, b in spans))), spans

    def _correlate(self, backend, g, x, filters, bias, out, epilogue):
        dtype, n = compute_dtype(x.dtype), self.n
        shape = epilogue.shape(g)
        y = backend.empty(shape, x.dtype, "channels_last") if out is None else out
        image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
        winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
        at = np.pad(self.matrices.at, ((0, 0), (0, 1)), constant_values=1).astype(dtype.numpy)
        last = _Inverse(self, backend, g, backend.asarray(at), bias, epilogue, result, winners, dtype)
        work = self._pieces(g)

        def whole(piece):
            v = self._transform_input(backend, g, image, piece, dtype)
            sums = backend.workspace("winograd.sums", (n, n, piece.tiles, g.K), dtype)
            _multiply(backend.xp, v.reshape(n * n, piece.tiles, g.C), filters, sums.reshape(n * n, piece.tiles, g.K))
            last(piece, sums)

        if sum(piece.tiles for piece in work) > FEW:
            parallel_for(whole, work)
        else:
            self._few_tiles(backend, g, image, filters, last, dtype)
        return y

    def _few_tiles(self, backend, g, image, filters, last, dtype):
        """The three steps one after the other for all tiles, the middle one frequency by frequency."""
        n = self.n
        down, across = -(-g.P // self.m), -(-g.Q // self.m)
        work = self._pieces(g, max(1, g.N * down * across // TASKS))
        starts = np.cumsum([0] + [piece.tiles for piece in work]).tolist()
        v = backend.workspace("winograd.every.input", (n, n, starts[-1], g.C), dtype)
        sums = backend.workspace("winograd.every.sums", (n, n, starts[-1], g.K), dtype)

        def inward(i):
            self._transform_input(backend, g, image, work[i], dtype, out=v[:, :, starts[i] : starts[i + 1]])

        def multiply(f):
            i, j = divmod(f, n)
            for t0, t1 in even_ranges(starts[-1], TILES):
                _multiply(backend.xp, v[i, j, t0:t1], filters[f], sums[i, j, t0:t1])

        def outward(i):
            last(work[i], sums[:, :, starts[i] : starts[i + 1]])

        parallel_for(inward, range(len(work)))
        parallel_for(multiply, range(n * n))
        parallel_for(outward, range(len(work)))

    def _transform_input(self, backend, g, image, piece, dtype, out=None):
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

    def _transform_gradient(self, backend, gradient, piece, dtype, out=None):
        """A dy Aᵀ of every tile as (n, n, T, K); pixels beyond the edge count as 0."""
        xp, m, n = backend.xp, self.m, self.n
        images, down, across = piece.grid
        channels = gradient.shape[3]
        rows, columns = (m * piece.h0, m * piece.h1), (m * piece.w0, m * piece.w1)
        pixels = padded_block(backend, "winograd.pixels", gradient, (piece.n0, piece.n1), rows, columns, dtype)
        a = backend.asarray(np.ascontiguousarray(self.matrices.at.T).astype(dtype.numpy))
        half = backend.workspace("winograd.half", (images, down, n, m * across * channels), dtype)
        xp.matmul(a, pixels.reshape(images, down, m, m * across * channels), out=half)
        tiles = half.reshape(images, down, n, across, m, channels).transpose(0, 1, 3, 2, 4, 5)
        e = backend.workspace("winograd.gradient", (n, n, piece.tiles, channels), dtype) if out is None else out
        xp.matmul(a, tiles, out=e.reshape(n, n, images, down, across, channels).transpose(2, 3, 4, 0, 1, 5))
        return e

    # ---- what it declares ----------------------------------------------------------------------------------------------

    def workspace(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        size, n, m = compute_dtype(dtype).itemsize, self.n, self.m
        worst = 0
        for piece in {p._replace(n0=0, n1=p.n1 - p.n0) for p in self._pieces(g)}:
            images, down, across = piece.grid
            pixels = images * (m * down + 2) * (m * across + 2) * g.C
            half = images * down * n * (m * across + 2) * g.C
            numbers = pixels + half + n * n * piece.tiles * (g.C + g.K)
            worst = max(worst, numbers + (n * n * g.C * g.K if which == "grad_weight" else (m * (n + 1) + m * m) * piece.tiles * g.K))
        return worst * size

    def operations(self, problem, which="forward"):
        g, n, m = problem, self.n, self.m
        tiles = g.N * -(-g.P // m) * -(-g.Q // m)
        inwards = tiles * (n * n * m + n * n * n)  # of one channel, both transforms
        outwards = tiles * (m * n * n + m * m * n)
        if which == "grad_input":
            return 2 * (g.K * inwards + n * n * tiles * g.C * g.K + g.C * outwards + 9 * n * n * g.C * g.K)
        if which == "grad_weight":
            return 2 * (g.C * inwards + g.K * outwards + n * n * tiles * g.C * g.K + 9 * n * n * g.C * g.K)
        return 2 * (g.C * inwards + n * n * tiles * g.C * g.K + g.K * outwards + 9 * n * n * g.C * g.K)

    def cost(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        squares = self.n**2
        tiles = max(1, g.N * -(-g.P // self.m) * -(-g.Q // self.m))
        transforms = moved(0.5 * squares * tiles * (g.C + g.K))
        if which == "grad_weight":
            pieces = len(self._pieces(g))
            by_piece = squares * g.C * g.K * compute_dtype(dtype).itemsize <= SUMS
            products = squares * (max(1, pieces) if by_piece else 1)
            sums = product(g.K, g.C, tiles * squares / products, products) + moved(3 * squares * g.C * g.K)
            return sums + transforms + CALL * (36 * pieces + (0 if by_piece else 15 * squares) + 25)
        few = tiles <= FEW
        pieces = len(self._pieces(g, max(1, tiles // TASKS)) if few else self._pieces(g))
        products = squares * (-(-tiles // TILES) if few else pieces)
        filters = moved((7 if which == "forward" else 5) * squares * g.C * g.K)
        return product(tiles * squares / products, g.K, g.C, products, packed=False) + transforms + filters + CALL * (36 * pieces + 50)

    def prepare_cost(self, problem, dtype):
        return moved(6 * self.n**2 * problem.C * problem.K) + 30 * CALL

    def error_bound(self, problem, dtype, which="forward"):
        """Products added up between the transforms, times :meth:`growth`."""
        g = problem
        inner = {"forward": g.C, "grad_input": g.K, "grad_weight": g.N * -(-g.P // self.m) * -(-g.Q // self.m)}[which]
        rounding = unit_roundoff(dtype) if as_dtype(dtype).itemsize < 4 else 0.0
        return sum_bound(inner + 2 * self.n, compute_dtype(dtype)) * self.growth(which) + rounding

    def growth(self, which: str = "forward") -> float:
        """By how much the transforms magnify roundings.

        Frequency f holds numbers of the size ‖g_f‖·‖b_f‖ (Euclidean norms of the rows of G and Bᵀ, for data of random sign), its
        roundings are independent of those of other frequencies, and the last transform adds them with weights a: the largest
        √(Σ_f a_f² ‖g_f‖² ‖b_f‖²) of an output, once for rows and once for columns.
        """
        at, g, bt = self.matrices
        last, first, second = (g.T, at.T, bt) if which == "grad_weight" else (at, g, bt)
        sizes = np.square(first).sum(1) * np.square(second).sum(1)
        return float((np.square(last) @ sizes).max())


class _Inverse:
    """Aᵀ M A of every tile of a piece, the epilogue, and the way into the output."""

    def __init__(self, algorithm, backend, g, at, bias, epilogue, result, winners, dtype):
        self.m, self.n, self.backend, self.at, self.dtype = algorithm.m, algorithm.n, backend, at, dtype
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
        xp.matmul(self.at, half.transpose(0, 2, 1, 3), out=y.transpose(0, 2, 1, 3))
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


def _multiply(xp, v, filters, sums):
    """sums = v · filters panel by panel: (…, T, C) by (…, panels, C, K / panels) into (…, T, K)."""
    *_, panels, _, wide = filters.shape
    target = sums.reshape(*sums.shape[:-1], panels, wide).swapaxes(-2, -3)
    xp.matmul(v[..., None, :, :], filters, out=target)


@register
class Winograd2x2(Winograd):
    """F(2×2, 3×3): 16 products where the direct sum takes 36."""

    name = "winograd2x2"
    m = 2
    points = (0, 1, -1)


@register
class Winograd4x4(Winograd):
    """F(4×4, 3×3): 36 products where the direct sum takes 144.

    The points ±181/256 and ±181/128, close to ±1/√2 and ±√2, err four times less than the usual ±1 and ±2 (the magnitudes
    of all transforms are balanced), and their powers up to the third are exact in float32.
    """

    name = "winograd4x4"
    m = 4
    points = (0, Fraction(181, 256), Fraction(-181, 256), Fraction(181, 128), Fraction(-181, 128))
