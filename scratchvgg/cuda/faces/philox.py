"""Random numbers made on the device: ``kernels/philox.cu``. Bit for bit those of :mod:`scratchvgg.array.philox`, which says what a seed, a stream
and an offset are.

Normal numbers are not here: their logarithms and cosines differ in the last bit from one library to the next, so the host makes them for every
device (they begin weights, once).
"""

from __future__ import annotations

import numpy as np

from ...array import philox
from ..memory import capture
from ..registry import Example, example

_THREADS, _BLOCKS = 256, 2048  # of a block, at most of a grid: the kernels loop


def words(backend, seed: int, stream: int, offset: int, count: int, version: str | None = None):
    """``count`` uniform 32-bit words from word ``offset`` of a stream; uint32, shape (count,).

    Args:
        version: "each" makes one word a thread; by default a thread makes four.
    """
    out = backend.empty((4 * count,), "uint8").view(np.uint32)
    _launch(backend, "philox_words_each_u32" if version == "each" else "philox_words_u32", out, seed, stream, offset)
    return out


def uniform(backend, seed: int, stream: int, offset: int, count: int, dtype="float32"):
    """``count`` numbers in [0, 1) of 24 bits (float64: 53 bits of two words each).

    Raises:
        TypeError: for another type than float32 and float64.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"uniform: dtype must be float32 or float64, got {dtype}")
    out = backend.empty((count,), dtype)
    _launch(backend, f"philox_uniform_f{8 * dtype.itemsize}", out, seed, stream, offset)
    return out


def keep(backend, seed: int, stream: int, offset: int, count: int, p: float):
    """True where a word is at least p · 2³²; bool, shape (count,). Dropout keeps these elements.

    Raises:
        ValueError: for p outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"keep: p must be a probability, got {p}")
    threshold = round(p * 2**32)
    if threshold == 2**32:  # no word is so large
        return backend.zeros((count,), "bool")
    out = backend.empty((count,), "bool")
    _launch(backend, "philox_keep_u8", out.view(np.uint8), seed, stream, offset, np.uint32(threshold))
    return out


def _launch(backend, kernel, out, seed, stream, offset, *more):
    if capture.moved is not None:
        raise RuntimeError(f"{kernel}: a CUDA graph would make the same random numbers in every replay; only dropout's move on")
    if out.size:
        pieces = -(-out.size // (4 * _THREADS))  # a thread makes four words
        backend.launch(kernel, (min(pieces, _BLOCKS),), (_THREADS,),
                       (out, np.uint64(seed), np.uint64(stream), np.uint64(offset), np.int64(out.size), *more))


@example("philox")
def examples(backend, rng, size):
    """Streams that begin and end at every place of a block, counters beyond 32 bits; masks as large as a batch's activations."""
    if size == "small":
        for offset, count in ((0, 37), (1, 64), (2, 1), (3, 6), (4 * 2**32 - 6, 41)):
            place = int(rng.integers(1 << 63)), int(rng.integers(1 << 63)), offset, count
            yield _example(backend, "philox_words_each_u32", place, lambda b, *p: words(b, *p, version="each"), philox.random_words)
            yield _example(backend, "philox_words_u32", place, words, philox.random_words)
            yield _example(backend, "philox_uniform_f32", place, uniform, philox.uniform)
            yield _example(backend, "philox_uniform_f64", place, lambda b, *p: uniform(b, *p, "float64"), lambda *p: philox.uniform(*p, "float64"))
            yield _example(backend, "philox_keep_u8", place, lambda b, *p: keep(b, *p, 0.3), lambda *p: philox.random_words(*p) >= round(0.3 * 2**32))
        return
    place = 1, 2, 3, 64 * 64 * 224 * 224
    yield _example(backend, "philox_uniform_f32", place, uniform, None, 4)
    yield _example(backend, "philox_keep_u8", place, lambda b, *p: keep(b, *p, 0.5), None, 1)


def _example(backend, entry, place, ours, truth, itemsize=0):
    expected = truth and (lambda: {"numbers": truth(*place).astype(np.float64)})
    title, made = f"{entry}, {place[3]} from {place[2]}", itemsize * place[3]
    return Example(title, lambda: {"numbers": ours(backend, *place)}, expected, tolerance=0.0, bytes=made, entry=entry)
