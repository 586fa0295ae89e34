"""Dropout on a device, alone or after a ReLU: ``kernels/dropout.cu``. The mask is that of ``ops/dropout.py``, word for word."""

from __future__ import annotations

import math

import numpy as np

from ...array import philox
from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import SUFFIX, THREADS, accumulator, blocks_for, check_dense, check_like, empty_like, suffix
from ..memory import capture
from ..registry import Example, example

MASK = np.dtype([(name, np.uint64) for name in ("seed", "stream", "offset", "threshold", "moved")])


def dropout(backend, x, p: float, place, *, relu: bool = False, out=None):
    """x · m / (1 − p), or relu(x) · m / (1 − p), with m made from words ``offset`` … of a Philox stream; the gradient is the same function of g.

    Args:
        x: contiguous, floating.
        p: probability of a zero.
        place: (seed, stream, offset) that ``Generator.take(x.size)`` gave.
        out: like x, or x itself; a new array if None.

    Raises:
        ValueError: for arrays that are not contiguous or not alike. TypeError: for another element type.
    """
    out = backend.empty(x.shape, x.dtype) if out is None else out
    check_dense("dropout", x=x, out=out)
    check_like("dropout", x, out=out)
    name = f"{'relu_dropout_forward' if relu else 'dropout'}_{suffix('dropout', x)}"
    if x.size:
        backend.launch(name, (blocks_for(-(-x.size // 4)),), (THREADS,), (x, out, np.int64(x.size), scale(p, x.dtype), _mask(p, place)))
    return out


def dropout_places(backend, x, p: float, place, *, channels_last: bool = False, per_channel: bool = False, out=None):
    """As :func:`dropout` for x of shape (N, C, …) that lies in memory as N, …, C, or with one word for each whole channel (dropout2d).

    Args:
        x: (N, C, …), dense in the order that ``channels_last`` says.
        out: of the same shape, type and memory order, or x itself.

    Raises:
        ValueError: for another memory order. TypeError: for another element type.
    """
    kind = suffix("dropout", x)
    c, inner = x.shape[1], math.prod(x.shape[2:])
    out = empty_like(backend, x) if out is None else out
    flat = [backend.xp.moveaxis(a, 1, -1) if channels_last else a for a in (x, out)]
    check_dense("dropout", x=flat[0], out=flat[1])
    if x.size:
        options = np.int64(x.size), np.int64(c), np.int64(inner), np.int32(channels_last), np.int32(per_channel)
        backend.launch(f"dropout_each_{kind}", (blocks_for(x.size),), (THREADS,), (x, out, *options, scale(p, x.dtype), _mask(p, place)))
    return out


def relu_dropout_backward(backend, g, y, p: float):
    """The gradient of ``dropout(x, p, …, relu=True)`` from its result y: g / (1 − p) where y > 0, else 0. Nothing else was kept.

    Args:
        g, y: contiguous, alike.

    Raises:
        ValueError: for arrays that are not contiguous or not alike. TypeError: for another element type.
    """
    check_dense("relu_dropout_backward", g=g, y=y)
    check_like("relu_dropout_backward", y, g=g)
    gx = backend.empty(y.shape, y.dtype)
    if y.size:
        name = f"relu_dropout_backward_{suffix('relu_dropout_backward', y)}"
        backend.launch(name, (blocks_for(-(-y.size // 4)),), (THREADS,), (g, y, gx, np.int64(y.size), scale(p, y.dtype)))
    return gx


def scale(p: float, dtype):
    """1 / (1 − p) as the CPU multiplies arrays of ``dtype`` by it: NumPy rounds it to float16 for float16, ml_dtypes to float32 for bfloat16."""
    value = 1 / (1 - p) if p < 1 else 1.0
    return accumulator(dtype).type(np.float16(value) if dtype == np.float16 else value)


def _mask(p, place):
    seed, stream, offset = place
    return np.array([(seed, stream, offset, round(p * 2**32), capture.moved or 0)], MASK)


@example("dropout")
def examples(backend, rng, size):
    """Offsets that begin inside a block of words, every type and memory order; the classifier's activations of a large batch."""
    if size == "small":
        for dtype, kind in SUFFIX.items():
            for offset in (0, 3):
                yield _example(backend, rng, (5, 41), dtype, (7, 1 << 40, offset), f"dropout_{kind}", dropout)
            yield _example(backend, rng, (5, 41), dtype, (7, 2, 1), f"relu_dropout_forward_{kind}", dropout, relu=True)
            yield _example(backend, rng, (2, 3, 4, 5), dtype, (7, 2, 5), f"dropout_each_{kind}", dropout_places, channels_last=True)
            yield _example(backend, rng, (2, 3, 4, 5), dtype, (7, 2, 5), f"dropout_each_{kind}", dropout_places, per_channel=True)
            yield _backward_example(backend, rng, (5, 41), dtype)
        return
    for dtype in ("float32", "bfloat16"):
        yield _example(backend, rng, (4096, 4096), dtype, (7, 2, 0), f"dropout_{SUFFIX[dtype]}", dropout)
        yield _example(backend, rng, (4096, 4096), dtype, (7, 2, 0), f"relu_dropout_forward_{SUFFIX[dtype]}", dropout, relu=True)
        yield _backward_example(backend, rng, (4096, 4096), dtype)


def _example(backend, rng, shape, dtype, place, entry, face, p=0.25, **options):
    if options.get("channels_last"):
        n, *inner, c = shape[0], *shape[2:], shape[1]
        x = backend.xp.moveaxis(random_array(backend, rng, (n, *inner, c), dtype), -1, 1)
    else:
        x = random_array(backend, rng, shape, dtype)

    def expected():
        words = shape[:2] + (1,) * (len(shape) - 2) if options.get("per_channel") else shape
        keep = philox.random_words(*place, math.prod(words)).reshape(words) >= round(p * 2**32)
        value = exact(backend, x)
        return {"y": (np.maximum(value, 0) if options.get("relu") else value) * keep / (1 - p)}

    title = f"{entry} of {'x'.join(map(str, shape))}, offset {place[2]}{''.join(f', {name}' for name in options)}"
    return Example(title, lambda: {"y": face(backend, x, p, place, **options)}, expected, TOLERANCE[dtype], bytes=2 * x.nbytes, entry=entry)


def _backward_example(backend, rng, shape, dtype, p=0.25):
    g, x = (random_array(backend, rng, shape, dtype) for _ in range(2))
    y = dropout(backend, x, p, (7, 2, 0), relu=True)

    def expected():
        return {"gx": exact(backend, g) / (1 - p) * (exact(backend, y) > 0)}

    def run():
        return {"gx": relu_dropout_backward(backend, g, y, p)}

    entry = f"relu_dropout_backward_{SUFFIX[dtype]}"
    return Example(f"{entry} of {'x'.join(map(str, shape))}", run, expected, TOLERANCE[dtype], bytes=3 * g.nbytes, entry=entry)
