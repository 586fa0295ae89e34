"""What follows a convolution, on a device: ``kernels/bias_relu_pool.cu``. y = pool(relu(scale · x + bias)) in one pass, and its gradient.

Arrays are (N, C, P, Q), dense N, P, Q, C in memory. Which pixel of a window won is kept as uint8: (N, ⌊P / 2⌋, ⌊Q / 2⌋, C / 4), two bits a
channel, or (N, ⌊P / 2⌋, ⌊Q / 2⌋, C), a byte a channel, where C does not divide or arrays lie at odd places. Backward takes either.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, accumulator
from ..registry import Example, example
from .plane_examples import LARGE, LARGE_TYPES, corners, random_planes, to_winners
from .planes import check_channels, check_same, entry_of, over_channels, over_lines, over_rows, pixels, width
from .planes import version as version_of


def bias_relu(backend, x, scale=None, bias=None, out=None, version: str | None = None):
    """relu(scale · x + bias), rounded once.

    Args:
        x: (N, C, P, Q).
        scale, bias: (C,), float64 for float64, else float32, or None.
        out: as ``x``, or ``x`` itself; a new array if None.
        version: "scalar" or "vector"; None takes the fastest that can.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    n, c, p, q = _checked(x, scale, bias)
    out = backend.empty(x.shape, x.dtype, "channels_last") if out is None else out
    check_same("out", out, x.shape, x.dtype)
    pixels("out", out)
    if x.size:
        v, entry = _entry("bias_relu", version, width(backend, c, x, out, scale, bias), x)
        arguments = x, _or_nothing(scale), _or_nothing(bias), out, np.int64(n * p * q), np.int32(c)
        backend.launch(entry, *over_lines(c, v, n * p * q), arguments)
    return out


def bias_relu_pool(backend, x, scale=None, bias=None, winners: bool = True, version: str | None = None):
    """The maximum of every 2 × 2 pixels of relu(scale · x + bias).

    Args:
        winners: also say which pixel won (for backward).
        (others): as for :func:`bias_relu`.

    Returns:
        (y, winners): y is (N, C, ⌊P / 2⌋, ⌊Q / 2⌋), channels last in memory; winners are uint8, or None.

    Raises:
        ValueError, TypeError: as :func:`bias_relu`, and if there is no room for a window.
    """
    n, c, p, q = _checked(x, scale, bias)
    if min(p, q) < 2:
        raise ValueError(f"x must have at least 2 x 2 pixels, got shape {x.shape}")
    y = backend.empty((n, c, p // 2, q // 2), x.dtype, "channels_last")
    v, entry = _entry("bias_relu_pool", version, width(backend, c, x, y, scale, bias), x)
    places = backend.empty((n, p // 2, q // 2, c // 4 if v > 1 else c), "uint8") if winners else None
    if x.size:
        arguments = x, _or_nothing(scale), _or_nothing(bias), y, _or_nothing(places), *map(np.int32, (n, p, q, c))
        backend.launch(entry, *over_rows(c, v, n * (p // 2), q // 2), arguments)
    return y, places


def bias_relu_backward(backend, g, y, out=None, version: str | None = None):
    """(∂L/∂x without the scale, ∂L/∂bias) of :func:`bias_relu` from the gradient and the value of its result.

    Args:
        g, y: (N, C, P, Q).
        out: where the first goes; it may not be ``g`` or ``y``.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    check_same("g", g, y.shape, y.dtype)
    out = backend.empty(y.shape, y.dtype, "channels_last") if out is None else out
    check_same("out", out, y.shape, y.dtype)
    return out, _sums(backend, g, y, out, version)


def bias_gradient(backend, g, version: str | None = None):
    """Σ over n, p and q of ``g`` (N, C, P, Q): the gradient of a bias that no ReLU follows."""
    return _sums(backend, g, None, None, version)


def bias_relu_pool_backward(backend, g, y, winners, shape, version: str | None = None):
    """(∂L/∂x without the scale, ∂L/∂bias) of :func:`bias_relu_pool`.

    Args:
        g, y: gradient and value of the result, (N, C, ⌊P / 2⌋, ⌊Q / 2⌋).
        winners: what forward returned, or the place 2·i + j of each winner as a byte a channel, (N, ⌊P / 2⌋, ⌊Q / 2⌋, C), contiguous.
        shape: (N, C, P, Q) of x.
        version: "scalar" or "vector"; None takes the fastest that can.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    n, c, p, q = shape
    check_same("y", y, (n, c, p // 2, q // 2), y.dtype)
    check_same("g", g, y.shape, y.dtype)
    for name, array in (("g", g), ("y", y)):
        pixels(name, array)
    dy = backend.empty(shape, y.dtype, "channels_last")
    v, entry = _entry("bias_relu_pool_backward", version, width(backend, c, g, y, dy, winners), y)
    packed = winners.shape[-1] != c
    check_same("winners", winners, (n, p // 2, q // 2, c // 4 if packed else c), np.uint8)
    if not winners.flags.c_contiguous or (packed and v == 1):
        raise ValueError(f"winners must be contiguous, and unpacked for the scalar version; got shape {winners.shape}, strides {winners.strides}")
    if v > 1 and not packed:
        entry = entry.replace("backward", "backward_bytes")
    if dy.size == 0:
        return dy, backend.zeros((c,), y.dtype)
    grid, block = over_rows(c, v, n * -(-p // 2), -(-q // 2), summing=True)
    partial = backend.workspace("bias_relu_pool.partial", (grid[1], c), "float64")
    backend.launch(entry, grid, block, (g, y, winners, dy, partial, *map(np.int32, (n, p, q, c))))
    return dy, _finish(backend, partial, y.dtype)


def _sums(backend, g, y, dy, version):
    n, c, p, q = g.shape
    for name, array in (("g", g), ("y", y), ("out", dy)):
        if array is not None:
            pixels(name, array)
    if g.size == 0:
        return backend.zeros((c,), g.dtype)
    v, entry = _entry("bias_relu_backward", version, width(backend, c, g, y, dy), g)
    grid, block = over_lines(c, v, n * p * q, summing=True)
    partial = backend.workspace("bias_relu_pool.partial", (grid[1], c), "float64")
    backend.launch(entry, grid, block, (g, _or_nothing(y), _or_nothing(dy), partial, np.int64(n * p * q), np.int32(c)))
    return _finish(backend, partial, g.dtype)


def _finish(backend, partial, dtype):
    lines, c = partial.shape
    out = backend.empty((c,), dtype)
    backend.launch(entry_of("add_lines", out), *over_channels(c), (partial, out, np.int32(lines), np.int32(c)))
    return out


def _checked(x, scale, bias):
    pixels("x", x)
    check_channels("scale", scale, x.shape[1], x.dtype)
    check_channels("bias", bias, x.shape[1], x.dtype)
    return x.shape


def _entry(name, asked, v, array):
    middle = version_of(asked, v)
    return 1 if middle else v, entry_of(f"{name}{middle}", array)


def _or_nothing(array):
    return NULL if array is None else array


@example("bias_relu_pool")
def examples(backend, rng, size):
    """Both versions, planes with odd last rows and columns, winners of either kind; outputs of VGG-16's convolutions."""
    if size == "small":
        for dtype in SUFFIX:
            for channels, shape in ((5, (2, 5, 5, 4)), (16, (2, 16, 4, 7))):
                x, vectors = random_planes(backend, rng, shape, dtype), _vectors(backend, rng, channels, dtype)
                yield _bias_relu_example(backend, x, *vectors)
                yield _pool_example(backend, x, *vectors)
                yield _backward_example(backend, rng, x)
                yield _bias_gradient_example(backend, x)
                yield from (_pool_backward_example(backend, rng, x, packed) for packed in {channels == 16, False})
        return
    for dtype in LARGE_TYPES:
        for shape in LARGE:
            x, (_, bias) = random_planes(backend, rng, shape, dtype), _vectors(backend, rng, shape[1], dtype)
            yield _bias_relu_example(backend, x, None, bias)
            yield _pool_example(backend, x, None, bias)
            yield _backward_example(backend, rng, x)
            yield _bias_gradient_example(backend, x)
            yield from (_pool_backward_example(backend, rng, x, packed) for packed in (True, False))


def _vectors(backend, rng, channels, dtype):
    kind = accumulator(np.dtype(np.float64) if dtype == "float64" else np.dtype(np.float32))
    return random_array(backend, rng, (channels,), kind), random_array(backend, rng, (channels,), kind)


def _activated(backend, x, scale, bias):
    value = exact(backend, x) * (1 if scale is None else exact(backend, scale)[:, None, None])
    return value + exact(backend, bias)[:, None, None]


def _named(name, backend, x, run, expected, moved):
    _, entry = _entry(name, None, width(backend, x.shape[1], x), x)
    return Example(f"{entry} of {'x'.join(map(str, x.shape))}", run, expected, TOLERANCE[x.dtype.name], bytes=moved, entry=entry)


def _bias_relu_example(backend, x, scale, bias):
    def run():
        return {"y": bias_relu(backend, x, scale, bias)}

    return _named("bias_relu", backend, x, run, lambda: {"y": np.maximum(_activated(backend, x, scale, bias), 0)}, 2 * x.nbytes)


def _pool_example(backend, x, scale, bias):
    def run():
        return {"y": bias_relu_pool(backend, x, scale, bias)[0]}

    def expected():
        return {"y": np.maximum(corners(_activated(backend, x, scale, bias)).max(0), 0)}

    windows = x.size // 4
    moved = x.nbytes + windows * x.itemsize + windows // (4 if x.shape[1] % 4 == 0 else 1)
    return _named("bias_relu_pool", backend, x, run, expected, moved)


def _backward_example(backend, rng, x):
    g = random_planes(backend, rng, x.shape, x.dtype.name)

    def run():
        return dict(zip(("dy", "db"), bias_relu_backward(backend, g, x), strict=True))

    def expected():
        dy = exact(backend, g) * (exact(backend, x) > 0)
        return {"dy": dy, "db": dy.sum((0, 2, 3))}

    return _named("bias_relu_backward", backend, x, run, expected, 3 * x.nbytes)


def _bias_gradient_example(backend, x):
    def run():
        return {"db": bias_gradient(backend, x)}

    case = _named("bias_relu_backward", backend, x, run, lambda: {"db": exact(backend, x).sum((0, 2, 3))}, x.nbytes)
    return replace(case, title=f"{case.title}, sums only")


def _pool_backward_example(backend, rng, x, packed):
    c = x.shape[1]
    y, winners = bias_relu_pool(backend, x, version=None if packed else "scalar")
    g = random_planes(backend, rng, y.shape, x.dtype.name)

    def run():
        dy, db = bias_relu_pool_backward(backend, g, y, winners, x.shape)
        return {"dy": dy, "db": db}

    def expected():
        sent = exact(backend, g) * (exact(backend, y) > 0)
        return {"dy": to_winners(sent, corners(exact(backend, x)).argmax(0), x.shape), "db": sent.sum((0, 2, 3))}

    name = "bias_relu_pool_backward" + ("" if packed or width(backend, c, x) == 1 else "_bytes")
    return _named(name, backend, x, run, expected, x.nbytes + 2 * y.nbytes + winners.nbytes)
