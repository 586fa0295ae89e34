"""Adaptive average pooling on a device: ``kernels/adaptive_pool.cu``. Arrays are (N, C, H, W), dense N, H, W, C in memory."""

from __future__ import annotations

from .avg_pool import pool_pass
from .pool_shape import pool_shape


def adaptive_avg_pool(backend, x, out, version: str | None = None):
    """Means over P × Q ranges that cover the planes of ``x`` (N, C, H, W) evenly.

    Args:
        out: (P, Q).
        version: "naive" or "vector"; None takes the fastest that can.

    Returns:
        (N, C, P, Q), channels last in memory.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    shape = pool_shape(*x.shape[:2], x.shape[2:], out)
    return pool_pass(backend, "adaptive_avg_pool_forward", "x", x, tuple(out), (shape,), version)


def adaptive_avg_pool_backward(backend, g, size, version: str | None = None):
    """The gradient (N, C, H, W) of the input from ``g`` (N, C, P, Q); ``size`` is (H, W)."""
    shape = pool_shape(*g.shape[:2], size, g.shape[2:])
    return pool_pass(backend, "adaptive_avg_pool_backward", "g", g, tuple(size), (shape,), version)
