"""Stochastic gradient descent on flat buffers: ``kernels/sgd.cu``."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, THREADS, accumulator, blocks_for, check_dense, suffix
from ..registry import Example, example

OPTIONS = ("lr", "momentum", "keep", "decay", "nesterov", "maximize")  # of one line of ``options``
ALIGNMENT = 4  # elements: bounds of segments are multiples


def sgd_step(backend, w, g, v, ends, options, *, master=None, grad_scale=None, found_inf=None, version: str = "vector"):
    """One step of every segment, in place.

    Args:
        w, g: (total,), weights and gradients, contiguous, aligned to 16 bytes; total a multiple of 4.
        v: (total,), velocities, float32 (float64 for float64); None where no segment has momentum.
        ends: int64 (segments,) on the device: where each segment stops, multiples of 4.
        options: float64 (segments, 6) on the device, columns :data:`OPTIONS`; ``keep`` is 1 − dampening, or 1 in the first step.
        master: (total,) float32 weights behind 16-bit ones: they take the step, w is what they round to.
        grad_scale, found_inf: float32 (1,) on the device or None: gradients are divided by the first; a second that is not 0 stops the step.
        version: ``"vector"`` or ``"each"``.

    Raises:
        ValueError: for arrays that do not fit. TypeError: for other element types.
    """
    kind, wide = suffix("sgd_step", w), accumulator(w.dtype)
    if w.ndim != 1 or w.size % ALIGNMENT:
        raise ValueError(f"sgd_step: w must be (total,) with total a multiple of {ALIGNMENT}, got {w.shape}")
    for name, array, dtype in (("g", g, w.dtype), ("v", v, wide), ("master", master, wide)):
        if array is not None and (array.shape != w.shape or array.dtype != dtype):
            raise ValueError(f"sgd_step: {name} must be {dtype} of shape {w.shape}, got {array.dtype} of shape {array.shape}")
    if options.shape != (len(ends), len(OPTIONS)) or options.dtype != np.float64 or ends.dtype != np.int64:
        came = f"{ends.dtype} {ends.shape} and {options.dtype} {options.shape}"
        raise ValueError(f"sgd_step: expected int64 ends (S,) and float64 options (S, 6), got {came}")
    check_dense("sgd_step", w=w, g=g, v=v, master=master, options=options)
    name, items = (f"sgd_{kind}", w.size // ALIGNMENT) if version == "vector" else (f"sgd_each_{kind}", w.size)
    optional = [NULL if array is None else array for array in (v, master, grad_scale, found_inf)]
    if w.size:
        backend.launch(name, (blocks_for(items),), (THREADS,), (w, g, *optional[:2], ends, options, *optional[2:], np.int64(w.size)))


def find_nonfinite(backend, g, found) -> None:
    """Set ``found`` (float32 (1,)) to 1 if ``g`` holds an Inf or a NaN; else leave it.

    Raises:
        ValueError: if g is not contiguous. TypeError: for another element type.
    """
    check_dense("find_nonfinite", g=g)
    if g.size:
        name = f"sgd_nonfinite_{suffix('find_nonfinite', g)}"
        backend.launch(name, (blocks_for(-(-g.size // 4)),), (THREADS,), (g, found, np.int64(g.size)))


@example("sgd")
def examples(backend, rng, size):
    """Two segments of different options, masters, scaled gradients, the search for Inf; VGG-16's parameters."""
    if size == "small":
        for dtype in SUFFIX:
            for version in ("vector", "each"):
                yield _example(backend, rng, 96, dtype, version)
        for total in (1000, 1003):
            yield _search_example(backend, rng, total, "float16")
        return
    for dtype in ("float32", "bfloat16"):
        yield _example(backend, rng, 138_357_544, dtype, "vector")
    yield _search_example(backend, rng, 138_357_544, "float16")


def _example(backend, rng, total, dtype, version):
    """Nesterov's momentum and decay. Small: for a quarter only, the rest climbs without, and every run begins at the same values."""
    start = [random_array(backend, rng, (total,), dtype) for _ in range(2)]
    wide, small = accumulator(start[0].dtype), total < 1 << 20
    quarter = total // 16 * 4 if small else total
    velocity = random_array(backend, rng, (total,), wide)
    ends = backend.asarray(np.array([quarter, total]))
    options = np.array([[0.1, 0.9, 1.0, 5e-4, 1, 0], [0.01, 0.0, 1.0, 0.0, 0, 1]])
    table, scale = backend.asarray(options), backend.asarray(np.array([8], np.float32))
    w, v = start[0].copy(), velocity.copy()
    master = w.astype(wide) if wide != w.dtype else None

    def run():
        if small:
            w[...], v[...] = start[0], velocity
            if master is not None:
                master[...] = start[0]
        sgd_step(backend, w, start[1], v, ends, table, master=master, grad_scale=scale, version=version)
        return {"w": w if master is None else master, "v": v}

    def expected():
        weight, slope, speed = exact(backend, start[0]), exact(backend, start[1]) / 8, exact(backend, velocity)
        head, tail = slice(quarter), slice(quarter, None)
        slope[head] += 5e-4 * weight[head]
        speed[head] = 0.9 * speed[head] + slope[head]
        weight[head] -= 0.1 * (slope[head] + 0.9 * speed[head])
        weight[tail] += 0.01 * slope[tail]
        return {"w": weight, "v": speed}

    moved = total * (3 * w.itemsize if master is None else 2 * w.itemsize + 2 * wide.itemsize) + 2 * quarter * wide.itemsize
    entry = f"sgd_{'' if version == 'vector' else 'each_'}{SUFFIX[dtype]}"
    title = f"{total} parameters, {version}, {SUFFIX[dtype]}"
    return Example(title, run, expected if small else None, TOLERANCE[wide.name], bytes=moved, entry=entry)


def _search_example(backend, rng, total, dtype):
    clean = random_array(backend, rng, (total,), dtype)
    spoilt = clean.copy()
    spoilt[-1] = np.inf

    def run():
        found = backend.zeros((2,), "float32")
        find_nonfinite(backend, clean, found[:1])
        find_nonfinite(backend, spoilt, found[1:])
        return {"found": found}

    title = f"an Inf among {total} gradients, {SUFFIX[dtype]}"
    return Example(title, run, lambda: {"found": np.array([0.0, 1.0])}, bytes=2 * clean.nbytes, entry=f"sgd_nonfinite_{SUFFIX[dtype]}")
