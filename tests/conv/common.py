"""What the tests of convolutions share: problems, operands, memory layouts, and a truth in extended precision."""

from __future__ import annotations

import numpy as np

from scratchvgg.array import CPU, get_backend
from scratchvgg.conv import PASSES, Problem, algorithms, get
from tests import layouts

backend = get_backend(CPU)
NONE = ((0, 0), (0, 0))
ONE = ((1, 1), (1, 1))
TWO = ((2, 2), (2, 2))
PROBLEMS = {
    "vgg": Problem(2, 3, 6, 5, 4, 3, 3, (1, 1), ONE),
    "valid": Problem(1, 2, 5, 6, 3, 3, 3),
    "several tiles": Problem(2, 5, 19, 23, 6, 3, 3, (1, 1), ONE),
    "stride": Problem(2, 2, 7, 8, 3, 3, 3, (2, 3), ONE),
    "stride leaves rows over": Problem(1, 2, 8, 8, 2, 3, 2, (3, 3), NONE),
    "dilation": Problem(1, 2, 9, 8, 3, 3, 2, (1, 1), ONE, (2, 3)),
    "stride and dilation": Problem(1, 2, 9, 9, 2, 2, 3, (2, 2), ((2, 2), (1, 1)), (3, 1)),
    "asymmetric padding": Problem(2, 2, 4, 5, 3, 2, 4, (1, 1), ((0, 1), (1, 2))),
    "asymmetric padding, 3x3": Problem(2, 2, 4, 5, 3, 3, 3, (1, 1), ((0, 2), (2, 1))),
    "padding beyond the filter": Problem(1, 2, 3, 3, 2, 2, 2, (1, 1), ((3, 3), (2, 2))),
    "one output": Problem(2, 3, 3, 3, 2, 3, 3),
    "1x1": Problem(2, 4, 3, 5, 3, 1, 1),
    "1x1 padded": Problem(1, 2, 3, 3, 2, 1, 1, (1, 1), ONE),
    "1x1 strided": Problem(1, 2, 5, 5, 2, 1, 1, (2, 2)),
    "1x1 strided, padded, grouped": Problem(2, 4, 5, 6, 2, 1, 1, (3, 2), ((4, 1), (1, 3)), (1, 1), 2),
    "5x5": Problem(2, 3, 9, 11, 4, 5, 5, (1, 1), TWO),
    "7x7": Problem(1, 3, 10, 8, 2, 7, 7, (1, 1), ((3, 3), (3, 3))),
    "11x11": Problem(1, 2, 13, 12, 2, 11, 11, (1, 1), TWO),
    "a row": Problem(1, 3, 4, 20, 2, 1, 7, (1, 1), ((0, 0), (3, 3))),
    "whole image": Problem(3, 2, 4, 4, 5, 4, 4),
    "groups": Problem(2, 6, 5, 5, 4, 3, 3, (1, 1), ONE, (1, 1), 2),
    "depthwise": Problem(1, 4, 5, 4, 8, 3, 3, (2, 1), ONE, (1, 1), 4),
    "depthwise 5x5": Problem(2, 4, 8, 7, 4, 5, 5, (1, 1), TWO, (1, 1), 4),
    "one pixel": Problem(1, 1, 1, 1, 1, 1, 1),
    "no images": Problem(0, 2, 4, 4, 3, 3, 3, (1, 1), ONE),
}
LAYOUTS = {name: lambda a, arrange=layout.arrange: arrange(np, a) for name, layout in layouts.LAYOUTS.items()} | {
    "channels_first_of_all": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
}
DTYPES = ["float64", "float32", "float16"]
FAST = sorted(name for name in algorithms() if name != "direct")


def supported(*, algorithms=FAST, problems=PROBLEMS, dtypes=("float64",)):
    """Every (algorithm, problem's name, dtype) that the algorithm supports."""
    return [(a, name, d) for a in algorithms for name, g in problems.items() for d in dtypes if get(a).supports(g, d)]


def operands(g, dtype="float64", seed=0):
    """x, w, dy, bias: standard normal numbers."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in (g.x_shape, g.w_shape, g.y_shape, (g.K,))]


def passes(algorithm, g, x, w, dy, bias=None):
    """The three passes by name."""
    return {
        "forward": algorithm.forward(backend, g, x, w, bias),
        "grad_input": algorithm.grad_input(backend, g, dy, w),
        "grad_weight": algorithm.grad_weight(backend, g, dy, x),
    }


def exact(g, x, w, dy, bias=None):
    """The three passes in extended precision: for each tap, one product over the channels of all pixels that it sees."""
    x, w, dy = (np.asarray(a, np.longdouble) for a in (x, w, dy))
    padded = np.pad(x, ((0, 0), (0, 0), *g.padding))
    grouped = padded.reshape(g.N, g.groups, g.C // g.groups, *padded.shape[2:])
    w = w.reshape(g.groups, -1, *g.w_shape[1:])
    dy = dy.reshape(g.N, g.groups, g.K // g.groups, g.P, g.Q)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(grouped), np.zeros_like(w)
    for r in range(g.R):
        for s in range(g.S):
            rows = slice(r * g.dilation[0], r * g.dilation[0] + (g.P - 1) * g.stride[0] + 1, g.stride[0])
            columns = slice(s * g.dilation[1], s * g.dilation[1] + (g.Q - 1) * g.stride[1] + 1, g.stride[1])
            seen = grouped[..., rows, columns]
            y += np.einsum("ngcpq,gkc->ngkpq", seen, w[..., r, s])
            dx[..., rows, columns] += np.einsum("ngkpq,gkc->ngcpq", dy, w[..., r, s])
            dw[..., r, s] = np.einsum("ngkpq,ngcpq->gkc", dy, seen)
    y = y.reshape(g.y_shape) + (0 if bias is None else np.asarray(bias, np.longdouble)[:, None, None])
    (top, _), (left, _) = g.padding
    dx = dx.reshape(padded.shape)[:, :, top : top + g.H, left : left + g.W]
    return {"forward": y, "grad_input": dx, "grad_weight": dw.reshape(g.w_shape)}


def magnitudes(g, x, w, dy, bias=None):
    """The largest sum of absolute values of each pass: what error bounds are relative to."""
    sums = exact(g, *(np.abs(a) for a in (x, w, dy)), None if bias is None else np.abs(bias))
    return {which: float(s.max(initial=0)) for which, s in sums.items()}


def relative_errors(g, got, arrays):
    """max |error| / max S of each pass in ``got``."""
    truth, size = exact(g, *arrays), magnitudes(g, *arrays)
    return {
        which: float(np.abs(got[which] - truth[which]).max(initial=0)) / max(size[which], np.finfo(got[which].dtype).tiny) for which in got
    }


def assert_within_bounds(name, g, got, arrays, dtype):
    """Every pass of ``got`` errs by at most what algorithm ``name`` declares."""
    for which, error in relative_errors(g, got, arrays).items():
        bound = get(name).error_bound(g, dtype, which)
        assert error <= bound, f"{name} {which} of {g} in {dtype}: error {error:.3g} of the largest sum, bound {bound:.3g}"


__all__ = [
    "DTYPES", "FAST", "LAYOUTS", "ONE", "PASSES", "PROBLEMS", "assert_within_bounds", "backend", "exact", "magnitudes", "operands", "passes",
    "relative_errors", "supported",
]
