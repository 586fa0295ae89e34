"""implicit_gemm: the matrix product of im2col whose column matrix is never built (``kernels/conv_implicit_gemm.cu``).

float32 arithmetic outside the tensor cores (float64 for float64); 16-bit types are widened as they are read. Scale, bias, ReLU and the
2×2 max-pool are done on the sums before they leave the registers: what is pooled away is never written. Three channels are padded to four.
"""

from __future__ import annotations

from dataclasses import replace

from ...array.dtypes import as_dtype
from ...cuda.faces import conv_implicit_gemm as face
from ..epilogue import PLAIN
from ..errors import sum_bound, terms
from ..registry import Algorithm, register
from .costs import CLOCK, LAUNCH, floor, moved
from .memory import dense, filled, per_channel


@register
class ImplicitGemm(Algorithm):
    """Every problem in float16, bfloat16, float32 and float64."""

    name = "implicit_gemm"
    kernels = True
    fuses = True

    def supports(self, problem, dtype):
        return as_dtype(dtype).name in face.TILES

    def workspace(self, problem, dtype, which="forward"):
        g, name, size = in_fours(problem, which), as_dtype(dtype).name, as_dtype(dtype).itemsize
        padded = 0 if g is problem else g.N * g.H * g.W * g.C + g.K * g.R * g.S * g.C
        return face.workspace(g, which, name) + padded * size

    def cost(self, problem, dtype, which="forward"):
        g, name, size = in_fours(problem, which), as_dtype(dtype).name, as_dtype(dtype).itemsize
        cycles = face.plan(g, which, name).cycles * (2 if name == "float64" else 1)
        copies = 0 if g is problem else 2 * LAUNCH + moved(2 * g.N * g.H * g.W * g.C, size)
        return LAUNCH + copies + max(floor(problem, dtype), cycles / CLOCK)

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        g = in_fours(problem, "forward")
        options = {"relu": epilogue.relu, "pool": epilogue.pool}
        options |= {"scale": per_channel(backend, epilogue.scale, x.dtype), "bias": per_channel(backend, bias, x.dtype)}
        shape, image, filters = epilogue.shape(problem), _operand(backend, g, "x", x), _operand(backend, g, "w", w)
        with filled(backend, shape, x.dtype, out) as (y, result):
            if epilogue.winners is None:
                face.forward(backend, g, image, filters, y, **options)
            else:
                with filled(backend, shape, "uint8", epilogue.winners) as (winners, _):
                    face.forward(backend, g, image, filters, y, winners=winners, **options)
        return result

    def grad_input(self, backend, problem, dy, w, out=None):
        g = in_fours(problem, "grad_input")
        with filled(backend, problem.x_shape, dy.dtype, out) as (dx, result):
            wide = dx if g is problem else backend.workspace("implicit_gemm.x", (g.N, g.H, g.W, g.C), dy.dtype)
            face.grad_input(backend, g, dense(backend, dy), _operand(backend, g, "w", w), wide)
            if wide is not dx:
                dx[...] = wide[..., : problem.C]
        return result

    def grad_weight(self, backend, problem, dy, x, out=None):
        g = in_fours(problem, "grad_weight")
        with filled(backend, problem.w_shape, dy.dtype, out) as (dw, result):
            wide = dw if g is problem else backend.workspace("implicit_gemm.w", (g.K, g.R, g.S, g.C), dy.dtype)
            face.grad_weight(backend, g, dense(backend, dy), _operand(backend, g, "x", x), wide)
            if wide is not dw:
                dw[...] = wide[..., : problem.C]
        return result


def in_fours(problem, which: str):
    """The problem with channels of zeros added to x and w up to a multiple of four, where that lets the pass load vectors: colour images."""
    g = problem
    if g.groups > 1 or g.C % 4 == 0 or (which != "forward" and g.K % 4):
        return g
    return replace(g, C=-(-g.C // 4) * 4)


def _operand(backend, g, name, array):
    """x or w in memory order, with as many channels as ``g`` has."""
    if array.shape[1] * g.groups == g.C:
        return dense(backend, array)
    n, c, h, w = array.shape
    wide = backend.workspace(f"implicit_gemm.{name}", (n, h, w, g.C), array.dtype)
    wide[..., :c] = array.transpose(0, 2, 3, 1)
    wide[..., c:] = 0
    return wide
