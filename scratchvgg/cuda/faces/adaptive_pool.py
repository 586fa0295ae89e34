"""Adaptive average pooling on a device: ``kernels/adaptive_pool.cu``. Arrays are (N, C, H, W), dense N, H, W, C in memory."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact
from ..launch_size import SUFFIX
from ..registry import Example, example
from .avg_pool import pool_pass
from .plane_examples import LARGE_TYPES, random_planes
from .planes import entry_of
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


@example("adaptive_pool")
def examples(backend, rng, size):
    """Ranges that overlap, repeat and cover everything; VGG-16's head on images of 288 pixels, and the mean of whole planes."""
    if size == "small":
        for dtype in SUFFIX:
            for channels in (3, 8):
                for plane, out in (((7, 5), (3, 2)), ((2, 1), (5, 3)), ((4, 6), (1, 1))):
                    x = random_planes(backend, rng, (2, channels, *plane), dtype)
                    yield from (_example(backend, rng, x, out, backward) for backward in (False, True))
        return
    for dtype in LARGE_TYPES:
        for plane, out in (((9, 9), (7, 7)), ((14, 14), (1, 1))):
            x = random_planes(backend, rng, (256, 512, *plane), dtype)
            yield from (_example(backend, rng, x, out, backward) for backward in (False, True))


def _example(backend, rng, x, out, backward):
    g = random_planes(backend, rng, (*x.shape[:2], *out), x.dtype.name)

    def run():
        return {"gx": adaptive_avg_pool_backward(backend, g, x.shape[2:])} if backward else {"y": adaptive_avg_pool(backend, x, out)}

    def expected():
        down, across = (_means(n, o) for n, o in zip(x.shape[2:], out, strict=True))
        if backward:
            return {"gx": np.einsum("ph,ncpq,qw->nchw", down, exact(backend, g), across)}
        return {"y": np.einsum("ph,nchw,qw->ncpq", down, exact(backend, x), across)}

    entry = entry_of(f"adaptive_avg_pool_{'backward' if backward else 'forward'}{'' if x.shape[1] % 8 == 0 else '_naive'}", x)
    title = f"{entry}, {'x'.join(map(str, x.shape))} to {out[0]}x{out[1]}"
    return Example(title, run, expected, TOLERANCE[x.dtype.name], bytes=x.nbytes + g.nbytes, entry=entry)


def _means(size, out):
    """(out, size): the matrix that takes the mean over each range."""
    matrix = np.zeros((out, size))
    for i in range(out):
        start, stop = i * size // out, -(-(i + 1) * size // out)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
