"""Philox4x32-10: random numbers as a function of (seed, stream, offset).

J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. A block of four 32-bit
words is ten rounds of multiplication and exclusive-or applied to a 128-bit counter under a 64-bit key. There is no
state: word ``i`` of a stream is word ``i % 4`` of block ``i // 4``, so any device, thread or tile can make its own part.

Here the key is the seed (low and high half), the counter is (block low, block high, stream low, stream high).
"""

from __future__ import annotations

import threading

import numpy as np

from .threads import parallel_for, ranges

_M = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_BLOCKS_A_TILE = 1 << 14  # six arrays of 128 KiB: the rounds stay in the L2 cache, and a NumPy call costs little beside its work
_scratch = threading.local()


def _buffer(tag: str, shape, dtype) -> np.ndarray:
    """Memory of this thread that the next tile uses again."""
    held, count = _scratch.__dict__, int(np.prod(shape))
    if tag not in held or held[tag].size < count or held[tag].dtype != dtype:
        held[tag] = np.empty(count, dtype)
    return held[tag][:count].reshape(shape)


def philox4x32(counter, key):
    """Ten rounds on arrays.

    Args:
        counter: four uint64 arrays of one shape (n,) holding 32-bit words (c0 is the fastest).
        key: two Python integers below 2³².

    Returns:
        Four uint64 arrays of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    even, odd = np.stack((c0, c2)), np.stack((c1, c3))
    _rounds(even, odd, np.empty_like(even), key)
    return even[0], odd[0], even[1], odd[1]


def _rounds(even, odd, products, key) -> None:
    """The ten rounds in place, on words (c0, c2) and (c1, c3), each of shape (2, n):

    (c0, c1, c2, c3) ← (high(M₁c2) ⊕ c1 ⊕ k0, low(M₁c2), high(M₀c0) ⊕ c3 ⊕ k1, low(M₀c0)).
    """
    k0, k1 = key
    for _ in range(10):
        np.multiply(even, _M, out=products)
        crossed = products[::-1]
        np.right_shift(crossed, _HALF, out=even)
        np.bitwise_xor(even, odd, out=even)
        np.bitwise_xor(even, np.array([[k0], [k1]], np.uint64), out=even)
        np.bitwise_and(crossed, _LOW, out=odd)
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF


def _blocks(seed: int, stream: int, first: int, last: int) -> np.ndarray:
    """Blocks ``first`` to ``last`` (exclusive) as a uint32 array of shape (blocks, 4), valid until this thread's next call."""
    n = last - first
    even, odd, products = (_buffer(tag, (2, n), np.uint64) for tag in ("even", "odd", "products"))
    np.add(np.arange(n, dtype=np.uint64), np.uint64(first), out=products[0])
    np.bitwise_and(products[0], _LOW, out=even[0])
    np.right_shift(products[0], _HALF, out=odd[0])
    even[1], odd[1] = stream & 0xFFFFFFFF, (stream >> 32) & 0xFFFFFFFF
    _rounds(even, odd, products, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    out = _buffer("words", (n, 4), np.uint32)
    for lane, word in enumerate((even[0], odd[0], even[1], odd[1])):
        out[:, lane] = word
    return out


def _fill(items: np.ndarray, seed: int, stream: int, offset: int, words_each: int, convert) -> np.ndarray:
    """Fill ``items``: ``convert(words, items[a:b])`` for words [offset + a·words_each, offset + b·words_each), in tiles on the pool."""

    def tile(piece):
        start, stop = piece
        first, last = offset + start * words_each, offset + stop * words_each
        words = _blocks(seed, stream, first // 4, -(-last // 4)).reshape(-1)
        convert(words[first % 4 : first % 4 + last - first], items[start:stop])

    parallel_for(tile, ranges(len(items), 4 * _BLOCKS_A_TILE // words_each))
    return items


def random_words(seed: int, stream: int, offset: int, count: int) -> np.ndarray:
    """``count`` uniform 32-bit words from word ``offset`` of a stream; uint32, shape (count,)."""
    return _fill(np.empty(count, np.uint32), seed, stream, offset, 1, lambda words, out: np.copyto(out, words))


def random_words64(seed: int, stream: int, offset: int, count: int) -> np.ndarray:
    """``count`` uniform 64-bit words (two 32-bit words each, the first is the high half); uint64."""
    return _fill(np.empty(count, np.uint64), seed, stream, offset, 2, lambda words, out: np.copyto(out, _join(words)))


def uniform(seed: int, stream: int, offset: int, count: int, dtype=np.float32, *, out=None, low=0.0, high=1.0) -> np.ndarray:
    """low + (high − low)·u with u in [0, 1): 24 bits of one word for float32 and below, 53 bits of two words for float64.

    Args:
        out: a flat contiguous array of ``count`` float32 (or float64) numbers to fill, if there is one.
    """
    dtype = np.dtype(dtype)
    wide = dtype == np.float64
    kind = np.float64 if wide else np.float32
    scale, shift = kind(high - low), kind(low)

    def convert(words, items):
        if wide:
            np.multiply(_join(words) >> np.uint64(11), 2.0**-53, out=items)
        else:
            np.right_shift(words, np.uint32(8), out=words)
            items[...] = words
            items *= kind(2.0**-24)
        if dtype.itemsize == 2:  # rounding to 11 or 8 bits may reach 1: cut there
            np.minimum(items, kind(1 - 2.0**-8), out=items)
        if scale != 1:
            items *= scale
        if shift:
            items += shift

    out = _fill(np.empty(count, kind) if out is None else out, seed, stream, offset, 2 if wide else 1, convert)
    return out.astype(dtype, copy=False)


def normal(seed: int, stream: int, offset: int, count: int, dtype=np.float32, *, out=None, mean=0.0, std=1.0) -> np.ndarray:
    """mean + std·z with standard normal z by Box–Muller; a pair uses two words (four for float64), see :func:`words_for`.

    Args:
        out: a flat contiguous array of ``count`` float32 (or float64) numbers to fill, if there is one.
    """
    wide = np.dtype(dtype) == np.float64
    kind = np.float64 if wide else np.float32
    out = np.empty(count, kind) if out is None else out

    def convert(words, pairs):
        (_box_muller64 if wide else _box_muller32)(words, pairs)
        if std != 1:
            pairs *= kind(std)
        if mean:
            pairs += kind(mean)

    even = count // 2 * 2
    words_each = 4 if wide else 2
    _fill(out[:even].reshape(-1, 2), seed, stream, offset, words_each, convert)
    if count > even:  # half of one more pair
        last = _fill(np.empty((1, 2), kind), seed, stream, offset + even // 2 * words_each, words_each, convert)
        out[even] = last[0, 0]
    return out.astype(dtype, copy=False)


def words_for(kind: str, count: int, dtype=np.float32) -> int:
    """Words of the stream that ``count`` numbers of a kind ("uniform", "normal", "words", "words64") use up."""
    wide = np.dtype(dtype) == np.float64
    if kind == "normal":
        return -(-count // 2) * (4 if wide else 2)
    return count * (2 if kind == "words64" or (kind == "uniform" and wide) else 1)


def _join(words: np.ndarray) -> np.ndarray:
    return (words[0::2].astype(np.uint64) << _HALF) | words[1::2]


def _box_muller32(words: np.ndarray, pairs: np.ndarray) -> None:
    radius, angle, wave = (_buffer(tag, len(pairs), np.float32) for tag in ("radius", "angle", "wave"))
    np.right_shift(words, np.uint32(8), out=words)
    radius[...] = words[0::2]
    radius += np.float32(1)  # (0, 1] after scaling: its logarithm is finite
    radius *= np.float32(2.0**-24)
    angle[...] = words[1::2]
    angle *= np.float32(2.0**-24 * 2 * np.pi)
    _polar(radius, angle, wave, pairs)


def _box_muller64(words: np.ndarray, pairs: np.ndarray) -> None:
    bits = _join(words) >> np.uint64(11)
    radius = (bits[0::2] + np.uint64(1)) * 2.0**-53
    angle = bits[1::2] * (2.0**-53 * 2 * np.pi)
    _polar(radius, angle, np.empty_like(angle), pairs)


def _polar(radius, angle, wave, pairs) -> None:
    """√(−2 ln u) times cos and sin, on contiguous buffers: NumPy's vector loops then give the same bits for any split."""
    np.log(radius, out=radius)
    radius *= radius.dtype.type(-2)
    np.sqrt(radius, out=radius)
    np.cos(angle, out=wave)
    np.multiply(radius, wave, out=pairs[:, 0])
    np.sin(angle, out=wave)
    np.multiply(radius, wave, out=pairs[:, 1])
