"""ReLU on a device: ``kernels/relu.cu``. Arrays of any shape, dense in memory in one and the same order."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import SUFFIX, empty_like
from ..registry import Example, example
from .plane_examples import LARGE, LARGE_TYPES, random_planes
from .planes import check_same, entry_of, flat, lanes


def relu(backend, x, out=None, version: str | None = None):
    """max(x, 0), NaN kept.

    Args:
        x: float16, bfloat16, float32 or float64; dense in memory.
        out: as ``x``, or ``x`` itself; a new array if None.
        version: "naive" or "vector"; None takes the fastest that can.

    Raises:
        ValueError, TypeError: for other arrays.
    """
    out = empty_like(backend, x) if out is None else out
    _launch(backend, "relu_forward", (x, out), version)
    return out


def relu_backward(backend, g, y, out=None, version: str | None = None):
    """g where y > 0, else 0; arguments as for :func:`relu`."""
    out = empty_like(backend, y) if out is None else out
    _launch(backend, "relu_backward", (g, y, out), version)
    return out


def dense(array) -> bool:
    """Whether the elements fill one stretch of memory, in whatever order of the dimensions."""
    if array.size == 0:
        return True
    size = array.itemsize
    for stride, length in sorted((s, n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride != size:
            return False
        size *= length
    return True


def _launch(backend, name, arrays, version):
    first = arrays[0]
    for array in arrays:
        check_same(name, array, first.shape, first.dtype)
        if not dense(array) or (array.size > 1 and array.strides != first.strides and _steps(array) != _steps(first)):
            raise ValueError(f"{name}: arrays must be dense and lie alike, got strides {array.strides} and {first.strides} for {first.shape}")
    if first.size == 0:
        return
    aligned = all(backend.address(a) % 16 == 0 for a in arrays)
    if version not in (None, "naive", "vector") or (version == "vector" and not aligned):
        raise ValueError(f"{name}: version {version!r} is not possible: it must be 'naive', or 'vector' for arrays at multiples of 16 bytes")
    v = lanes(first.dtype) if aligned and version != "naive" else 1
    entry = entry_of(f"{name}{'' if v > 1 else '_naive'}", first)
    backend.launch(entry, *flat(first.size // v + first.size % v), (*arrays, np.int64(first.size)))


def _steps(array):
    """Strides of the dimensions that have more than one place."""
    return [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]


@example("relu")
def examples(backend, rng, size):
    """Both versions, lengths that are no whole number of vectors; activations of VGG-16."""
    if size == "small":
        for dtype in SUFFIX:
            for version in ("naive", "vector"):
                x = random_array(backend, rng, (5, 41), dtype)
                yield _example(backend, x, x, version)
                yield _example(backend, *(random_planes(backend, rng, (2, 3, 4, 5), dtype, rectified) for rectified in (False, True)), version, True)
        return
    for dtype in LARGE_TYPES:
        for shape in LARGE:
            x = random_planes(backend, rng, shape, dtype)
            yield _example(backend, x, x, None)
            yield _example(backend, x, relu(backend, x), None, True)


def _example(backend, g, y, version, backward=False):
    def run():
        return {"gx": relu_backward(backend, g, y, version=version)} if backward else {"y": relu(backend, g, version=version)}

    def expected():
        slope, value = exact(backend, g), exact(backend, y)
        return {"gx": slope * (value > 0)} if backward else {"y": np.maximum(slope, 0)}

    entry = entry_of(f"relu_{'backward' if backward else 'forward'}{'_naive' if version == 'naive' else ''}", g)
    title = f"{entry} of {'x'.join(map(str, g.shape))}"
    return Example(title, run, expected, TOLERANCE[g.dtype.name], bytes=(3 if backward else 2) * g.nbytes, entry=entry)
