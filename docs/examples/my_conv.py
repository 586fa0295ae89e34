"""taps: a convolution algorithm of one's own, in one file. See docs/your-own-algorithm.md.

A 3×3 convolution is nine 1×1 convolutions of shifted images, added up. Each is one matrix product over the channels: with the pixels that
tap (r, s) meets as the rows of X (N·P·Q, C) and W[r, s] (C, K),

    forward       Y       += X · W[r, s]
    grad_input    dX       += dY · W[r, s]ᵀ     added to the pixels that X came from
    grad_weight   dW[r, s]  = dYᵀ · X
"""

from scratchvgg.array.dtypes import as_dtype
from scratchvgg.conv import Algorithm, register
from scratchvgg.conv.errors import sum_bound, terms


@register
class Taps(Algorithm):
    """Any filter, stride, padding and dilation; one group; float32 and float64."""

    name = "taps"

    def supports(self, problem, dtype):
        return problem.groups == 1 and as_dtype(dtype).name in ("float32", "float64")

    def workspace(self, problem, dtype, which="forward"):
        return 0  # its arrays are ordinary ones, not the backend's scratch

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)  # nothing but products added up

    def forward(self, backend, problem, x, w, bias=None, out=None):
        g, xp = problem, backend.xp
        padded = pad(backend, g, x)
        y = xp.zeros((g.N, g.P, g.Q, g.K), x.dtype)
        for r, s, rows, columns in taps(g):
            y += padded[:, rows, columns] @ w[:, :, r, s].T
        if bias is not None:
            y += bias
        return deliver(y.transpose(0, 3, 1, 2), out)

    def grad_input(self, backend, problem, dy, w, out=None):
        g = problem
        gradient = dy.transpose(0, 2, 3, 1)
        padded = pad(backend, g, backend.zeros(g.x_shape, dy.dtype))
        for r, s, rows, columns in taps(g):
            padded[:, rows, columns] += gradient @ w[:, :, r, s]
        (top, _), (left, _) = g.padding
        return deliver(padded[:, top : top + g.H, left : left + g.W].transpose(0, 3, 1, 2), out)

    def grad_weight(self, backend, problem, dy, x, out=None):
        g = problem
        padded = pad(backend, g, x)
        gradient = dy.transpose(0, 2, 3, 1).reshape(-1, g.K)
        dw = backend.empty(g.w_shape, x.dtype)
        for r, s, rows, columns in taps(g):
            dw[:, :, r, s] = gradient.T @ padded[:, rows, columns].reshape(-1, g.C)
        return deliver(dw, out)


def taps(g):
    """Each place (r, s) of the filter, and the padded rows and columns that it meets on its way over the image."""
    for r in range(g.R):
        for s in range(g.S):
            top, left = r * g.dilation[0], s * g.dilation[1]
            rows = slice(top, top + (g.P - 1) * g.stride[0] + 1, g.stride[0])
            columns = slice(left, left + (g.Q - 1) * g.stride[1] + 1, g.stride[1])
            yield r, s, rows, columns


def pad(backend, g, x):
    """(N, C, H, W) as (N, H', W', C) between zeros: a pixel's channels side by side."""
    return backend.xp.pad(x.transpose(0, 2, 3, 1), ((0, 0), *g.padding, (0, 0)))


def deliver(result, out):
    """The result itself, or in the array that the caller gave."""
    if out is None:
        return result
    out[...] = result
    return out
