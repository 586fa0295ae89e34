"""Stochastic gradient descent on flat buffers: ``kernels/sgd.cu``."""

from __future__ import annotations

import numpy as np

from ..launch_size import NULL, THREADS, accumulator, blocks_for, check_dense, suffix

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
        backend.launch(name, (blocks_for(g.size),), (THREADS,), (g, found, np.int64(g.size)))
