"""Max pooling on a device: ``kernels/max_pool.cu``. Arrays are (N, C, H, W), dense N, H, W, C in memory."""

from __future__ import annotations

import math

import numpy as np

from ..example_arrays import TOLERANCE, exact
from ..launch_size import NULL, SUFFIX
from ..registry import Example, example
from .plane_examples import LARGE, LARGE_TYPES, SMALL_WINDOWS, Windows, random_planes
from .planes import check_same, entry_of, flat, over_rows, pixels, width
from .pool_shape import pool_shape

VERSIONS = ("naive", "vector", "windows")


def max_pool(backend, x, kernel, stride, padding, dilation, out, winners: bool = True, version: str | None = None):
    """Maximum over sliding windows, the padding −∞.

    Args:
        x: (N, C, H, W).
        kernel, stride, padding, dilation: (vertical, horizontal); at most 256 elements in a window.
        out: (P, Q), the number of windows.
        winners: also say which offset k = r · S + s of each window won, uint8.
        version: "naive" or "vector"; None takes the fastest that can.

    Returns:
        (y, winners), both (N, C, P, Q), channels last in memory; or (y, None).

    Raises:
        ValueError, TypeError: for other arrays or larger windows.
    """
    pixels("x", x)
    _check_window(kernel)
    n, c = x.shape[:2]
    y = backend.empty((n, c, *out), x.dtype, "channels_last")
    places = backend.empty(y.shape, "uint8", "channels_last") if winners else None
    if y.size:
        shape = pool_shape(n, c, x.shape[2:], out, kernel, stride, padding, dilation)
        v, middle = _version(backend, version, c, x, y)
        grid, block = over_rows(c, v, n * out[0], out[1]) if v > 1 else flat(y.size)
        backend.launch(entry_of(f"max_pool_forward{middle}", x), grid, block, (x, y, NULL if places is None else places, shape))
    return y, places


def max_pool_backward(backend, g, winners, size, kernel, stride, padding, dilation, version: str | None = None):
    """The gradient of the input: every g goes to its window's winner.

    Args:
        g, winners: (N, C, P, Q).
        size: (H, W) of the input.
        version: "naive", "vector" or "windows" (where the windows tile the input); None takes the fastest that can.
        (others): as for :func:`max_pool`.

    Returns:
        (N, C, H, W), channels last in memory.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    _check_window(kernel)
    check_same("winners", winners, g.shape, np.uint8)
    for name, array in (("g", g), ("winners", winners)):
        pixels(name, array)
    n, c, *out = g.shape
    gx = backend.empty((n, c, *size), g.dtype, "channels_last")
    if gx.size:
        axes = zip(kernel, stride, padding, dilation, out, size, strict=True)
        tiles = all(s == k and p == 0 and d == 1 and o * k == length for k, s, p, d, o, length in axes)
        shape = pool_shape(n, c, size, out, kernel, stride, padding, dilation)
        v, middle = _version(backend, version, c, g, gx, tiles)
        windows = middle == "_windows"
        grid, block = over_rows(c, v, n * (out if windows else size)[0], (out if windows else size)[1]) if v > 1 else flat(gx.size)
        backend.launch(entry_of(f"max_pool_backward{middle}", g), grid, block, (g, winners, gx, shape))
    return gx


def _version(backend, asked, channels, a, b, tiles=False):
    """(channels a thread, middle of the name)."""
    v = width(backend, channels, a, b)
    if asked not in (None, *VERSIONS) or (asked in ("vector", "windows") and v == 1) or (asked == "windows" and not tiles):
        raise ValueError(f"version {asked!r} is not possible for {channels} channels of {a.dtype}, windows that tile the input: {tiles}")
    if v == 1 or asked == "naive":
        return 1, "_naive"
    return v, "_windows" if tiles and asked != "vector" else ""


def _check_window(kernel):
    if math.prod(kernel) > 256:
        raise ValueError(f"kernel must have at most 256 elements, got {tuple(kernel)}")


@example("max_pool")
def examples(backend, rng, size):
    """Windows that tile, overlap and hang over the edge, dilation, ties, maxima below 0; VGG-16's pools, and those of 3 × 3 in steps of 2."""
    if size == "small":
        dilated = Windows((7, 9), (2, 3), (2, 1), (1, 1), (2, 3), (4, 5))
        for dtype in SUFFIX:
            for windows in (*SMALL_WINDOWS, dilated):
                for channels in (3, 8):
                    x = random_planes(backend, rng, (2, channels, *windows.size), dtype, rectified=windows is not dilated)
                    yield from (_example(backend, rng, x, windows, backward) for backward in (False, True))
        x = random_planes(backend, rng, (2, 8, *SMALL_WINDOWS[0].size), "float32", rectified=True)
        yield from (_example(backend, rng, x, SMALL_WINDOWS[0], True, version) for version in ("naive", "vector"))
        return
    for dtype in LARGE_TYPES:
        for n, c, h, w in LARGE:
            for kernel, padding in ((2, 0), (3, 1)):
                windows = Windows((h, w), (kernel, kernel), (2, 2), (padding, padding), (1, 1), (h // 2, w // 2))
                x = random_planes(backend, rng, (n, c, h, w), dtype)
                yield from (_example(backend, rng, x, windows, backward) for backward in (False, True))


def _example(backend, rng, x, windows, backward, version=None):
    geometry = windows.kernel, windows.stride, windows.padding, windows.dilation
    y, winners = max_pool(backend, x, *geometry, windows.out)
    g = random_planes(backend, rng, y.shape, x.dtype.name)

    def run():
        if backward:
            return {"gx": max_pool_backward(backend, g, winners, windows.size, *geometry, version=version)}
        return dict(zip(("y", "winners"), max_pool(backend, x, *geometry, windows.out, version=version), strict=True))

    def expected():
        seen = windows.each(exact(backend, x), -np.inf)
        place = seen.argmax(0)
        if not backward:
            return {"y": seen.max(0), "winners": place}
        return {"gx": windows.spread(np.where(np.arange(len(seen))[:, None, None, None, None] == place, exact(backend, g), 0))}

    tiles = all(p == 0 and s == k and o * s == n for p, s, k, o, n in zip(
        windows.padding, windows.stride, windows.kernel, windows.out, windows.size, strict=True
    ))  # fmt: skip
    entry = entry_of(f"max_pool_{'backward' if backward else 'forward'}{_version(backend, version, x.shape[1], x, y, tiles and backward)[1]}", x)
    moved = x.nbytes + y.nbytes + winners.nbytes
    return Example(f"{entry}, {x.shape[0]}x{x.shape[1]} planes, {windows}", run, expected, TOLERANCE[x.dtype.name], bytes=moved, entry=entry)
