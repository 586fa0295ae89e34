"""fft: products of frequencies instead of sums over the filter, for large filters.

The image is cut into overlapping tiles of a × b pixels, each of which gives th × tw outputs, a = th + R − 1, b = tw + S − 1 (overlap-save).
With F the discrete Fourier transform of a tile (see ``dft.py``), F* its conjugate,

    forward       Y  = F⁻¹ [ F x · F* w ]       summed over c between the transforms; the first th × tw pixels are outputs
    grad_input    the forward of dy with the turned, transposed filter (see :meth:`Problem.transposed`)
    grad_weight   dW = F⁻¹ [ F x · F* dy ]      summed over tiles between the transforms; the first R × S pixels are the filter

A tile costs 1.5·a·b real products a pair of channels, whatever the filter: for 7×7 filters and 16×16 pixels 384 where the direct sum
takes 4900. Errors stay near those of the direct sum, because a Fourier transform does not magnify. An Inf or NaN spreads over its tile.

The tile's size is the cheapest by the cost model among those that cut the output evenly. Tiles are taken in chunks, in three rounds:
the real transform (pieces in parallel), then for each column frequency the complex one, the products and the way back (frequencies in
parallel), then the real inverse. Only the halfway results of a chunk exist at once, and 3·a products' operands a thread. Where the
filters' frequencies would not fit either, output channels are taken block by block.

Legend besides that of ``geometry.py``: v column frequency of B = ⌊b/2⌋ + 1, T tiles.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import NamedTuple

from ..array import parallel_for
from ..array.dtypes import as_dtype, float32
from . import dft
from .blocks import even_ranges, padded_block, pixel_pieces
from .cost import CALL, moved, product
from .deliver import deliver
from .epilogue import PLAIN
from .errors import LAMBDA, unit_roundoff
from .im2col import compute_dtype
from .registry import Algorithm, register

LARGEST = 40  # pixels of a tile's side
PIECE = 16  # tiles of one task of the first and last round
CHUNK = 96  # tiles that share the products, at most
CAP = 32 << 20  # bytes of a chunk's halfway results, unless a single piece takes more
FILTERS = 64 << 20  # bytes of the filters' halfway results and one column frequency, of a block of output channels
KEPT = 256 << 20  # bytes of prepared filters: larger ones are transformed each time


class Plan(NamedTuple):
    """How a problem is cut: th × tw outputs a tile, down × across tiles an image, a × b pixels a tile, B column frequencies."""

    th: int
    tw: int
    down: int
    across: int
    a: int
    b: int
    B: int


@register
class Fft(Algorithm):
    """Filters up to 24×24 at stride 1 without dilation; any padding and groups. float16 is computed in float32."""

    name = "fft"
    fuses = True
    prepares = True

    def supports(self, problem, dtype):
        g = problem
        plain = g.stride == g.dilation == (1, 1) and max(g.R, g.S) <= 24 and g.P > 0 and g.Q > 0
        return plain and as_dtype(dtype).is_floating_point

    def filter_key(self, problem):
        return plan(problem, "forward")

    def prepare_cost(self, problem, dtype):
        g, p = problem, plan(problem, "forward")
        filters = g.K * g.C // g.groups
        rows, frequencies = product(2 * p.B, g.R * filters, g.S), product(3 * p.a, filters, 2 * g.R, p.B)
        return rows + frequencies + moved(3 * p.a * p.B * filters)

    def prepare(self, backend, problem, w):
        p, dtype = plan(problem, "forward"), compute_dtype(w.dtype)
        if 3 * p.a * p.B * w.size * dtype.itemsize > KEPT:
            return None
        half = _filter_rows(backend, p, w.transpose(3, 2, 1, 0), dtype)
        filters = backend.empty((p.B, 3 * p.a, *half.shape[2:]), dtype)
        parallel_for(lambda v: _factors(backend, half[v], p, True, filters[v]), range(p.B))
        return filters

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN, prepared=None):
        p = plan(problem, "forward")
        return _correlate(backend, problem, p, x, w.transpose(3, 2, 1, 0), bias, out, epilogue, prepared)

    def grad_input(self, backend, problem, dy, w, out=None):
        g = problem.transposed()
        p = plan(problem, "grad_input")
        turned = w.reshape(g.groups, -1, *w.shape[1:]).transpose(4, 3, 1, 0, 2)[::-1, ::-1]  # (S, R, K/groups, groups, C/groups)
        return _correlate(backend, g, p, dy, turned.reshape(*turned.shape[:3], -1), None, out, PLAIN)

    def grad_weight(self, backend, problem, dy, x, out=None):
        g, p = problem, plan(problem, "grad_weight")
        if out is None:
            out = backend.empty(g.w_shape, x.dtype, "channels_last")
        for k0, k1 in _blocks(g, p, compute_dtype(x.dtype)):
            out[k0:k1] = _sum_over_tiles(backend, replace(g, K=k1 - k0), p, dy[:, k0:k1], x)
        return out

    # ---- what it declares ----------------------------------------------------------------------------------------------

    def workspace(self, problem, dtype, which="forward"):
        g, size = problem.transposed() if which == "grad_input" else problem, compute_dtype(dtype)
        p = plan(problem, which)
        deep, wide = g.C // g.groups, max(k1 - k0 for k0, k1 in _blocks(g, p, size))
        chunks = _chunks(replace(g, K=wide), p, size)
        tiles = max((t for _, t in chunks), default=0)
        held = tiles * 2 * p.B * (p.a * g.C + p.th * wide)  # the halfway results
        products = 3 * p.a * (tiles * (g.C + wide) + wide * deep)
        filters = 2 * p.B * g.R * wide * deep
        most = max((t.stop - t.start for chunk, _ in chunks for _, t in chunk), default=0)
        block = most * (2 * p.a * p.b * g.C + p.th * p.tw * wide * (2 if which == "grad_weight" else 1))
        return (held + products + filters + block) * size.itemsize

    def operations(self, problem, which="forward"):
        g, p = problem.transposed() if which == "grad_input" else problem, plan(problem, which)
        tiles = g.N * p.down * p.across

        def there(rows, columns, count):
            return 2 * count * (2 * p.B * columns * rows + p.B * 3 * p.a * 2 * rows)

        def back(rows, columns, count):
            return 2 * count * (p.B * 2 * rows * 3 * p.a + columns * 2 * p.B * rows)

        products = 2 * tiles * 3 * p.a * p.B * g.C * g.K // g.groups
        filters = g.K * g.C // g.groups
        if which == "grad_weight":
            return products + there(p.a, p.b, tiles * g.C) + there(p.th, p.tw, tiles * g.K) + back(g.R, g.S, filters)
        return products + there(p.a, p.b, tiles * g.C) + there(g.R, g.S, filters) + back(p.th, p.tw, tiles * g.K)

    def cost(self, problem, dtype, which="forward"):
        return _cost(problem.transposed() if which == "grad_input" else problem, plan(problem, which), which == "grad_weight")

    def error_bound(self, problem, dtype, which="forward"):
        """Every stage of k-term sums adds √k roundoffs, independent of the others; three products instead of one, √3 of that.

        The errors spread evenly over a tile, so S must be that of its largest outputs: true unless all large products fall outside the image.
        """
        g, p = problem.transposed() if which == "grad_input" else problem, plan(problem, which)
        rows, columns, terms = (p.th, p.tw, g.N * p.down * p.across) if which == "grad_weight" else (g.R, g.S, g.C // g.groups)
        stages = p.b, 2 * p.a, columns, 2 * rows, terms, 3 * p.a, 2 * p.B
        u = unit_roundoff(compute_dtype(dtype))
        rounding = unit_roundoff(dtype) if as_dtype(dtype).itemsize < 4 else 0.0
        return LAMBDA * math.sqrt(3 * sum(stages)) * u + rounding


@functools.lru_cache(4096)
def plan(problem, which: str) -> Plan:
    """The cheapest tiles for a pass of a problem."""
    g = problem.transposed() if which == "grad_input" else problem
    choices = [
        Plan(th, tw, -(-g.P // th), -(-g.Q // tw), th + g.R - 1, tw + g.S - 1, (tw + g.S - 1) // 2 + 1)
        for th in _sides(g.P, g.R)
        for tw in _sides(g.Q, g.S)
    ]
    return min(choices, key=lambda p: _cost(g, p, which == "grad_weight"))


def _sides(outputs, taps):
    """Tile sides that cut so many outputs evenly: 1, 2, 3 … tiles, as long as one fits."""
    sides = {-(-outputs // count) for count in range(1, outputs + 1)}
    even = {side + side % 2 for side in sides}  # windows of pooling are not cut
    return sorted(side for side in sides | even if side + taps - 1 <= LARGEST) or [1]


def _cost(g, p, weight):
    """Nanoseconds; ``weight``: of the weight's gradient."""
    tiles, deep, wide = g.N * p.down * p.across, g.C // g.groups, g.K // g.groups
    if tiles == 0:
        return 0.0
    chunks = -(-tiles // CHUNK)
    held, filters = tiles / chunks, g.K * deep
    rows, columns, count = (p.th, p.tw, tiles * g.K) if weight else (g.R, g.S, filters * chunks)
    there = (product(2 * p.B, p.a * tiles * g.C, p.b) + product(3 * p.a, tiles * g.C, 2 * p.a, p.B)) * len(_blocks(g, p, float32))
    there += product(2 * p.B, rows * count, columns) + product(3 * p.a, count, 2 * rows, p.B)
    rows, columns, count = (g.R, g.S, filters * chunks) if weight else (p.th, p.tw, tiles * g.K)
    back = product(2 * rows, count, 3 * p.a, p.B) + product(columns, rows * count, 2 * p.B)
    sides = (wide, deep, held) if weight else (held, wide, deep)
    products = product(*sides, 3 * p.a * p.B * g.groups * chunks) if deep * wide > 1 else moved(3 * p.a * p.B * g.C * tiles)
    halfway = 2 * p.B * tiles * (p.a * g.C + p.th * g.K)
    passes = 2 * tiles * (p.a * p.b * g.C + p.th * p.tw * g.K) + 2 * halfway + 3 * p.a * p.B * (2.5 * filters * chunks + tiles * (g.C + g.K))
    return there + back + products + moved(passes) + CALL * (chunks * p.B * 6 + 10 * -(-tiles // PIECE))


# ---- the steps ---------------------------------------------------------------------------------------------------------


def _correlate(backend, g, p, x, taps, bias, out, epilogue, prepared=None):
    """The correlation of x with ``taps`` (S, R, C/groups, K), block by block of output channels."""
    y = backend.empty(epilogue.shape(g), x.dtype, "channels_last") if out is None else out
    for k0, k1 in _blocks(g, p, compute_dtype(x.dtype)):
        part = slice(k0, k1)
        follows = replace(
            epilogue,
            scale=None if epilogue.scale is None else epilogue.scale[part],
            winners=None if epilogue.winners is None else epilogue.winners[:, part],
        )
        kept = None if prepared is None else prepared[..., part]
        _correlate_block(backend, replace(g, K=k1 - k0), p, x, taps[..., part], None if bias is None else bias[part], y[:, part], follows, kept)
    return y


def _correlate_block(backend, g, p, x, taps, bias, y, epilogue, prepared):
    xp, dtype = backend.xp, compute_dtype(x.dtype)
    image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
    deep, wide = g.C // g.groups, g.K // g.groups
    half_filters = _filter_rows(backend, p, taps, dtype) if prepared is None else None
    back = backend.asarray(dft.complex_inverse(p.th, p.a).astype(dtype.numpy))
    last = backend.asarray(dft.real_inverse(p.tw, p.b).astype(dtype.numpy))
    for chunk, tiles in _chunks(g, p, dtype):
        x_half = backend.workspace("fft.x", (p.B, 2, p.a, tiles, g.C), dtype)
        y_half = backend.workspace("fft.y", (p.B, 2, p.th, tiles, g.K), dtype)

        def read(entry, x_half=x_half):
            piece, where = entry
            _tiles_to_rows(backend, g, p, image, piece, (p.a, p.b), _origin(g), _part(x_half, where))

        def multiply(v, x_half=x_half, y_half=y_half, tiles=tiles):
            xs = _factors(backend, x_half[v].reshape(2 * p.a, tiles, g.C), p, False)
            ws = _factors(backend, half_filters[v], p, True) if prepared is None else prepared[v]
            sums = backend.workspace("fft.products", (3 * p.a, tiles, g.K), dtype)
            if deep == wide == 1:
                xp.multiply(xs, ws.reshape(3 * p.a, 1, g.K), out=sums)
            else:
                xs, ws = xs.reshape(3 * p.a, tiles, g.groups, deep), ws.reshape(3 * p.a, deep, g.groups, wide)
                xp.matmul(xs.swapaxes(1, 2), ws.swapaxes(1, 2), out=sums.reshape(3 * p.a, tiles, g.groups, wide).swapaxes(1, 2))
            xp.matmul(back, sums.reshape(3 * p.a, -1), out=y_half[v].reshape(2 * p.th, -1))

        def write(entry, y_half=y_half):
            (n0, n1, d0, d1), where = entry
            block = backend.workspace("fft.block", (n1 - n0, (d1 - d0) * p.th, p.across * p.tw, g.K), dtype)
            grid = block.reshape(n1 - n0, d1 - d0, p.th, p.across, p.tw, g.K)
            rows = y_half.reshape(2 * p.B, p.th, -1, g.K)[:, :, where].reshape(2 * p.B, p.th, n1 - n0, d1 - d0, p.across, g.K)
            xp.matmul(last, rows.transpose(2, 3, 1, 4, 0, 5), out=grid)
            first, end = d0 * p.th, min(d1 * p.th, g.P)
            lines = slice(first // 2, end // 2) if epilogue.pool else slice(first, end)
            deliver(
                backend, epilogue, block[:, : end - first, : g.Q], bias,
                result[n0:n1, lines], None if winners is None else winners[n0:n1, lines],
            )  # fmt: skip

        parallel_for(read, chunk)
        parallel_for(multiply, range(p.B))
        parallel_for(write, chunk)


def _sum_over_tiles(backend, g, p, dy, x):
    """The weight's gradient, (K, C/groups, R, S)."""
    xp, dtype = backend.xp, compute_dtype(x.dtype)
    image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
    deep, wide = g.C // g.groups, g.K // g.groups
    total = backend.zeros((p.B, 2 * g.R, g.groups * wide * deep), dtype)
    back = backend.asarray(dft.complex_inverse(g.R, p.a).astype(dtype.numpy))
    for chunk, tiles in _chunks(g, p, dtype):
        x_half = backend.workspace("fft.x", (p.B, 2, p.a, tiles, g.C), dtype)
        y_half = backend.workspace("fft.y", (p.B, 2, p.th, tiles, g.K), dtype)

        def read(entry, x_half=x_half, y_half=y_half):
            piece, where = entry
            _tiles_to_rows(backend, g, p, image, piece, (p.a, p.b), _origin(g), _part(x_half, where))
            _tiles_to_rows(backend, g, p, gradient, piece, (p.th, p.tw), (0, 0), _part(y_half, where))

        def multiply(v, x_half=x_half, y_half=y_half, tiles=tiles):
            xs = _factors(backend, x_half[v].reshape(2 * p.a, tiles, g.C), p, False)
            ys = _factors(backend, y_half[v].reshape(2 * p.th, tiles, g.K), p, True)
            xs, ys = xs.reshape(3 * p.a, tiles, g.groups, deep), ys.reshape(3 * p.a, tiles, g.groups, wide)
            sums = backend.workspace("fft.products", (3 * p.a, g.groups, wide, deep), dtype)
            if deep == wide == 1:
                xs *= ys
                xp.add.reduce(xs, axis=1, out=sums[..., 0])
            else:
                xp.matmul(ys.transpose(0, 2, 3, 1), xs.transpose(0, 2, 1, 3), out=sums)
            total[v] += back @ sums.reshape(3 * p.a, -1)

        parallel_for(read, chunk)
        parallel_for(multiply, range(p.B))
    last = backend.asarray(dft.real_inverse(g.S, p.b).astype(dtype.numpy))
    return (last @ total.reshape(2 * p.B, -1)).reshape(g.S, g.R, g.K, deep).transpose(2, 3, 1, 0)


def _blocks(g, p, dtype):
    """Ranges of output channels whose filters fit :data:`FILTERS`; groups are small and stay together."""
    channel = (2 * p.B * g.R + 3 * p.a) * (g.C // g.groups) * dtype.itemsize
    return even_ranges(g.K, max(16, FILTERS // channel)) if g.groups == 1 else [(0, g.K)]


def _chunks(g, p, dtype):
    """Lists of (piece, its tiles), each with the number of tiles; a piece is rows of tiles (n0, n1, d0, d1)."""
    tile = 2 * p.B * (p.a * g.C + p.th * g.K) * dtype.itemsize
    most = max(1, min(CHUNK, CAP // tile))
    chunks, chunk, tiles = [], [], 0
    for piece in pixel_pieces(g.N, p.down, p.across, min(PIECE, most)):
        n0, n1, d0, d1 = piece
        count = (n1 - n0) * (d1 - d0) * p.across
        if chunk and tiles + count > most:
            chunks.append((chunk, tiles))
            chunk, tiles = [], 0
        chunk.append((piece, slice(tiles, tiles + count)))
        tiles += count
    return [*chunks, (chunk, tiles)] if chunk else chunks


def _origin(g):
    """Where the first tile begins in the image: (−top, −left)."""
    return -g.padding[0][0], -g.padding[1][0]


def _part(half, where):
    """The tiles ``where`` of halfway results (B, 2, rows, T, channels), as (2·B, rows, T·channels) of the same memory."""
    *_, rows, tiles, channels = half.shape
    return half.reshape(-1, rows, tiles * channels)[:, :, where.start * channels : where.stop * channels]


def _tiles_to_rows(backend, g, p, image, piece, size, origin, out):
    """Real transform along the columns of the tiles under ``piece``; ``out`` (2·B, rows, T·channels)."""
    xp, (n0, n1, d0, d1), (height, width) = backend.xp, piece, size
    channels, dtype = image.shape[3], as_dtype(out.dtype)
    rows = d0 * p.th + origin[0], (d1 - 1) * p.th + height + origin[0]
    columns = origin[1], (p.across - 1) * p.tw + width + origin[1]
    pixels = padded_block(backend, "fft.pixels", image, (n0, n1), rows, columns, dtype)
    sn, sh, sw, sc = pixels.strides
    shape = height, width, n1 - n0, d1 - d0, p.across, channels
    tiles = xp.lib.stride_tricks.as_strided(pixels, shape, (sh, sw, sn, p.th * sh, p.tw * sw, sc))
    block = backend.workspace("fft.block", shape, dtype)
    block[...] = tiles
    matrix = backend.asarray(dft.real(width, p.b).astype(dtype.numpy))
    xp.matmul(matrix, block.reshape(height, width, -1), out=out.transpose(1, 0, 2))


def _filter_rows(backend, p, taps, dtype):
    """Real transform along the columns of the filters (S, R, C/groups, K), as (B, 2·R, C/groups, K)."""
    s, r, deep, k = taps.shape
    matrix = backend.asarray(dft.real(s, p.b).astype(dtype.numpy))
    flat = backend.xp.ascontiguousarray(taps, dtype.numpy).reshape(s, -1)
    return backend.xp.matmul(matrix, flat).reshape(p.B, 2 * r, deep, k)


def _factors(backend, rows, p, conjugate, out=None):
    """The factors of the products at one column frequency: (2·rows, …) to (3·a, …)."""
    tag = "fft.conjugates" if conjugate else "fft.factors"
    out = backend.workspace(tag, (3 * p.a, *rows.shape[1:]), as_dtype(rows.dtype)) if out is None else out
    matrix = backend.asarray(dft.factors(len(rows) // 2, p.a, conjugate).astype(rows.dtype))
    backend.xp.matmul(matrix, rows.reshape(len(rows), -1), out=out.reshape(3 * p.a, -1))
    return out
