"""Batch normalisation on a device: ``kernels/batch_norm.cu``. Arrays are (M, C), contiguous, or (N, C, H, W), dense N, H, W, C in memory.

Training never asks the host for anything: the statistics, what is made of them and the running statistics stay on the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, accumulator
from ..registry import Example, example
from .plane_examples import LARGE, LARGE_TYPES, corners, to_winners
from .planes import check_channels, check_same, entry_of, flat, over_channels, over_lines, over_rows, width
from .planes import version as version_of


class Line(NamedTuple):
    """What a channel needs, made by :func:`batch_statistics` or :func:`running_statistics`.

    Attributes:
        line: (3, C) of the type that sums are kept in: centre, scale, shift of y = (x − centre) · scale + shift.
        kept: (2, C) float64: mean − centre and 1 / √(variance + eps).
    """

    line: Any
    kept: Any


def batch_statistics(
    backend, x, eps: float, weight=None, bias=None, running_mean=None, running_var=None, momentum: float = 0.1, version: str | None = None
) -> Line:
    """The :class:`Line` of the batch ``x`` (M, C); the running statistics move by ``momentum`` (the variance unbiased).

    Args:
        weight, bias, running_mean, running_var: (C,) of the type that sums are kept in, contiguous, or None.
        version: "naive", "scalar" or "vector"; None takes the fastest that can.

    Raises:
        ValueError, TypeError: for other arrays, or no pixels.
    """
    m, c = _check_matrix("x", x)
    if m == 0:
        raise ValueError(f"x must have at least one pixel, got shape {x.shape}")
    for name, vector in (("weight", weight), ("bias", bias), ("running_mean", running_mean), ("running_var", running_var)):
        check_channels(name, vector, c, x.dtype)
    if version == "naive":
        middle, (grid, block) = "_naive", ((-(-c // 32), 1), (32,))
    else:
        v, middle = _version(version, width(backend, c, x))
        grid, block = over_lines(c, v, m, summing=True)
    lines = grid[1]
    partial = backend.workspace("batch_norm.partial", (3, lines, c), "float64")
    backend.launch(entry_of(f"batch_norm_statistics{middle}", x), grid, block, (x, partial, np.int64(m), np.int32(c)))
    out = _new_line(backend, c, x.dtype)
    vectors = map(_or_nothing, (weight, bias, running_mean, running_var))
    arguments = partial, np.int32(lines), np.float64(eps), np.float64(momentum), *vectors, *out, np.int32(c)
    backend.launch(f"batch_norm_finish_{_wide_suffix(x)}", *over_channels(c), arguments)
    return out


def running_statistics(backend, mean, var, eps: float, dtype, weight=None, bias=None) -> Line:
    """The :class:`Line` of evaluation on inputs of ``dtype``; vectors as for :func:`batch_statistics`."""
    (c,) = mean.shape
    for name, vector in (("mean", mean), ("var", var), ("weight", weight), ("bias", bias)):
        check_channels(name, vector, c, np.dtype(dtype))
    out = _new_line(backend, c, np.dtype(dtype))
    arguments = mean, var, np.float64(eps), _or_nothing(weight), _or_nothing(bias), *out, np.int32(c)
    backend.launch(f"batch_norm_prepare_{SUFFIX[mean.dtype.name]}", *flat(c), arguments)
    return out


def normalise(backend, x, line: Line, relu: bool = False, version: str | None = None):
    """(x − centre) · scale + shift of ``x`` (M, C), and max(·, 0) if ``relu``. Returns (M, C)."""
    m, c = _check_matrix("x", x)
    y = backend.empty(x.shape, x.dtype)
    if x.size:
        v, middle = _version(version, width(backend, c, x, y))
        arguments = x, line.line, y, np.int32(relu), np.int64(m), np.int32(c)
        backend.launch(entry_of(f"batch_norm_apply{middle}", x), *over_lines(c, v, m), arguments)
    return y


def normalise_pool(backend, x, line: Line, winners: bool = True, version: str | None = None):
    """The maximum of every 2 × 2 pixels of the normalised and rectified ``x`` (N, H, W, C).

    Returns:
        (y, winners): (N, ⌊H / 2⌋, ⌊W / 2⌋, C) and uint8 for backward, packed as in ``bias_relu_pool``, or None.
    """
    n, h, w, c = _check_pixels("x", x)
    y = backend.empty((n, h // 2, w // 2, c), x.dtype)
    v, middle = _version(version, width(backend, c, x, y))
    places = backend.empty((n, h // 2, w // 2, c // 4 if v > 1 else c), "uint8") if winners else None
    if y.size:
        arguments = x, line.line, y, _or_nothing(places), *map(np.int32, (n, h, w, c))
        backend.launch(entry_of(f"batch_norm_apply_pool{middle}", x), *over_rows(c, v, n * (h // 2), w // 2), arguments)
    return y, places


def batch_norm_backward(backend, x, g, line: Line, weight, training: bool, relu: bool = False, needs_x: bool = True, version: str | None = None):
    """(∂L/∂x, ∂L/∂weight, ∂L/∂bias) from the gradient ``g`` of :func:`normalise`'s result.

    Args:
        x, g: (M, C).
        weight: (C,) of the type that sums are kept in, or None.
        training: the statistics came from this batch.

    Returns:
        (M, C), or None unless ``needs_x``; (C,) and (C,) of the type that sums are kept in.
    """
    m, c = _check_matrix("x", x)
    _check_matrix("g", g)
    check_same("g", g, x.shape, x.dtype)
    v, middle = _version(version, width(backend, c, x, g))
    grid, block = over_lines(c, v, m, summing=True)
    partial = _partial(backend, grid, c)
    lengths = np.int64(m), np.int32(c)
    backend.launch(entry_of(f"batch_norm_sums{middle}", x), grid, block, (x, g, line.line, partial, np.int32(relu), *lengths))
    slopes, gw, gb = _finish_backward(backend, partial, x, m, training, weight, line)
    gx = None
    if needs_x:
        gx = backend.empty(x.shape, x.dtype)
        arguments = x, g, line.line, slopes, gx, np.int32(relu), np.int32(training), *lengths
        backend.launch(entry_of(f"batch_norm_gradient{middle}", x), *over_lines(c, v, m), arguments)
    return gx, gw, gb


def batch_norm_pool_backward(backend, x, g, winners, line: Line, weight, training: bool, needs_x: bool = True, version: str | None = None):
    """As :func:`batch_norm_backward` for :func:`normalise_pool`: x (N, H, W, C), g (N, ⌊H / 2⌋, ⌊W / 2⌋, C), and its winners."""
    n, h, w, c = _check_pixels("x", x)
    _check_pixels("g", g)
    check_same("g", g, (n, h // 2, w // 2, c), x.dtype)
    v, middle = _version(version, width(backend, c, x, g) if winners.shape[-1] != c else 1)
    check_same("winners", winners, (n, h // 2, w // 2, c // 4 if v > 1 else c), np.uint8)
    grid, block = over_rows(c, v, n * (h // 2), w // 2, summing=True)
    partial, sizes = _partial(backend, grid, c), tuple(map(np.int32, (n, h, w, c)))
    backend.launch(entry_of(f"batch_norm_sums_pool{middle}", x), grid, block, (x, g, winners, line.line, partial, *sizes))
    slopes, gw, gb = _finish_backward(backend, partial, x, n * h * w, training, weight, line)
    gx = None
    if needs_x:
        gx = backend.empty(x.shape, x.dtype)
        arguments = x, g, winners, line.line, slopes, gx, np.int32(training), *sizes
        backend.launch(entry_of(f"batch_norm_gradient_pool{middle}", x), *over_rows(c, v, n * -(-h // 2), -(-w // 2)), arguments)
    return gx, gw, gb


def _finish_backward(backend, partial, x, pixels, training, weight, line):
    _, lines, c = partial.shape
    check_channels("weight", weight, c, x.dtype)
    kind = accumulator(x.dtype)
    slopes, gw, gb = backend.empty((3, c), kind), backend.empty((c,), kind), backend.empty((c,), kind)
    arguments = partial, np.int32(lines), np.int64(pixels), np.int32(training), _or_nothing(weight), line.kept, slopes, gw, gb, np.int32(c)
    backend.launch(f"batch_norm_finish_backward_{_wide_suffix(x)}", *over_channels(c), arguments)
    return slopes, gw, gb


def _partial(backend, grid, c):
    return backend.workspace("batch_norm.partial", (2, grid[1], c), "float64")


def _new_line(backend, c, dtype):
    return Line(backend.empty((3, c), accumulator(dtype)), backend.empty((2, c), "float64"))


def _wide_suffix(x):
    return SUFFIX[accumulator(x.dtype).name]


def _check_matrix(name, x):
    if x.ndim != 2 or not x.flags.c_contiguous:
        raise ValueError(f"{name} must be (M, C), contiguous, got shape {x.shape}, strides {x.strides}")
    return x.shape


def _check_pixels(name, x):
    if x.ndim != 4 or not x.flags.c_contiguous:
        raise ValueError(f"{name} must be (N, H, W, C), contiguous, got shape {x.shape}, strides {x.strides}")
    return x.shape


def _version(asked, v):
    middle = version_of(asked, v)
    return 1 if middle else v, middle


def _or_nothing(array):
    return NULL if array is None else array


@example("batch_norm")
def examples(backend, rng, size):
    """All versions, with and without ReLU and pool, training and evaluation; outputs of VGG-16's convolutions."""
    if size == "small":
        for dtype in SUFFIX:
            for c in (5, 16):
                x = _planes(backend, rng, (2, 5, 7, c), dtype)
                yield _statistics_example(backend, rng, x, "naive")
                yield _statistics_example(backend, rng, x)
                yield from (_forward_example(backend, rng, x, relu, pool) for relu, pool in ((False, False), (True, False), (True, True)))
                for relu, pool, training in ((False, False, True), (True, False, True), (True, True, True), (False, False, False)):
                    yield _backward_example(backend, rng, x, relu, pool, training)
        far = _planes(backend, rng, (2, 5, 7, 16), "float32")
        far += 2000
        for version in ("naive", None):
            case = _statistics_example(backend, rng, far, version)
            yield replace(case, title=f"{case.title}, around 2000")
        return
    for dtype in LARGE_TYPES:
        for n, c, h, w in LARGE:
            x = _planes(backend, rng, (n, h, w, c), dtype)
            yield _statistics_example(backend, rng, x)
            for relu, pool in ((True, False), (True, True)):
                yield _forward_example(backend, rng, x, relu, pool)
                yield _backward_example(backend, rng, x, relu, pool, True)


def _planes(backend, rng, shape, dtype):
    x = random_array(backend, rng, shape, dtype)
    x += 3
    return x


def _vectors(backend, rng, x, count=2):
    """Weights and the like of x's channels, all above 0."""
    vectors = [random_array(backend, rng, x.shape[-1:], accumulator(x.dtype).name) for _ in range(count)]
    return [backend.xp.abs(v) + accumulator(x.dtype).type(0.5) for v in vectors]


def _matrix(x):
    return x.reshape(-1, x.shape[-1])


def _made(name, backend, x, run, expected, moved, version=None, more=""):
    middle = "_naive" if version == "naive" else _version(version, width(backend, x.shape[-1], x))[1]
    entry = entry_of(f"batch_norm_{name}{middle}", x)
    return Example(f"{entry} of {'x'.join(map(str, x.shape))}{more}", run, expected, TOLERANCE[x.dtype.name], bytes=moved, entry=entry)


def _statistics_example(backend, rng, x, version=None):
    weight, bias, mean, var = _vectors(backend, rng, x, 4)
    start = backend.to_numpy(mean), backend.to_numpy(var)

    def run():
        moving = mean.copy(), var.copy()
        line, kept = batch_statistics(backend, _matrix(x), 1e-3, weight, bias, *moving, 0.25, version)
        return {"invstd": kept[1], "scale": line[1], "mean": moving[0], "var": moving[1]}

    def expected():
        value = exact(backend, _matrix(x))
        invstd = 1 / np.sqrt(value.var(0) + 1e-3)
        new = {"mean": 0.75 * start[0] + 0.25 * value.mean(0), "var": 0.75 * start[1] + 0.25 * value.var(0, ddof=1)}
        return {"invstd": invstd, "scale": invstd * exact(backend, weight), **new}

    return _made("statistics", backend, x, run, expected, x.nbytes, version)


def _normalised(backend, x, weight, bias):
    value = exact(backend, x)
    return (value - value.mean((0, 1, 2))) / np.sqrt(value.var((0, 1, 2)) + 1e-5) * exact(backend, weight) + exact(backend, bias)


def _forward_example(backend, rng, x, relu, pool):
    weight, bias = _vectors(backend, rng, x)
    line = batch_statistics(backend, _matrix(x), 1e-5, weight, bias)

    def run():
        return {"y": normalise_pool(backend, x, line)[0] if pool else normalise(backend, _matrix(x), line, relu).reshape(x.shape)}

    def expected():
        y = _normalised(backend, x, weight, bias)
        y = corners(y.transpose(0, 3, 1, 2)).max(0).transpose(0, 2, 3, 1) if pool else y
        return {"y": np.maximum(y, 0) if relu else y}

    windows = x.size // 4
    moved = x.nbytes + (windows * x.itemsize + windows // 4 if pool else x.nbytes)
    return _made("apply_pool" if pool else "apply", backend, x, run, expected, moved, more=", ReLU" if relu and not pool else "")


def _backward_example(backend, rng, x, relu, pool, training):
    """Both passes: x and g are read twice, the gradient written once."""
    weight, bias, mean, var = _vectors(backend, rng, x, 4)
    n, h, w, c = x.shape
    if training:
        line = batch_statistics(backend, _matrix(x), 1e-5, weight, bias)
    else:
        line = running_statistics(backend, mean, var, 1e-5, x.dtype, weight, bias)
    winners = normalise_pool(backend, x, line)[1] if pool else None
    g = random_array(backend, rng, (n, h // 2, w // 2, c) if pool else x.shape, x.dtype.name)

    def run():
        if pool:
            made = batch_norm_pool_backward(backend, x, g, winners, line, weight, training)
        else:
            made = batch_norm_backward(backend, _matrix(x), _matrix(g), line, weight, training, relu)
        return dict(zip(("gx", "gw", "gb"), (made[0].reshape(x.shape), *made[1:]), strict=True))

    def expected():
        value, sent = exact(backend, x), exact(backend, g)
        centre, spread = (value.mean((0, 1, 2)), value.var((0, 1, 2))) if training else (exact(backend, mean), exact(backend, var))
        invstd = 1 / np.sqrt(spread + 1e-5)
        flat_x = (value - centre) * invstd
        y = flat_x * exact(backend, weight) + exact(backend, bias)
        if pool:
            places = corners(y.astype(x.dtype).astype(np.float64).transpose(0, 3, 1, 2))  # rounded before they are compared
            passed = sent.transpose(0, 3, 1, 2) * (places.max(0) > 0)
            sent = to_winners(passed, places.argmax(0), (n, c, h, w)).transpose(0, 2, 3, 1)
        elif relu:
            sent = sent * (y > 0)
        gb, gw = sent.sum((0, 1, 2)), (sent * flat_x).sum((0, 1, 2))
        mean_free = sent - (gb + flat_x * gw) / (n * h * w) if training else sent
        return {"gx": mean_free * invstd * exact(backend, weight), "gw": gw, "gb": gb}

    moved = 3 * x.nbytes + 2 * g.nbytes + (0 if winners is None else 2 * winners.nbytes)
    more = f"{', ReLU' if relu and not pool else ''}{'' if training else ', evaluation'}"
    return _made("gradient_pool" if pool else "gradient", backend, x, run, expected, moved, more=more)
