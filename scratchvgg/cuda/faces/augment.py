"""Augmented batches from a data set of bytes on the device: ``kernels/augment.cu``."""

from __future__ import annotations

import numpy as np

from ...array import philox
from ..example_arrays import TOLERANCE
from ..launch_size import SUFFIX, THREADS, blocks_for, check_dense, suffix
from ..registry import Example, example

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


@example("augment")
def examples(backend, rng, size):
    """Both paddings, both flips, a square, a shift of the whole image, every type; batches of CIFAR-10's and ImageNet's size."""
    if size == "small":
        for version in ("block", "each"):
            for dtype in ("float32", "float16", "bfloat16"):
                yield _example(backend, rng, 9, 8, 6, dtype, version, padding=2, reflect=1, flip_kind=RANDOM_FLIP)
            yield _example(backend, rng, 9, 8, 10, "float32", version, padding=3, flip_kind=ALTERNATING_FLIP, odd_epoch=1, cut=4, fill=128)
        return
    for dtype in ("float32", "bfloat16"):
        yield _example(backend, rng, 1024, 32, 32, dtype, "block", padding=4, reflect=1, flip_kind=RANDOM_FLIP)
        yield _example(backend, rng, 256, 256, 224, dtype, "block", flip_kind=RANDOM_FLIP)


def _example(backend, rng, n, side, window, dtype, version, **choices):
    pixels, order = rng.integers(0, 256, (2 * n, side, side, 3), np.uint8), rng.permutation(2 * n)[:n]
    table = rng.standard_normal((3, 256)).astype(np.float32)
    options = np.zeros(1, AUGMENTATION)
    for name, value in choices.items():
        options[name] = value
    options["seed"], options["stream"], options["flip_stream"], options["flip_below"] = 5, 1 << 33, 3 << 62, 0.5
    for place, name in enumerate(("top", "left", "flip", "row", "column")):
        options[name] = 3 + place * n
    options["P"] = options["Q"] = window
    arrays = [backend.asarray(array) for array in (pixels, order, table)]

    def run():
        return {"images": augment(backend, *arrays, options, dtype, version=version)}

    def expected():
        return {"images": _by_numpy(pixels, order, table, options[0])}

    kind, moved = SUFFIX[dtype], n * 3 * window * window * (5 if dtype == "float32" else 3)
    title = f"{n} images of {side}x{side} to {window}x{window}, {version}, {kind}{''.join(f', {k} {v}' for k, v in choices.items())}"
    return Example(title, run, expected, TOLERANCE[dtype], bytes=moved, entry=f"augment_{'' if version == 'block' else 'each_'}{kind}")


def _by_numpy(pixels, order, table, o):
    """The batch, image by image, in float64."""
    padding, p, n = ((0, 0), (o["padding"],) * 2, (o["padding"],) * 2, (0, 0)), int(o["P"]), len(order)
    padded = np.pad(pixels[order], padding, mode="reflect" if o["reflect"] else "constant")
    words = philox.random_words(int(o["seed"]), int(o["stream"]), 3, 5 * n).reshape(5, n).astype(np.uint64)
    room = padded.shape[1] - p + 1
    top, left, _, row, column = (words * np.uint64([[room], [room], [1], [p], [p]]) >> np.uint64(32)).astype(np.int64)
    flip = words[2] < 1 << 31
    if o["flip_kind"] == ALTERNATING_FLIP:
        flip = np.array([philox.random_words(int(o["seed"]), int(o["flip_stream"]), 4 * i, 1)[0] % 2 != o["odd_epoch"] for i in order.tolist()])
    out = np.empty((n, 3, p, p))
    for i in range(n):
        image = padded[i, top[i] : top[i] + p, left[i] : left[i] + p]
        image = (image[:, ::-1] if flip[i] else image).copy()
        if o["cut"]:
            y, x = (max(0, int(centre[i]) - int(o["cut"]) // 2) for centre in (row, column))
            bottom, right = (int(centre[i]) - int(o["cut"]) // 2 + int(o["cut"]) for centre in (row, column))
            image[y:bottom, x:right] = o["fill"]
        for c in range(3):
            out[i, c] = table[c][image[..., c]]
    return out
