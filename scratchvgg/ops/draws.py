"""Random numbers for an operation, made where its arrays are: by NumPy on the CPU, by kernels on a device; the same numbers either way.

A draw takes its words from a generator's stream and is in C order, whatever the memory order of the array is.
"""

from __future__ import annotations

import math

from ..array import CPU, as_dtype, get_backend, philox, whole_tiles
from ..cuda.faces import philox as kernels

_BELOW_1 = 1 - 2.0**-8  # rounding to 11 or 8 bits may reach 1: 16-bit numbers are cut there


def uniform(backend, generator, shape, dtype, low: float = 0.0, high: float = 1.0):
    """low + (high − low)·u as a new array of the backend, u in [0, 1) as in :meth:`Generator.uniform`."""
    if not backend.runs_kernels:
        out = backend.empty(shape, dtype)
        generator.fill_uniform(out, low, high)
        return out
    count, kind = math.prod(shape), "float64" if dtype.name == "float64" else "float32"
    place = generator.take(philox.words_for("uniform", count, kind))
    with backend.quiet():
        out = kernels.uniform(backend, *place, count, kind)
        if dtype.itemsize == 2:
            backend.xp.minimum(out, _BELOW_1, out=out)
        if high - low != 1:
            out *= high - low
        if low:
            out += low
        return out.astype(dtype.numpy, copy=False).reshape(shape)


def normal(backend, generator, shape, dtype, mean: float = 0.0, std: float = 1.0):
    """mean + std·z as a new array of the backend, z standard normal. The host makes them for every device: logarithms differ between libraries."""
    out = get_backend(CPU).empty(shape, dtype)
    with whole_tiles(False):
        generator.fill_normal(out, mean, std)
    return backend.asarray(out)


def integers(backend, generator, low: int, high: int, shape):
    """int64 in [low, high), as in :meth:`Generator.integers`.

    Raises:
        RuntimeError: unless low < high.
    """
    span = high - low
    if not backend.runs_kernels or not 0 < span <= 1 << 32:
        return backend.asarray(generator.integers(low, high, shape))
    count, wide = math.prod(shape), backend.xp.uint64
    with backend.quiet():
        drawn = (kernels.words(backend, *generator.take(count), count).astype(wide) * wide(span)) >> wide(32)
        return (drawn.astype("int64") + low).reshape(shape)


def fill_uniform(backend, generator, array, low: float, high: float) -> None:
    """Write :func:`uniform` over a floating array."""
    if backend.runs_kernels:
        array[...] = uniform(backend, generator, array.shape, as_dtype(array.dtype), low, high)
    else:
        generator.fill_uniform(array, low, high)


def fill_normal(backend, generator, array, mean: float, std: float) -> None:
    """Write :func:`normal` over a floating array."""
    if backend.runs_kernels:
        array[...] = normal(backend, generator, array.shape, as_dtype(array.dtype), mean, std)
    else:
        generator.fill_normal(array, mean, std)
