"""direct on a device: the seven loops of ``kernels/conv_direct.cu``, one thread a result. What the other kernels are checked against."""

from __future__ import annotations

from ...array.dtypes import as_dtype
from ...cuda.faces import conv_direct
from ..errors import sum_bound, terms
from ..registry import Algorithm, register
from .costs import LAUNCH, floor, multiplied
from .memory import dense, filled


@register
class DirectKernels(Algorithm):
    """Every problem in float32 and float64."""

    name = "direct"
    kernels = True

    def supports(self, problem, dtype):
        return as_dtype(dtype).name in conv_direct.DTYPES

    def workspace(self, problem, dtype, which="forward"):
        return 0

    def cost(self, problem, dtype, which="forward"):
        share = 0.01 if which == "grad_weight" else 0.1
        return LAUNCH + floor(problem, dtype) + multiplied(self.operations(problem, which), dtype, share)

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None):
        bias = None if bias is None else backend.xp.ascontiguousarray(bias)
        with filled(backend, problem.y_shape, x.dtype, out) as (y, result):
            conv_direct.forward(backend, problem, dense(backend, x), dense(backend, w), y, bias)
        return result

    def grad_input(self, backend, problem, dy, w, out=None):
        with filled(backend, problem.x_shape, dy.dtype, out) as (dx, result):
            conv_direct.grad_input(backend, problem, dense(backend, dy), dense(backend, w), dx)
        return result

    def grad_weight(self, backend, problem, dy, x, out=None):
        with filled(backend, problem.w_shape, dy.dtype, out) as (dw, result):
            conv_direct.grad_weight(backend, problem, dense(backend, dy), dense(backend, x), dw)
        return result
