"""gemm_1x1: a 1×1 filter mixes the channels of each pixel, and that is one matrix product.

With the pixels of the channels-last image as the rows of X (NPQ, C), and W (K, C):

    forward       Y  = X · Wᵀ
    grad_input    dX = dY · W
    grad_weight   dW = dYᵀ · X

At stride 1 without padding X and Y are the image and the output themselves and nothing is copied. A stride takes every second (third …)
pixel; padding adds outputs that see no pixel: their sums are 0.
"""

from __future__ import annotations

from ..array import parallel_for
from ..array.dtypes import as_dtype
from .blocks import multiply, panels, pixel_pieces
from .cost import CALL, moved, product
from .deliver import deliver
from .epilogue import PLAIN
from .errors import sum_bound, terms
from .im2col import compute_dtype, filter_matrices, sum_of_products
from .registry import Algorithm, register

CAP = 2 << 20  # bytes of the rows of X and Y that one product takes
FEWEST = 192  # rows at least: BLAS packs the filter anew for every product
GRAIN = 5_000_000  # multiplications of a piece at least: the rest is the interpreter's time
PARTS = 4  # pieces at least, if they are not too small; grad_weight adds up this many partial sums, each in a fixed order


@register
class Gemm1x1(Algorithm):
    """1×1 filters with any stride, padding and groups. float16 is computed in float32."""

    name = "gemm_1x1"
    fuses = True

    def supports(self, problem, dtype):
        return problem.R == problem.S == 1 and as_dtype(dtype).is_floating_point

    def workspace(self, problem, dtype, which="forward"):
        g = problem
        pixels = max(((n1 - n0) * (p1 - p0) * g.Q for n0, n1, p0, p1 in _pieces(g, dtype, which)), default=0)
        filter_size = g.K * g.C // g.groups if which == "grad_weight" else 0
        return (pixels * (g.C + g.K) // g.groups + filter_size) * compute_dtype(dtype).itemsize

    def cost(self, problem, dtype, which="forward"):
        g, work = problem, max(1, len(_pieces(problem, dtype, which)))
        deep, wide = g.C // g.groups, g.K // g.groups
        rows = g.N * g.P * g.Q / work
        sides = {"forward": (rows, wide, deep), "grad_input": (rows, deep, wide), "grad_weight": (wide, deep, rows)}[which]
        copied = 0 if _plain(g) and g.groups == 1 else g.N * g.P * g.Q * (g.C + g.K)
        return product(*sides, work * g.groups) + moved(copied + g.K * deep) + 2 * CALL * work * g.groups

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        xp, g, dtype = backend.xp, problem, compute_dtype(x.dtype)
        y = backend.empty(epilogue.shape(g), x.dtype, "channels_last") if out is None else out
        image, result = x.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
        winners = None if epilogue.winners is None else epilogue.winners.transpose(0, 2, 3, 1)
        filters = [panels(xp, matrix.T) for matrix in filter_matrices(xp, w, g.groups, dtype)]
        deep, wide = g.C // g.groups, g.K // g.groups
        whole = not epilogue.pool and g.groups == 1 and result.flags.c_contiguous and result.dtype == dtype.numpy

        def tile(piece):
            n0, n1, p0, p1 = piece
            shape = n1 - n0, p1 - p0, g.Q, g.K
            block = result[n0:n1, p0:p1] if whole else backend.workspace("gemm_1x1.y", shape, dtype)
            for group, matrix in enumerate(filters):
                seen = _seen(backend, g, image[..., group * deep : (group + 1) * deep], piece, dtype)
                multiply(backend, seen, matrix, block.reshape(-1, g.K)[:, group * wide : (group + 1) * wide])
            if whole:
                deliver(backend, epilogue, block, bias, block)
            else:
                rows = slice(p0 // 2, p1 // 2) if epilogue.pool else slice(p0, p1)
                deliver(backend, epilogue, block, bias, result[n0:n1, rows], None if winners is None else winners[n0:n1, rows])

        parallel_for(tile, _pieces(g, dtype))
        return y

    def grad_input(self, backend, problem, dy, w, out=None):
        xp, g, dtype = backend.xp, problem, compute_dtype(dy.dtype)
        dx = backend.empty(g.x_shape, dy.dtype, "channels_last") if out is None else out
        gradient, result = dy.transpose(0, 2, 3, 1), dx.transpose(0, 2, 3, 1)
        filters = [panels(xp, matrix) for matrix in filter_matrices(xp, w, g.groups, dtype)]
        deep, wide = g.C // g.groups, g.K // g.groups
        whole = _plain(g) and g.groups == 1 and result.flags.c_contiguous and result.dtype == dtype.numpy
        if not _plain(g):
            result[...] = 0  # pixels between the strides and those that no output sees

        def tile(piece):
            outputs, pixels = _inside(g, piece)
            target = result[pixels]
            shape = target.shape[:3]
            for group, matrix in enumerate(filters):
                part = _rows(backend, "gemm_1x1.y", gradient[outputs][..., group * wide : (group + 1) * wide], dtype)
                block = target.reshape(-1, g.C) if whole else backend.workspace("gemm_1x1.x", (len(part), deep), dtype)
                multiply(backend, part, matrix, block)
                if not whole:
                    target[..., group * deep : (group + 1) * deep] = block.reshape(*shape, deep)

        parallel_for(tile, _pieces(g, dtype))
        return dx

    def grad_weight(self, backend, problem, dy, x, out=None):
        g, dtype = problem, compute_dtype(x.dtype)
        image, gradient = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
        deep, wide = g.C // g.groups, g.K // g.groups
        work = _pieces(g, dtype, "grad_weight")
        sums = [backend.zeros((g.groups, wide, deep), dtype) for _ in range(max(1, min(PARTS, len(work))))]

        def part(number):  # every PARTS-th piece, in order: the same sum on any number of threads
            for piece in work[number :: len(sums)]:
                outputs, pixels = _inside(g, piece)
                for group in range(g.groups):
                    a = _rows(backend, "gemm_1x1.y", gradient[outputs][..., group * wide : (group + 1) * wide], dtype)
                    b = _rows(backend, "gemm_1x1.x", image[pixels][..., group * deep : (group + 1) * deep], dtype)
                    sums[number][group] += sum_of_products(backend, a, b)

        parallel_for(part, range(len(sums)))
        for other in sums[1:]:
            sums[0] += other
        if out is None:
            out = backend.empty(g.w_shape, x.dtype, "channels_last")
        out[...] = sums[0].reshape(g.w_shape)
        return out


def _pieces(g, dtype, which="forward"):
    """Rows of output pixels for one product: a fixed cut, whatever the number of threads.

    The weight's gradient is one product that BLAS spreads over its own threads, as long as the cache holds its operands.
    """
    most = CAP // ((g.C + g.K) // g.groups * compute_dtype(dtype).itemsize)
    if which != "grad_weight":
        most = min(most, max(GRAIN * g.N * g.P * g.Q // max(1, g.macs), g.N * g.P * g.Q // PARTS))
    return pixel_pieces(g.N, g.P, g.Q, max(FEWEST, most))


def _plain(g):
    """Every pixel is seen by one output and every output sees one."""
    return g.stride == (1, 1) and not any(p for side in g.padding for p in side)


def _inside(g, piece):
    """The outputs of ``piece`` that see a pixel, and those pixels: two indices into NHWC arrays."""
    n0, n1, p0, p1 = piece
    outputs, pixels = [slice(n0, n1)], [slice(n0, n1)]
    for (first, last), size, (before, _), step in zip(((p0, p1), (0, g.Q)), (g.H, g.W), g.padding, g.stride, strict=True):
        first, last = max(first, -(-before // step)), min(last, (size - 1 + before) // step + 1)
        count = max(0, last - first)
        start = first * step - before
        outputs.append(slice(first, first + count))
        pixels.append(slice(start, start + (count - 1) * step + 1, step) if count else slice(0, 0))
    return tuple(outputs), tuple(pixels)


def _rows(backend, tag, block, dtype):
    """(n, p, q, channels) as the rows of a matrix, copied only if memory or dtype make it necessary."""
    shape = block.shape[0] * block.shape[1] * block.shape[2], block.shape[3]
    if block.flags.c_contiguous and block.dtype == dtype.numpy:
        return block.reshape(shape)
    rows = backend.workspace(tag, shape, dtype)
    rows.reshape(block.shape)[...] = block
    return rows


def _seen(backend, g, image, piece, dtype):
    """The pixel that each output of ``piece`` sees, 0 beyond the edge, as rows (n·p·Q, channels)."""
    n0, n1, p0, p1 = piece
    outputs, pixels = _inside(g, piece)
    block = image[pixels]
    shape = n1 - n0, p1 - p0, g.Q, image.shape[3]
    if block.shape == shape:
        return _rows(backend, "gemm_1x1.x", block, dtype)
    rows = backend.workspace("gemm_1x1.x", (shape[0] * shape[1] * shape[2], shape[3]), dtype)
    rows[...] = 0
    _, vertical, across = outputs
    rows.reshape(shape)[:, vertical.start - p0 : vertical.stop - p0, across] = block
    return rows
