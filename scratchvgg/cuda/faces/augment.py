"""Augmented batches from a data set of bytes on the device: ``kernels/augment.cu``."""

from __future__ import annotations

import numpy as np

from ..launch_size import THREADS, blocks_for, check_dense, suffix

NO_FLIP, RANDOM_FLIP, ALTERNATING_FLIP = range(3)
AUGMENTATION = np.dtype(
    [(name, np.uint64) for name in ("seed", "stream", "top", "left", "flip", "row", "column", "flip_stream")]
    + [(name, np.int32) for name in ("N", "C", "H", "W", "P", "Q", "padding", "reflect", "flip_kind", "odd_epoch", "cut", "fill")]
    + [("flip_below", np.float32)],
    align=True,
)
_MOST_CHANNELS = 32  # tables of 1 KiB each must fit shared memory


def augment(backend, images, indices, table, options, dtype="float32", *, version: str = "block"):
    """A batch: gather, crop, flip, cut out, normalise.

    Args:
        images: uint8 (count, H, W, C), contiguous.
        indices: int64 (N,), which images; places outside the data set are not checked.
        table: float32 (C, 256): what each byte of a channel becomes.
        options: one element of :data:`AUGMENTATION`; its N, C, H and W are filled in here.
        dtype: float16, bfloat16 or float32.
        version: ``"block"`` or ``"each"``.

    Returns:
        (N, C, P, Q), in memory N, P, Q, C.

    Raises:
        ValueError: for arrays or a window that do not fit.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or indices.ndim != 1 or indices.dtype != np.int64:
        raise ValueError(f"augment: expected uint8 images (count, H, W, C) and int64 indices (N,), got {images.dtype} {images.shape} and "
                         f"{indices.dtype} {indices.shape}")
    channels = images.shape[3]
    if table.shape != (channels, 256) or table.dtype != np.float32 or channels > _MOST_CHANNELS:
        raise ValueError(f"augment: table must be float32 ({channels}, 256), at most {_MOST_CHANNELS} channels, got {table.dtype} {table.shape}")
    check_dense("augment", images=images, indices=indices, table=table)
    options = options.copy()
    options["N"], (options["H"], options["W"], options["C"]) = len(indices), images.shape[1:]
    p, q, padding = (int(options[name][0]) for name in ("P", "Q", "padding"))
    high, wide = images.shape[1] + 2 * padding, images.shape[2] + 2 * padding
    if not (0 < p <= high and 0 < q <= wide) or (options["reflect"][0] and padding >= min(images.shape[1:3])):
        raise ValueError(f"augment: a window of {p}×{q} and padding {padding} do not fit images of {images.shape[1]}×{images.shape[2]}")
    out = backend.empty((len(indices), channels, p, q), dtype, "channels_last")
    if out.size:
        arguments, kind = (images, indices, table, out, options), suffix("augment", out)
        if version == "block":
            parts = min(64, -(-channels * p * q // (16 * THREADS)))
            backend.launch(f"augment_{kind}", (len(indices), parts), (THREADS,), arguments, shared_mem=1024 * channels)
        else:
            backend.launch(f"augment_each_{kind}", (blocks_for(out.size),), (THREADS,), arguments)
    return out
