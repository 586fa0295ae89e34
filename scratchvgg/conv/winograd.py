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

Legend besides that of ``geometry.py``: f = (i, j) frequency, T tiles of a piece. The transforms are in ``winograd_tiles.py``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..array import parallel_for
from ..array.dtypes import as_dtype
from .blocks import batches, even_ranges, panel_width
from .cost import CALL, moved, product
from .epilogue import PLAIN
from .errors import sum_bound, unit_roundoff
from .im2col import compute_dtype
from .registry import Algorithm, register
from .winograd_tiles import TILES, Inverse, Tiling

TASKS = 8  # into which few tiles are cut
FEW = 128  # so many tiles or fewer are multiplied frequency by frequency, not piece by piece: the filters are then read once
FILTERS = 1 << 11  # filters transformed at a time, a small product
PARTS = 4  # grad_weight adds up this many partial sums, each in a fixed order
TINY = 150  # nanoseconds of a product inside one array operation: of a row of a tile's transform with its matrix
SUMS = 4 << 20  # bytes: larger sums are not added up piece by piece, they would leave the cache every time
BATCH = 48 << 20  # bytes of transformed tiles that are then multiplied at a time


class Winograd(Algorithm):
    """3×3 filters at stride 1 without dilation or groups; padding of at most 2. float16 is computed in float32."""

    m = 0
    points = ()
    fuses = True
    prepares = True

    @cached_property
    def tiling(self) -> Tiling:
        """Made when first needed."""
        return Tiling(self.m, self.points)

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
        g, n, dtype = problem, self.tiling.n, compute_dtype(x.dtype)
        xp = backend.xp
        image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        add_up = self._gradient_by_piece if n * n * g.C * g.K * dtype.itemsize <= SUMS else self._gradient_by_frequency
        sums = add_up(backend, g, image, gradient, dtype)
        kron = backend.asarray(np.kron(self.tiling.matrices.g.T, self.tiling.matrices.g.T).astype(dtype.numpy))
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
        xp, n = backend.xp, self.tiling.n
        work = self.tiling.pieces(g)
        sums = [backend.zeros((n * n, g.K, g.C), dtype) for _ in range(max(1, min(PARTS, len(work))))]

        def part(number):  # every so many pieces, in order: the same sum on any number of threads
            for piece in work[number :: len(sums)]:
                v = self.tiling.input(backend, g, image, piece, dtype)
                e = self.tiling.gradient(backend, gradient, piece, dtype)
                products = backend.workspace("winograd.products", (n * n, g.K, g.C), dtype)
                xp.matmul(e.reshape(n * n, piece.tiles, g.K).swapaxes(1, 2), v.reshape(n * n, piece.tiles, g.C), out=products)
                sums[number] += products

        parallel_for(part, range(len(sums)))
        for other in sums[1:]:
            sums[0] += other
        return sums[0]

    def _gradient_by_frequency(self, backend, g, image, gradient, dtype):
        """The same sums where they are large: the tiles of many pieces are transformed, then each frequency is one long product."""
        xp, n = backend.xp, self.tiling.n
        sums = backend.empty((n * n, g.K, g.C), dtype)
        tile = n * n * (g.C + g.K) * dtype.itemsize
        for number, work in enumerate(batches(self.tiling.pieces(g), max(TILES, BATCH // tile))):
            starts = np.cumsum([0] + [piece.tiles for piece in work]).tolist()
            v = backend.workspace("winograd.every.input", (n, n, starts[-1], g.C), dtype)
            e = backend.workspace("winograd.every.gradient", (n, n, starts[-1], g.K), dtype)

            def transform(i, work=work, starts=starts, v=v, e=e):
                tiles = slice(starts[i], starts[i + 1])
                self.tiling.input(backend, g, image, work[i], dtype, out=v[:, :, tiles])
                self.tiling.gradient(backend, gradient, work[i], dtype, out=e[:, :, tiles])

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
        longest = [max((end - start for start, end in ranges), default=1) for ranges in self.tiling.cuts(g, TILES)]
        return panel_width(math.prod(longest), g.C, g.K)

    def _filters(self, backend, g, taps, dtype):
        """G w Gᵀ of (3, 3, C, K), the channels summed over first, as (n², panels, C, K / panels): see ``panel_width``."""
        xp, n = backend.xp, self.tiling.n
        c, k, wide = g.C, g.K, self._panel(g)
        kron = backend.asarray(np.kron(self.tiling.matrices.g, self.tiling.matrices.g).astype(dtype.numpy))
        filters = backend.empty((n * n, k // wide, c, wide), dtype)

        def task(part):
            panel, (c0, c1) = part
            some = backend.workspace("winograd.taps", (3, 3, c1 - c0, wide), dtype)
            some[...] = taps[:, :, c0:c1, panel * wide : (panel + 1) * wide]
            xp.matmul(kron, some.reshape(9, -1), out=filters[:, panel, c0:c1].reshape(n * n, -1))

        parallel_for(task, [(panel, depth) for panel in range(k // wide) for depth in even_ranges(c, max(1, FILTERS // wide))])
        return filters

    def _correlate(self, backend, g, x, filters, bias, out, epilogue):
        dtype, n = compute_dtype(x.dtype), self.tiling.n
        shape = epilogue.shape(g)
        y = backend.empty(shape, x.dtype, "channels_last") if out is None else out
        image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
        winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
        at = np.pad(self.tiling.matrices.at, ((0, 0), (0, 1)), constant_values=1).astype(dtype.numpy)
        last = Inverse(self.tiling, backend, g, backend.asarray(at), bias, epilogue, result, winners, dtype)
        work = self.tiling.pieces(g)

        def whole(piece):
            v = self.tiling.input(backend, g, image, piece, dtype)
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
        n = self.tiling.n
        work = self.tiling.pieces(g, max(1, self.tiling.count(g) // TASKS))
        starts = np.cumsum([0] + [piece.tiles for piece in work]).tolist()
        v = backend.workspace("winograd.every.input", (n, n, starts[-1], g.C), dtype)
        sums = backend.workspace("winograd.every.sums", (n, n, starts[-1], g.K), dtype)

        def inward(i):
            self.tiling.input(backend, g, image, work[i], dtype, out=v[:, :, starts[i] : starts[i + 1]])

        def multiply(f):
            i, j = divmod(f, n)
            for t0, t1 in even_ranges(starts[-1], TILES):
                _multiply(backend.xp, v[i, j, t0:t1], filters[f], sums[i, j, t0:t1])

        def outward(i):
            last(work[i], sums[:, :, starts[i] : starts[i + 1]])

        parallel_for(inward, range(len(work)))
        parallel_for(multiply, range(n * n))
        parallel_for(outward, range(len(work)))

    # ---- what it declares ----------------------------------------------------------------------------------------------

    def workspace(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        n, m, every = self.tiling.n, self.m, self.tiling.count(g)
        numbers = 0
        for images, down, across in {piece.grid for piece in self.tiling.pieces(g)}:
            tiles = images * down * across
            pixels = images * (m * down + 2) * (m * across + 2) * max(g.C, g.K)
            half = max(images * down * n * (m * across + 2) * max(g.C, g.K), m * (n + 1) * tiles * g.K)
            last = n * n * g.C * g.K if which == "grad_weight" else 2 * m * m * tiles * g.K
            numbers = max(numbers, pixels + half + n * n * tiles * (g.C + g.K) + last)
        size = compute_dtype(dtype).itemsize
        if which == "grad_weight" and n * n * g.C * g.K * size > SUMS:
            tile = n * n * (g.C + g.K)
            numbers += min(every * tile, max(TILES * tile, BATCH // size))
        if which != "grad_weight" and every <= FEW:
            numbers += n * n * every * (g.C + g.K)
        return numbers * size

    def operations(self, problem, which="forward"):
        g, n, m = problem, self.tiling.n, self.m
        tiles = self.tiling.count(g)
        inwards = tiles * (n * n * m + n * n * n)  # of one channel, both transforms
        outwards = tiles * (m * n * n + m * m * n)
        if which == "grad_input":
            return 2 * (g.K * inwards + n * n * tiles * g.C * g.K + g.C * outwards + 9 * n * n * g.C * g.K)
        if which == "grad_weight":
            return 2 * (g.C * inwards + g.K * outwards + n * n * tiles * g.C * g.K + 9 * n * n * g.C * g.K)
        return 2 * (g.C * inwards + n * n * tiles * g.C * g.K + g.K * outwards + 9 * n * n * g.C * g.K)

    def cost(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        squares = self.tiling.n**2
        tiles = max(1, self.tiling.count(g))
        transforms = moved(0.5 * squares * tiles * (g.C + g.K)) + TINY * tiles * (self.tiling.n + self.m)
        if which == "grad_weight":
            pieces = len(self.tiling.pieces(g))
            by_piece = squares * g.C * g.K * compute_dtype(dtype).itemsize <= SUMS
            products = squares * (max(1, pieces) if by_piece else 1)
            sums = product(g.K, g.C, tiles * squares / products, products) + moved(3 * squares * g.C * g.K)
            return sums + transforms + CALL * (36 * pieces + (0 if by_piece else 15 * squares) + 25)
        few = tiles <= FEW
        pieces = len(self.tiling.pieces(g, max(1, tiles // TASKS)) if few else self.tiling.pieces(g))
        products = squares * (-(-tiles // TILES) if few else pieces)
        filters = moved((7 if which == "forward" else 5) * squares * g.C * g.K)
        return product(tiles * squares / products, g.K, g.C, products, packed=False) + transforms + filters + CALL * (36 * pieces + 50)

    def prepare_cost(self, problem, dtype):
        return moved(6 * self.tiling.n**2 * problem.C * problem.K) + 30 * CALL

    def error_bound(self, problem, dtype, which="forward"):
        """Products added up between the transforms, times :meth:`growth`."""
        g = problem
        inner = {"forward": g.C, "grad_input": g.K, "grad_weight": self.tiling.count(g)}[which]
        rounding = unit_roundoff(dtype) if as_dtype(dtype).itemsize < 4 else 0.0
        return sum_bound(inner + 2 * self.tiling.n, compute_dtype(dtype)) * self.growth(which) + rounding

    def growth(self, which: str = "forward") -> float:
        """By how much the transforms magnify roundings.

        Frequency f holds numbers of the size ‖g_f‖·‖b_f‖ (Euclidean norms of the rows of G and Bᵀ, for data of random sign), its
        roundings are independent of those of other frequencies, and the last transform adds them with weights a: the largest
        √(Σ_f a_f² ‖g_f‖² ‖b_f‖²) of an output, once for rows and once for columns.
        """
        at, g, bt = self.tiling.matrices
        last, first, second = (g.T, at.T, bt) if which == "grad_weight" else (at, g, bt)
        sizes = np.square(first).sum(1) * np.square(second).sum(1)
        return float((np.square(last) @ sizes).max())


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
