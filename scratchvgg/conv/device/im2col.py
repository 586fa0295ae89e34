"""im2col + GEMM on a device: ``kernels/im2col.cu`` makes the column matrix, tile by tile, and the array library multiplies (cuBLAS on a GPU).

See ``conv/im2col.py`` for the formulas. The sums are kept in float32 at least: 16-bit images are widened as they are unfolded.
"""

from __future__ import annotations

from ...array.dtypes import as_dtype
from ...cuda.faces.conv_implicit_gemm import TILES, finish, plan
from ...cuda.faces.im2col import col2im, im2col
from ...cuda.launch_size import accumulator
from ..epilogue import PLAIN
from ..errors import sum_bound, terms
from ..registry import Algorithm, register
from .costs import CLOCK, LAUNCH, floor, moved
from .memory import dense, filled, per_channel

CAP = 256 << 20  # bytes of a tile of the column matrix


@register
class Im2colKernels(Algorithm):
    """Every problem in float16, bfloat16, float32 and float64."""

    name = "im2col"
    kernels = True
    fuses = True

    def supports(self, problem, dtype):
        return as_dtype(dtype).is_floating_point

    def workspace(self, problem, dtype, which="forward"):
        g, size = problem, accumulator(as_dtype(dtype).numpy).itemsize
        if which == "grad_input" and _turns(g):
            g, which = g.transposed(), "forward"
        depth, filters = g.groups * _depth(g), g.K * _depth(g)
        if which == "grad_input":
            pixels = _images(g, size) * g.P * g.Q
            return pixels * (depth + g.K) * size  # the columns, dy by groups
        rows = min(_rows(g, size), g.N * g.P * g.Q)
        return (rows * (depth + g.K) + (filters if which == "grad_weight" else 0)) * size

    def cost(self, problem, dtype, which="forward"):
        g, wide, name = problem, accumulator(as_dtype(dtype).numpy), as_dtype(dtype).name
        tiles = -(-g.N * g.P * g.Q // _rows(g, wide.itemsize))
        columns = moved(2 * g.N * g.P * g.Q * g.groups * _depth(g), wide.itemsize)
        how = plan(g, which, name)  # the library's tiles are reckoned as good as ours, and take any channels
        product = how.cycles / CLOCK * (2 if name == "float64" else 1) * (TILES[name]["general"].share / 0.8 if how.version == "general" else 1)
        return LAUNCH * (2 + 2 * tiles) + floor(g, dtype) + columns + product

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        with filled(backend, epilogue.shape(problem), x.dtype, out) as (y, result):
            if epilogue.winners is None:
                self._correlate(backend, problem, dense(backend, x), dense(backend, w), y, bias, epilogue)
            else:
                with filled(backend, epilogue.shape(problem), "uint8", epilogue.winners) as (winners, _):
                    self._correlate(backend, problem, dense(backend, x), dense(backend, w), y, bias, epilogue, winners)
        return result

    def grad_input(self, backend, problem, dy, w, out=None):
        g = problem
        with filled(backend, g.x_shape, dy.dtype, out) as (dx, result):
            if _turns(g):
                self._correlate(backend, g.transposed(), dense(backend, dy), _turned(backend, g, w), dx)
            else:
                self._scatter(backend, g, dense(backend, dy), dense(backend, w), dx)
        return result

    def grad_weight(self, backend, problem, dy, x, out=None):
        xp, g, wide = backend.xp, problem, accumulator(x.dtype)
        slope, image = dense(backend, dy).reshape(-1, g.groups, g.K // g.groups), dense(backend, x)
        rows = _rows(g, wide.itemsize)
        with filled(backend, g.w_shape, x.dtype, out) as (dw, result):
            sums = backend.workspace("im2col.sums", (g.groups, g.K // g.groups, _depth(g)), wide)
            sums[...] = 0
            for first in range(0, len(slope), rows):
                part = slope[first : first + rows].astype(wide, copy=False)
                columns = backend.workspace("im2col.columns", (g.groups, len(part), _depth(g)), wide)
                im2col(backend, g, image, columns, first)
                sums += xp.matmul(part.transpose(1, 2, 0), columns)
            dw[...] = sums.reshape(dw.shape)
        return result

    def _correlate(self, backend, g, x, w, y, bias=None, epilogue=PLAIN, winners=None):
        """The forward pass in memory order: x (N, H, W, C), w (K, R, S, C / groups), y and winners as ``epilogue`` leaves them."""
        xp, wide, pool = backend.xp, accumulator(x.dtype), epilogue.pool
        matrix = w.reshape(g.groups, g.K // g.groups, _depth(g)).transpose(0, 2, 1).astype(wide, copy=False)
        scale, bias = per_channel(backend, epilogue.scale, x.dtype), per_channel(backend, bias, x.dtype)
        y, winners = y.reshape(-1, g.K), None if winners is None else winners.reshape(-1, g.K)
        total = len(y) * 4 if pool else len(y)
        rows = _rows(g, wide.itemsize)
        done = epilogue.trivial and bias is None and y.dtype == wide
        for first in range(0, total, rows):
            count = min(rows, total - first)
            here = slice(first // 4, (first + count) // 4) if pool else slice(first, first + count)
            columns = backend.workspace("im2col.columns", (g.groups, count, _depth(g)), wide)
            im2col(backend, g, x, columns, first, pool)
            sums = y[here] if done else backend.workspace("im2col.y", (count, g.K), wide)
            sums.reshape(count, g.groups, -1)[...] = xp.matmul(columns, matrix).transpose(1, 0, 2)
            if not done:
                part = None if winners is None else winners[here]
                finish(backend, sums[None], y[here], scale=scale, bias=bias, relu=epilogue.relu, pool=pool, winners=part)

    def _scatter(self, backend, g, dy, w, dx):
        """The gradient of the input where it is no convolution (a stride): columns of dy · w, gathered by col2im, some images at a time."""
        xp, wide = backend.xp, accumulator(dy.dtype)
        matrix = w.reshape(g.groups, g.K // g.groups, _depth(g)).astype(wide, copy=False)
        step = _images(g, wide.itemsize)
        for n in range(0, g.N, step):
            part = type(g)(min(step, g.N - n), g.C, g.H, g.W, g.K, g.R, g.S, g.stride, g.padding, g.dilation, g.groups)
            rows = part.N * g.P * g.Q
            slope = dy[n : n + step].reshape(rows, g.groups, -1).transpose(1, 0, 2).astype(wide, copy=False)
            columns = backend.workspace("im2col.columns", (g.groups, rows, _depth(g)), wide)
            xp.matmul(slope, matrix, out=columns)
            col2im(backend, part, columns, dx[n : n + step])


def _depth(g):
    """Of one group's column matrix."""
    return g.R * g.S * (g.C // g.groups)


def _rows(g, itemsize):
    """Rows of a tile: whole 2×2 windows."""
    return max(4, CAP // (g.groups * _depth(g) * itemsize) // 4 * 4)


def _images(g, itemsize):
    """Images of a tile of col2im, one at least even if its columns are more than :data:`CAP`."""
    return max(1, min(g.N, CAP // max(1, g.P * g.Q * g.groups * _depth(g) * itemsize)))


def _turns(g):
    """Whether the gradient of the input is a convolution (see :meth:`Problem.transposed`)."""
    return g.stride == (1, 1) and min(p for side in g.transposed().padding for p in side) >= 0


def _turned(backend, g, w):
    """The filters of that convolution, (C, R, S, K / groups): channels change places, taps are turned by 180°."""
    k, deep, r, s = w.shape
    taps = w.reshape(g.groups, k // g.groups, deep, r, s)[..., ::-1, ::-1].transpose(0, 2, 3, 4, 1)
    return backend.xp.ascontiguousarray(taps).reshape(g.C, r, s, k // g.groups)
