"""shifted: one product for each place of the filter, on shifted views of the image; no columns at all.

Copy a piece of the channels-last image between zero borders, (n, H', W', C), and number its pixels row after row. Output i and tap (r, s)
meet at pixel i + r·dilation·W' + s·dilation: so each tap multiplies one contiguous run of pixels, and

    forward       Y       = Σᵣₛ  X[i + shift(r, s)] · W[r, s]           (pixels, C) · (C, K)
    grad_input    the forward of dy with the turned, transposed filter (see :meth:`Problem.transposed`)
    grad_weight   dW[r, s] = Σᵢ dY[i]ᵀ · X[i + shift(r, s)]             (K, pixels) · (pixels, C), nothing to add but the pieces

The price is W' − Q outputs a row that nobody asked for, and the addition of the R·S partial results, which NumPy's matmul cannot do
itself. Where channels are few, the S taps of a filter row become one product: S neighbouring pixels are S·C numbers in a row, and the
outputs i = j, j + S, j + 2S, … read them without overlap, so that S such products (j = 0 … S − 1) give one filter row. Only R
partial results are left to add, and the products are S times as deep.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..array import parallel_for
from ..array.dtypes import as_dtype
from .blocks import multiply, padded_block, panels, pixel_pieces
from .cost import CALL, moved, product
from .deliver import deliver
from .epilogue import PLAIN
from .errors import sum_bound, terms
from .im2col import compute_dtype
from .registry import Algorithm, register

CAP = 2 << 20  # bytes of a piece: its pixels, sums and partial sums
FEWEST = 256  # pixels at least: BLAS packs the filter anew for every product
GRAIN = 5_000_000  # multiplications of a piece at least: the rest is the interpreter's time
DEPTH = 1024  # a product that is deeper than this gains nothing from joining a filter row
PARTS = 4  # pieces at least, if they are not too small; grad_weight adds up this many partial sums, each in a fixed order


@register
class Shifted(Algorithm):
    """Stride 1, any padding, dilation and groups. float16 is computed in float32."""

    name = "shifted"
    fuses = True

    def supports(self, problem, dtype):
        return problem.stride == (1, 1) and as_dtype(dtype).is_floating_point

    def workspace(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        deep, wide = g.C // g.groups, g.K // g.groups
        pixels = max((math.prod(_grid(g, piece)[:3]) for piece in _pieces(g, dtype)), default=0)
        numbers = pixels * (deep + wide) + wide * deep * g.S if which == "grad_weight" else pixels * (deep + 2 * wide)
        return numbers * compute_dtype(dtype).itemsize

    def cost(self, problem, dtype, which="forward"):
        g = problem.transposed() if which == "grad_input" else problem
        work = _pieces(g, dtype)
        if not work:
            return 0.0
        deep, wide, span = g.C // g.groups, g.K // g.groups, _span(g)
        pixels = sum(length for *_, length in (_grid(g, piece) for piece in work))
        rows, sums = pixels / len(work) / span, g.R * g.S // span
        sides = (wide, span * deep, rows) if which == "grad_weight" else (rows, wide, span * deep)
        added = len(work) * g.R * g.S * wide * deep if which == "grad_weight" else pixels * wide * (sums - 0.5) + 5 * g.R * g.S * wide * deep
        calls = len(work) * g.groups * (g.R * g.S * (2 if which == "grad_weight" else 1) + sums + 2)
        return product(*sides, len(work) * g.groups * g.R * g.S) + moved(g.groups * (added + pixels * (deep + wide))) + CALL * calls

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        return _correlate(backend, problem, x, _groups(problem, w, lambda v: v.transpose(2, 3, 1, 0)), bias, out, epilogue)

    def grad_input(self, backend, problem, dy, w, out=None):
        turned = _groups(problem, w, lambda v: v.transpose(2, 3, 0, 1)[::-1, ::-1])
        return _correlate(backend, problem.transposed(), dy, turned, None, out, PLAIN)

    def grad_weight(self, backend, problem, dy, x, out=None):
        xp, g, dtype = backend.xp, problem, compute_dtype(x.dtype)
        image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        deep, wide, span = g.C // g.groups, g.K // g.groups, _span(g)
        work = _pieces(g, dtype)
        shape = g.groups, g.R * g.S // span, wide, span * deep
        sums = [backend.zeros(shape, dtype) for _ in range(max(1, min(PARTS, len(work))))]

        def part(number):  # every PARTS-th piece, in order: the same sum on any number of threads
            for piece in work[number :: len(sums)]:
                n0, n1, p0, p1 = piece
                _, rows, pitch, length = _grid(g, piece)
                for group in range(g.groups):
                    pixels = _pixels(backend, g, image, piece, group, dtype)
                    part = gradient[:, p0:p1, :, group * wide : (group + 1) * wide]
                    slope = padded_block(backend, "shifted.y", part, (n0, n1), (0, rows), (0, pitch), dtype).reshape(-1, wide)
                    block = backend.workspace("shifted.product", shape[2:], dtype)
                    for place, shift in enumerate(_shifts(g, pitch, span)):
                        for j in range(span):
                            seen = _run(pixels, shift + j, length - j, span)
                            sums[number][group, place] += xp.matmul(slope[j:length:span].T, seen, out=block)

        parallel_for(part, range(len(sums)))
        for other in sums[1:]:
            sums[0] += other
        dw = sums[0].reshape(g.groups, g.R, g.S // span, wide, span, deep).transpose(0, 3, 5, 1, 2, 4).reshape(g.w_shape)
        if out is None:
            out = backend.empty(g.w_shape, x.dtype, "channels_last")
        out[...] = dw
        return out


def _correlate(backend, g, x, filters, bias, out, epilogue):
    """Σ over taps of shifted pixels · filter; ``filters`` (R, S, C/groups, K/groups) of each group."""
    xp, dtype = backend.xp, compute_dtype(x.dtype)
    y = backend.empty(epilogue.shape(g), x.dtype, "channels_last") if out is None else out
    image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
    deep, wide, span = g.C // g.groups, g.K // g.groups, _span(g)
    filters = [[panels(xp, tap) for tap in xp.ascontiguousarray(f, dtype.numpy).reshape(-1, span * deep, wide)] for f in filters]

    def tile(piece):
        n0, n1, p0, p1 = piece
        images, rows, pitch, length = _grid(g, piece)
        sums = backend.workspace("shifted.y", (images * rows * pitch, wide), dtype)
        more = backend.workspace("shifted.more", (length, wide), dtype)
        for group, taps in enumerate(filters):
            pixels = _pixels(backend, g, image, piece, group, dtype)
            for place, shift in enumerate(_shifts(g, pitch, span)):
                target = more if place else sums
                for j in range(span):
                    multiply(backend, _run(pixels, shift + j, length - j, span), taps[place], target[j:length:span])
                if place:
                    sums[:length] += more
            part = slice(group * wide, (group + 1) * wide)
            follows = epilogue if epilogue.scale is None else replace(epilogue, scale=epilogue.scale[part])
            lines = slice(p0 // 2, p1 // 2) if epilogue.pool else slice(p0, p1)
            deliver(
                backend, follows, sums.reshape(images, rows, pitch, wide)[:, : p1 - p0, : g.Q], None if bias is None else bias[part],
                result[n0:n1, lines, :, part], None if winners is None else winners[n0:n1, lines, :, part],
            )  # fmt: skip

    parallel_for(tile, _pieces(g, dtype))
    return y


def _groups(g, w, arrange):
    """The filter of each group, (K/groups, C/groups, R, S) seen through ``arrange``."""
    wide = g.K // g.groups
    return [arrange(w[group * wide : (group + 1) * wide]) for group in range(g.groups)]


def _span(g):
    """Taps of a filter row that are one product: all, if they are neighbours and channels few, else one."""
    return g.S if g.dilation[1] == 1 and g.S * g.C // g.groups <= DEPTH else 1


def _pieces(g, dtype):
    """Rows of output pixels done at once: a fixed cut, whatever the number of threads."""
    pixel = (g.C + 2 * g.K) // g.groups * compute_dtype(dtype).itemsize
    fewest = max(FEWEST, GRAIN * g.N * g.P * g.Q // max(1, g.macs))
    return pixel_pieces(g.N, g.P, g.Q, max(fewest, min(CAP // pixel, g.N * g.P * g.Q // PARTS)))


def _grid(g, piece):
    """Images, rows and columns of the pixels of a piece, and how many of them, in a row, begin an output."""
    n0, n1, p0, p1 = piece
    rows, pitch = p1 - p0 + g.rows - 1, g.Q + g.columns - 1
    return n1 - n0, rows, pitch, ((n1 - n0 - 1) * rows + p1 - p0 - 1) * pitch + g.Q


def _shifts(g, pitch, span):
    """How far from an output's first pixel each product begins."""
    return [r * g.dilation[0] * pitch + s * g.dilation[1] for r in range(g.R) for s in range(0, g.S, span)]


def _pixels(backend, g, image, piece, group, dtype):
    """The pixels under a piece between zero borders, one after the other, as a flat array."""
    n0, n1, p0, p1 = piece
    deep = g.C // g.groups
    (top, _), (left, _) = g.padding
    rows, columns = (p0 - top, p1 - 1 + g.rows - top), (-left, g.Q + g.columns - 1 - left)
    block = padded_block(backend, "shifted.x", image[..., group * deep : (group + 1) * deep], (n0, n1), rows, columns, dtype)
    return block.reshape(-1, deep)


def _run(pixels, first, count, span):
    """Pixels ``first``, ``first`` + span, … as rows of ``span`` pixels each, enough for ``count`` outputs."""
    rows = -(-count // span)
    return pixels[first : first + rows * span].reshape(rows, span * pixels.shape[1])
