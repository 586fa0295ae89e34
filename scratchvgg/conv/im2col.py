"""im2col + GEMM: a convolution is a matrix product.

Row (n, p, q) of the column matrix is the patch that output pixel (p, q) of image n sees, R·S·C numbers; the filter is a
(K, R·S·C) matrix. Then

    forward       Y  (NPQ, K)    = col · Wᵀ
    grad_weight   dW (K, RSC)    = dYᵀ · col
    grad_input    dcol (NPQ, RSC) = dY · W, added back to the pixels the columns came from (col2im)

The whole matrix is R·S times the image and never exists: tiles of it, some output rows of one or of several images, are
made in a scratch buffer, used while they are in cache, and overwritten. In channels-last memory a patch row is one run of S·C
numbers (dilation 1), so filling a tile is copying long runs, and a tile of Y is a finished piece of the output.

At stride 1 grad_input is itself a convolution (see :meth:`Problem.transposed`) and needs no col2im.
"""

from __future__ import annotations

from ..array import parallel_for
from ..array.dtypes import as_dtype, float32, promote_types
from .blocks import multiply, panels
from .cost import CALL, moved, product
from .deliver import deliver
from .epilogue import PLAIN
from .errors import sum_bound, terms
from .registry import Algorithm, register

CAP = 2 << 20  # bytes of the column tile of one thread
FEWEST_ROWS = 256  # a GEMM with fewer rows spends its time packing the filter; this wins over CAP
SMALL, STRIPS = 1 << 14, range(16, 129)  # grad_weight with fewer elements than SMALL adds its products up in strips of so many rows
PARTS = 4  # grad_weight adds up this many partial sums, each in a fixed order


@register
class Im2col(Algorithm):
    """Takes every problem in float16 (computed in float32), float32 and float64."""

    name = "im2col"
    fuses = True

    def supports(self, problem, dtype):
        return as_dtype(dtype).is_floating_point

    def workspace(self, problem, dtype, which="forward"):
        g, size = problem, compute_dtype(dtype).itemsize
        strided = which == "grad_input" and (g.stride != (1, 1) or min(p for side in g.transposed().padding for p in side) < 0)
        if which == "grad_input" and not strided:
            g = g.transposed()
        deep, width = g.C // g.groups, g.W + sum(g.padding[1])
        in_place = which == "grad_weight" or strided or (g.groups == 1 and as_dtype(dtype).itemsize == size)

        def held(n, p):  # columns, the pixels under them, sums on their way into another dtype or between other groups
            pixels = n * ((p - 1) * g.stride[0] + g.rows) * width * deep
            return n * p * g.Q * (g.R * g.S * deep + (0 if in_place else g.K)) + (0 if strided else pixels)

        most = max((held(n1 - n0, p1 - p0) for n0, n1, p0, p1 in tiles(g, size)), default=0)
        if strided:
            most += max((n1 - n0 for n0, n1 in image_pieces(g, size)), default=0) * (g.H + sum(g.padding[0])) * width * g.C
        if which == "grad_weight":
            most += g.K // g.groups * g.R * g.S * deep
        return most * size

    def cost(self, problem, dtype, which="forward"):
        g, deep = problem, problem.C // problem.groups
        pixels, column = g.N * g.P * g.Q, g.R * g.S * deep
        work = tiles(g, compute_dtype(dtype).itemsize)
        rows = pixels / max(1, len(work))
        sides = {"forward": (rows, g.K // g.groups, column), "grad_input": (rows, deep, g.R * g.S * g.K // g.groups)}
        m, n, k = sides.get(which, (column, g.K // g.groups, rows))
        columns, results = pixels * g.groups * (k if which != "grad_weight" else column), pixels * (g.C if which == "grad_input" else g.K)
        filters = g.K * column * (7 if which == "grad_input" else 1)  # turned there
        return product(m, n, k, len(work) * g.groups) + moved(columns + 2 * results + filters) + CALL * (4 * len(work) * g.groups + 40)

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        matrices = [m.T for m in filter_matrices(backend.xp, w, problem.groups, compute_dtype(x.dtype))]
        return correlate(backend, problem, x, matrices, bias, out, epilogue)

    def grad_input(self, backend, problem, dy, w, out=None):
        if problem.stride == (1, 1) and min(p for side in problem.transposed().padding for p in side) >= 0:
            return correlate(backend, problem.transposed(), dy, turned_matrices(backend.xp, w, problem.groups, compute_dtype(dy.dtype)), out=out)
        xp, g = backend.xp, problem
        dtype = compute_dtype(dy.dtype)
        dx = backend.empty(g.x_shape, dy.dtype, "channels_last") if out is None else out
        result, gradient = dx.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        filters = filter_matrices(xp, w, g.groups, dtype)
        deep, wide = g.C // g.groups, g.K // g.groups
        (top, bottom), (left, right) = g.padding

        def images(piece):  # tiles of one image overlap in dx: an image belongs to one task
            n0, n1 = piece
            padded = backend.workspace("im2col.padded", (n1 - n0, g.H + top + bottom, g.W + left + right, g.C), dtype)
            padded[...] = 0
            for m0, m1, p0, p1 in tiles(g, dtype.itemsize, n0, n1):
                rows = (m1 - m0) * (p1 - p0) * g.Q
                for group, matrix in enumerate(filters):
                    part = gradient[m0:m1, p0:p1, :, group * wide : (group + 1) * wide].reshape(rows, wide)
                    columns = backend.workspace("im2col.columns", (rows, g.R * g.S * deep), dtype)
                    xp.matmul(part.astype(dtype.numpy, copy=False), matrix, out=columns)
                    columns = columns.reshape(m1 - m0, p1 - p0, g.Q, g.R, g.S, deep)
                    target = padded[m0 - n0 : m1 - n0, :, :, group * deep : (group + 1) * deep]
                    for r in range(g.R):
                        for s in range(g.S):
                            target[:, stepped(g, 0, r, p0, p1), stepped(g, 1, s, 0, g.Q)] += columns[:, :, :, r, s]
            result[n0:n1] = padded[:, top : top + g.H, left : left + g.W]

        parallel_for(images, image_pieces(g, dtype.itemsize))
        return dx

    def grad_weight(self, backend, problem, dy, x, out=None):
        g = problem
        dtype = compute_dtype(x.dtype)
        image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        deep, wide = g.C // g.groups, g.K // g.groups
        shape = (g.groups, wide, g.R * g.S * deep)
        work = tiles(g, dtype.itemsize)
        parts = max(1, min(PARTS, len(work)))
        sums = [backend.zeros(shape, dtype) for _ in range(parts)]

        def part(number):  # every PARTS-th tile, in order: the same sum on any number of threads
            for piece in work[number::parts]:
                n0, n1, p0, p1 = piece
                rows = (n1 - n0) * (p1 - p0) * g.Q
                for group in range(g.groups):
                    columns = fill_columns(backend, g, image, piece, group, dtype)
                    slope = gradient[n0:n1, p0:p1, :, group * wide : (group + 1) * wide].reshape(rows, wide).astype(dtype.numpy, copy=False)
                    sums[number][group] += sum_of_products(backend, slope, columns)

        parallel_for(part, range(parts))
        for other in sums[1:]:
            sums[0] += other
        dw = sums[0].reshape(g.K, g.R, g.S, deep).transpose(0, 3, 1, 2)
        if out is None:
            return dw.astype(x.dtype, copy=False)
        out[...] = dw
        return out


def correlate(backend, g, x, matrices, bias=None, out=None, epilogue=PLAIN):
    """col · matrix (+ bias) and the epilogue, tile by tile; ``matrices`` holds one (R·S·C/groups, K/groups) matrix per group."""
    xp = backend.xp
    dtype = compute_dtype(x.dtype)
    y = backend.empty(epilogue.shape(g), x.dtype, "channels_last") if out is None else out
    image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
    winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
    in_place = result.flags.c_contiguous and x.dtype == dtype.numpy and g.groups == 1 and not epilogue.pool
    filters, size = [panels(xp, matrix) for matrix in matrices], 2 if epilogue.pool else 1

    def tile(piece):
        n0, n1, p0, p1 = piece
        rows = (n1 - n0) * (p1 - p0) * g.Q
        shape = n1 - n0, p1 - p0, g.Q, g.K
        block = result[n0:n1, p0:p1] if in_place else backend.workspace("im2col.y", shape, dtype)
        flat = block.reshape(rows, g.K)
        for group, matrix in enumerate(filters):
            wide = g.K // g.groups
            multiply(backend, fill_columns(backend, g, image, piece, group, dtype), matrix, flat[:, group * wide : (group + 1) * wide])
        here = slice(n0, n1), slice(p0 // size, p1 // size)
        target = block if in_place else result[here]
        deliver(backend, epilogue, block, bias, target, None if winners is None else winners[here])

    parallel_for(tile, tiles(g, dtype.itemsize, together=size))
    return y


def sum_of_products(backend, a, b):
    """aᵀ · b for a (rows, k) and b (rows, c), summed over the rows in strips if the result is small.

    BLAS blocks the sum of a large product by itself; for small ones it adds row after row, and the rounding error grows with their number.
    """
    xp, rows = backend.xp, len(a)
    strip = min(max(rows // 8, STRIPS[0]), STRIPS[-1])
    if a.shape[1] * b.shape[1] > SMALL or rows <= strip:
        return xp.matmul(a.T, b, out=backend.workspace("im2col.product", (a.shape[1], b.shape[1]), b.dtype))
    whole = rows // strip * strip
    strips = xp.matmul(a[:whole].reshape(-1, strip, a.shape[1]).swapaxes(1, 2), b[:whole].reshape(-1, strip, b.shape[1])).sum(0)
    return strips + a[whole:].T @ b[whole:] if whole < rows else strips


def compute_dtype(dtype):
    """The type of the arithmetic: float32 at least."""
    return promote_types(as_dtype(dtype), float32)


def filter_matrices(xp, w, groups, dtype):
    """(K, C/groups, R, S) as one (K/groups, R·S·C/groups) matrix per group; a view if w is channels-last in memory."""
    k = w.shape[0] // groups
    matrix = xp.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(w.shape[0], -1).astype(dtype.numpy, copy=False)
    return [matrix[g * k : (g + 1) * k] for g in range(groups)]


def turned_matrices(xp, w, groups, dtype):
    """The filters of the transposed convolution (see :meth:`Problem.transposed`) as one (R·S·K/groups, C/groups) matrix per group.

    Row (r, s, k), column c is w[k, c, R − 1 − r, S − 1 − s]: with w channels-last in memory, a copy of long runs of c.
    """
    k, deep, r, s = w.shape
    taps = w.transpose(2, 3, 0, 1)[::-1, ::-1].reshape(r, s, groups, k // groups, deep)
    return [xp.ascontiguousarray(taps[:, :, g]).reshape(-1, deep).astype(dtype.numpy, copy=False) for g in range(groups)]


def tiles(g, itemsize, n0=0, n1=None, together=1):
    """Cut the output into pieces (n0, n1, p0, p1) of whole rows whose columns fit :data:`CAP`: several images or part of one.

    A multiple of ``together`` rows stays in one piece (pooling windows), even if the cap is then passed.
    """
    n1 = g.N if n1 is None else n1
    row = g.Q * g.R * g.S * (g.C // g.groups) * itemsize
    rows = max(1, min(CAP // max(row, 1), g.N * g.P), -(-FEWEST_ROWS // max(g.Q, 1)))
    if g.P == 0 or g.Q == 0:
        return []
    if rows >= g.P:
        step = rows // g.P
        return [(n, min(n1, n + step), 0, g.P) for n in range(n0, n1, step)]
    pieces = -(-g.P // rows)
    rows = -(-g.P // pieces)  # even pieces
    rows = -(-rows // together) * together
    return [(n, n + 1, p, min(g.P, p + rows)) for n in range(n0, n1) for p in range(0, g.P, rows)]


def image_pieces(g, itemsize):
    """Ranges of images whose padded gradient stays near the size of a tile."""
    image = (g.H + sum(g.padding[0])) * (g.W + sum(g.padding[1])) * g.C * itemsize
    step = max(1, CAP // max(image, 1))
    return [(n, min(g.N, n + step)) for n in range(0, g.N, step)]


def stepped(g, axis, tap, first, last):
    """The slice of padded pixels that tap ``tap`` of the filter reads for outputs ``first`` to ``last``."""
    start = first * g.stride[axis] + tap * g.dilation[axis]
    return slice(start, start + (last - first - 1) * g.stride[axis] + 1, g.stride[axis])


def fill_columns(backend, g, image, piece, group, dtype):
    """One tile of the column matrix, (rows, R·S·C/groups), from the NHWC ``image``.

    The input rows of the tile are first copied into a small zero-bordered buffer, so that every patch lies inside it; then one
    strided copy spreads them. A 1×1 filter at stride 1 without padding needs no copy: the image is its own column matrix.
    """
    n0, n1, p0, p1 = piece
    deep = g.C // g.groups
    channels = slice(group * deep, (group + 1) * deep)
    rows = (n1 - n0) * (p1 - p0) * g.Q
    (top, _), (left, right) = g.padding
    plain = g.R == g.S == 1 and g.stride == (1, 1) and g.P == g.H and g.Q == g.W and top == left == 0
    if plain and image.dtype == dtype.numpy:
        return image[n0:n1, p0:p1, :, channels].reshape(rows, deep)
    first = p0 * g.stride[0] - top
    last = (p1 - 1) * g.stride[0] + g.rows - top
    inside0, inside1 = max(first, 0), min(last, g.H)
    padded = backend.workspace("im2col.padded", (n1 - n0, last - first, g.W + left + right, deep), dtype)
    if inside0 > first:
        padded[:, : inside0 - first] = 0
    if inside1 < last:
        padded[:, max(inside1 - first, 0) :] = 0
    if left:
        padded[:, :, :left] = 0
    if right:
        padded[:, :, left + g.W :] = 0
    if inside1 > inside0:
        padded[:, inside0 - first : inside1 - first, left : left + g.W] = image[n0:n1, inside0:inside1, :, channels]
    columns = backend.workspace("im2col.columns", (rows, g.R * g.S * deep), dtype)
    sn, sh, sw, sc = padded.strides
    patches = backend.xp.lib.stride_tricks.as_strided(
        padded,
        (n1 - n0, p1 - p0, g.Q, g.R, g.S, deep),
        (sn, sh * g.stride[0], sw * g.stride[1], sh * g.dilation[0], sw * g.dilation[1], sc),
    )
    columns.reshape(patches.shape)[...] = patches
    return columns
