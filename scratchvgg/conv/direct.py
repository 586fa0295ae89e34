"""direct: the seven loops. This is the specification; everything else is checked against it.

Slow on purpose (about a microsecond a multiplication) and free of cleverness: plain Python numbers are added in order in float64.
"""

from __future__ import annotations

from itertools import product

from ..array.dtypes import as_dtype
from .errors import sum_bound, terms, unit_roundoff
from .registry import Algorithm, register


@register
class Direct(Algorithm):
    """Nested loops over n, k, p, q, c, r, s, with zero outside the image."""

    name = "direct"

    def supports(self, problem, dtype):
        return as_dtype(dtype).is_floating_point

    def workspace(self, problem, dtype, which="forward"):
        return 0

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), "float64") + unit_roundoff(dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None):
        y = backend.zeros(problem.y_shape, "float64")
        for n, k, p, q, c, r, s, h, v in _products(problem):
            y[n, k, p, q] += float(x[n, c, h, v]) * float(w[k, c % w.shape[1], r, s])
        if bias is not None:
            y += bias[:, None, None]
        return _deliver(y, x.dtype, out)

    def grad_input(self, backend, problem, dy, w, out=None):
        dx = backend.zeros(problem.x_shape, "float64")
        for n, k, p, q, c, r, s, h, v in _products(problem):
            dx[n, c, h, v] += float(dy[n, k, p, q]) * float(w[k, c % w.shape[1], r, s])
        return _deliver(dx, dy.dtype, out)

    def grad_weight(self, backend, problem, dy, x, out=None):
        dw = backend.zeros(problem.w_shape, "float64")
        for n, k, p, q, c, r, s, h, v in _products(problem):
            dw[k, c % dw.shape[1], r, s] += float(dy[n, k, p, q]) * float(x[n, c, h, v])
        return _deliver(dw, dy.dtype, out)


def _products(g):
    """Every (n, k, p, q, c, r, s) and the input pixel (h, v) it reads, borders left out."""
    deep, wide = g.C // g.groups, g.K // g.groups
    for n, k, p, q in product(range(g.N), range(g.K), range(g.P), range(g.Q)):
        group = k // wide
        for c, r, s in product(range(group * deep, (group + 1) * deep), range(g.R), range(g.S)):
            h = p * g.stride[0] + r * g.dilation[0] - g.padding[0][0]
            v = q * g.stride[1] + s * g.dilation[1] - g.padding[1][0]
            if 0 <= h < g.H and 0 <= v < g.W:
                yield n, k, p, q, c, r, s, h, v


def _deliver(result, dtype, out):
    if out is None:
        return result.astype(dtype)
    out[...] = result
    return out
