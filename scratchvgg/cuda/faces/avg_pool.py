"""Average pooling on a device: ``kernels/avg_pool.cu``. Arrays are (N, C, H, W), dense N, H, W, C in memory."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact
from ..launch_size import SUFFIX
from ..registry import Example, example
from .plane_examples import LARGE, LARGE_TYPES, SMALL_WINDOWS, Windows, random_planes
from .planes import entry_of, flat, over_rows, pixels, width
from .pool_shape import pool_shape


def avg_pool(backend, x, kernel, stride, padding, out, count_include_pad: bool = True, divisor: int = 0, version: str | None = None):
    """Mean over sliding windows.

    Args:
        x: (N, C, H, W).
        kernel, stride, padding: (vertical, horizontal).
        out: (P, Q), the number of windows.
        count_include_pad: padding counts in what a sum is divided by.
        divisor: divide by this instead, unless it is 0.
        version: "naive" or "vector"; None takes the fastest that can.

    Returns:
        (N, C, P, Q), channels last in memory.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    shape = pool_shape(*x.shape[:2], x.shape[2:], out, kernel, stride, padding)
    return pool_pass(backend, "avg_pool_forward", "x", x, out, (shape, np.int32(count_include_pad), np.int64(divisor)), version)


def avg_pool_backward(backend, g, size, kernel, stride, padding, count_include_pad: bool = True, divisor: int = 0, version: str | None = None):
    """The gradient (N, C, H, W) of the input from ``g`` (N, C, P, Q); ``size`` is (H, W), the rest as for :func:`avg_pool`."""
    shape = pool_shape(*g.shape[:2], size, g.shape[2:], kernel, stride, padding)
    return pool_pass(backend, "avg_pool_backward", "g", g, size, (shape, np.int32(count_include_pad), np.int64(divisor)), version)


def pool_pass(backend, name, argument, source, size, rest, version):
    """Launch ``name`` from (N, C, ·, ·) to a new array of planes of ``size``; ``rest`` are the arguments after the arrays."""
    pixels(argument, source)
    n, c = source.shape[:2]
    target = backend.empty((n, c, *size), source.dtype, "channels_last")
    v = width(backend, c, source, target)
    if version not in (None, "naive", "vector") or (version == "vector" and v == 1):
        raise ValueError(f"{name}: version {version!r} is not possible: it must be 'naive', or 'vector' for whole groups of channels")
    if target.size:
        naive = v == 1 or version == "naive"
        grid, block = flat(target.size) if naive else over_rows(c, v, n * size[0], size[1])
        backend.launch(entry_of(f"{name}{'_naive' if naive else ''}", source), grid, block, (source, target, *rest))
    return target


@example("avg_pool")
def examples(backend, rng, size):
    """Every way of counting, windows that tile, overlap and hang over the edge; 2 × 2 means of VGG-16's activations."""
    if size == "small":
        for dtype in SUFFIX:
            for windows, count in zip(SMALL_WINDOWS, ((True, 0), (False, 0), (True, 5)), strict=True):
                for channels in (3, 8):
                    x = random_planes(backend, rng, (2, channels, *windows.size), dtype)
                    yield from (_example(backend, rng, x, windows, count, backward) for backward in (False, True))
        return
    for dtype in LARGE_TYPES:
        for n, c, h, w in LARGE:
            windows = Windows((h, w), (2, 2), (2, 2), (0, 0), (1, 1), (h // 2, w // 2))
            x = random_planes(backend, rng, (n, c, h, w), dtype)
            yield from (_example(backend, rng, x, windows, (True, 0), backward) for backward in (False, True))


def _example(backend, rng, x, windows, count, backward):
    geometry = windows.kernel, windows.stride, windows.padding
    g = random_planes(backend, rng, (*x.shape[:2], *windows.out), x.dtype.name)

    def run():
        if backward:
            return {"gx": avg_pool_backward(backend, g, windows.size, *geometry, *count)}
        return {"y": avg_pool(backend, x, *geometry, windows.out, *count)}

    def expected():
        include, divisor = count
        ones = np.ones((1, 1, *windows.size))
        if include:  # padding counts, what lies beyond it does not
            (top, left), (h, w) = windows.padding, windows.size
            around = np.pad(ones, [(0, 0), (0, 0), (top, top), (left, left)], constant_values=1.0)
            reach = Windows((h + 2 * top, w + 2 * left), windows.kernel, windows.stride, (0, 0), (1, 1), windows.out)
            counted = reach.each(around).sum(0)
        else:
            counted = windows.each(ones).sum(0)
        counted = divisor or counted
        if backward:
            return {"gx": windows.spread(np.broadcast_to(exact(backend, g) / counted, (len(windows.places()), *g.shape)))}
        return {"y": windows.each(exact(backend, x)).sum(0) / counted}

    name = f"avg_pool_{'backward' if backward else 'forward'}{'' if width(backend, x.shape[1], x) > 1 else '_naive'}"
    entry = entry_of(name, x)
    title = f"{entry}, {x.shape[0]}x{x.shape[1]} planes, {windows}, counting {count}"
    return Example(title, run, expected, TOLERANCE[x.dtype.name], bytes=x.nbytes + g.nbytes, entry=entry)
