"""Moving averages of flat buffers: ``kernels/ema.cu``."""

from __future__ import annotations

import numpy as np

from ..launch_size import THREADS, blocks_for, check_dense, check_like, suffix


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
