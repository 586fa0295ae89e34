"""implicit_gemm: the matrix product of im2col whose column matrix is never built (``kernels/conv_implicit_gemm.cu``).

float32 arithmetic outside the tensor cores (float64 for float64); 16-bit types are widened as they are read. Scale, bias, ReLU and the
2×2 max-pool are done on the sums before they leave the registers: what is pooled away is never written.
"""

from __future__ import annotations

from ...array.dtypes import as_dtype
from ...cuda.faces import conv_implicit_gemm as face
from ..epilogue import PLAIN
from ..errors import sum_bound, terms
from ..registry import Algorithm, register
from .costs import CLOCK, LAUNCH, floor
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
        return face.workspace(problem, which, as_dtype(dtype).name)

    def cost(self, problem, dtype, which="forward"):
        name = as_dtype(dtype).name
        cycles = face.plan(problem, which, name).cycles * (2 if name == "float64" else 1)
        return LAUNCH + max(floor(problem, dtype), cycles / CLOCK)

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        options = {"relu": epilogue.relu, "pool": epilogue.pool}
        options |= {"scale": per_channel(backend, epilogue.scale, x.dtype), "bias": per_channel(backend, bias, x.dtype)}
        shape, image, filters = epilogue.shape(problem), dense(backend, x), dense(backend, w)
        with filled(backend, shape, x.dtype, out) as (y, result):
            if epilogue.winners is None:
                face.forward(backend, problem, image, filters, y, **options)
            else:
                with filled(backend, shape, "uint8", epilogue.winners) as (winners, _):
                    face.forward(backend, problem, image, filters, y, winners=winners, **options)
        return result

    def grad_input(self, backend, problem, dy, w, out=None):
        with filled(backend, problem.x_shape, dy.dtype, out) as (dx, result):
            face.grad_input(backend, problem, dense(backend, dy), dense(backend, w), dx)
        return result

    def grad_weight(self, backend, problem, dy, x, out=None):
        with filled(backend, problem.w_shape, dy.dtype, out) as (dw, result):
            face.grad_weight(backend, problem, dense(backend, dy), dense(backend, x), dw)
        return result
