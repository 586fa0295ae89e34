"""Local response normalisation (Krizhevsky et al. 2012): y_c = x_c / d_c^β with d_c = k + (α/n) Σ x²_j over n channels around c.

The window reaches ⌊n/2⌋ channels down and ⌊(n − 1)/2⌋ up; channels outside count as 0. Backward:
∂L/∂x_c = g_c d_c^−β − (2αβ/n) x_c Σ g_j x_j d_j^(−β−1) over the mirrored window.
"""

from __future__ import annotations

from ..autograd import Op, ops
from .common import check_tensor
from .precision import widen


class LocalResponseNorm(Op):
    """Keeps x and d."""

    name = "local_response_norm"

    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        xp, ctx.size, ctx.alpha, ctx.beta = ctx.xp, size, alpha, beta
        wide = widen(xp, x)
        d = _window_sums(xp, xp.square(wide), size // 2, (size - 1) // 2)
        d *= alpha / size
        d += k
        ctx.save(x=x, d=d)
        return (wide * xp.power(d, -beta)).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx, g):
        x, d = ctx.saved
        xp, n = ctx.xp, ctx.size
        gx = g * xp.power(d, -ctx.beta)
        gx -= (2 * ctx.alpha * ctx.beta / n) * x * _window_sums(xp, gx * x / d, (n - 1) // 2, n // 2)
        return gx, None, None, None, None


def _window_sums(xp, a, below, above):
    """Σ a_j over channels c − below … c + above (axis 1)."""
    total, channels = a.copy("K"), a.shape[1]
    for shift in range(1, min(below, channels - 1) + 1):
        total[:, shift:] += a[:, :-shift]
    for shift in range(1, min(above, channels - 1) + 1):
        total[:, :-shift] += a[:, shift:]
    return total


@ops.register
def local_response_norm(input, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
    """Divide each value by a power of the squares of ``size`` neighbouring channels.

    Args:
        input: (N, C, L, …).
        size: channels in the window.

    Raises:
        ValueError: fewer than three dimensions. RuntimeError: integer input, or size below 1.
    """
    check_tensor("local_response_norm", "input", input)
    if input.ndim < 3:
        raise ValueError(f"local_response_norm: input must be (N, C, L, ...), got shape {tuple(input.shape)}")
    if not input.dtype.is_floating_point or size < 1:
        raise RuntimeError(f"local_response_norm: input must be floating and size at least 1, got {input.dtype} and {size}")
    return LocalResponseNorm.apply(input, int(size), alpha, beta, k)
