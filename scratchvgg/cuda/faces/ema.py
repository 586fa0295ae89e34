"""Moving averages of flat buffers: ``kernels/ema.cu``."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import SUFFIX, THREADS, blocks_for, check_dense, check_like, suffix
from ..registry import Example, example


def ema_step(backend, average, w, weight, *, write_back: bool = False) -> None:
    """average ← average + weight · (w − average), in place; then, with ``write_back``, w ← average.

    Args:
        average, w: contiguous, alike.
        weight: float64 (1,) on the device.

    Raises:
        ValueError: for arrays that do not fit. TypeError: for other element types.
    """
    check_dense("ema_step", average=average, w=w)
    check_like("ema_step", w, average=average)
    if weight.dtype != np.float64 or weight.size != 1:
        raise ValueError(f"ema_step: weight must be one float64 on the device, got {weight.dtype} of shape {weight.shape}")
    wide = w.size % 4 == 0 and not any(backend.address(a) % 16 for a in (average, w))
    name, items = ("ema_", w.size // 4) if wide else ("ema_each_", w.size)
    if w.size:
        arguments = average, w, weight, np.int32(write_back), np.int64(w.size)
        backend.launch(name + suffix("ema_step", w), (blocks_for(items),), (THREADS,), arguments)


@example("ema")
def examples(backend, rng, size):
    """Sizes that are multiples of four and not, with the average written back; VGG-16's parameters."""
    for dtype in SUFFIX if size == "small" else ("float32",):
        for total in (64, 67) if size == "small" else (138_357_544,):
            yield _example(backend, rng, total, dtype)


def _example(backend, rng, total, dtype):
    start = [random_array(backend, rng, (total,), dtype) for _ in range(2)]
    average, w = (array.copy() for array in start)
    weight, small = backend.asarray(np.array([0.25])), total < 1 << 20

    def run():
        if small:
            average[...], w[...] = start
        ema_step(backend, average, w, weight, write_back=True)
        return {"average": average, "w": w}

    def expected():
        blend = 0.75 * exact(backend, start[0]) + 0.25 * exact(backend, start[1])
        return {"average": blend, "w": blend}

    entry = f"ema_{'each_' if total % 4 else ''}{SUFFIX[dtype]}"
    wanted = expected if small else None
    return Example(f"{total} parameters, {SUFFIX[dtype]}", run, wanted, TOLERANCE[dtype], bytes=4 * w.nbytes, entry=entry)
