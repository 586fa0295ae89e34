"""Philox4x32-10: random numbers as a function of (seed, stream, offset).

J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. A block of four 32-bit
words is ten rounds of multiplication and exclusive-or applied to a 128-bit counter under a 64-bit key. There is no
state: word ``i`` of a stream is word ``i % 4`` of block ``i // 4``, so any device, thread or tile can make its own part.

Here the key is the seed (low and high half), the counter is (block low, block high, stream low, stream high).
"""

from __future__ import annotations

import numpy as np

from .threads import parallel_for, ranges

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_BLOCKS_A_TILE = 1 << 13  # eight arrays of 64 KiB: the rounds stay in the L2 cache


def philox4x32(counter, key):
    """Ten rounds on arrays.

    Args:
        counter: four uint64 arrays of one shape holding 32-bit words (c0 is the fastest).
        key: two Python integers below 2³².

    Returns:
        Four uint64 arrays of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _HALF) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def _blocks(seed: int, stream: int, first: int, last: int) -> np.ndarray:
    """Blocks ``first`` to ``last`` (exclusive) as a uint32 array of shape (blocks, 4)."""
    index = np.arange(first, last, dtype=np.uint64)
    high = np.full_like(index, stream & 0xFFFFFFFF), np.full_like(index, (stream >> 32) & 0xFFFFFFFF)
    words = philox4x32((index & _LOW, index >> _HALF, *high), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    out = np.empty((last - first, 4), np.uint32)
    for lane, word in enumerate(words):
        out[:, lane] = word
    return out


def _fill(out: np.ndarray, seed: int, stream: int, offset: int, words_each: int, convert) -> np.ndarray:
    """Fill flat ``out``; item i is ``convert`` of words [offset + i·words_each, …), in tiles that run on the pool."""
    step = 4 * _BLOCKS_A_TILE // words_each

    def tile(piece):
        start, stop = piece
        first, last = offset + start * words_each, offset + stop * words_each
        words = _blocks(seed, stream, first // 4, -(-last // 4)).reshape(-1)
        out[start:stop] = convert(words[first % 4 : first % 4 + last - first])

    parallel_for(tile, ranges(out.size, step))
    return out


def random_words(seed: int, stream: int, offset: int, count: int) -> np.ndarray:
    """``count`` uniform 32-bit words from word ``offset`` of a stream; uint32, shape (count,)."""
    return _fill(np.empty(count, np.uint32), seed, stream, offset, 1, lambda words: words)


def random_words64(seed: int, stream: int, offset: int, count: int) -> np.ndarray:
    """``count`` uniform 64-bit words (two 32-bit words each, the first is the high half); uint64."""
    return _fill(np.empty(count, np.uint64), seed, stream, offset, 2, _join)


def uniform(seed: int, stream: int, offset: int, count: int, dtype=np.float32) -> np.ndarray:
    """Uniform numbers in [0, 1): 24 bits of one word for float32 and below, 53 bits of two words for float64."""
    if np.dtype(dtype) == np.float64:
        return _fill(np.empty(count), seed, stream, offset, 2, lambda w: (_join(w) >> np.uint64(11)) * 2.0**-53)
    convert = lambda w: (w >> np.uint32(8)) * np.float32(2.0**-24)  # noqa: E731
    out = _fill(np.empty(count, np.float32), seed, stream, offset, 1, convert)
    if np.dtype(dtype) != np.float32:  # rounding to 11 or 8 bits may reach 1: cut there
        out = np.minimum(out, np.float32(1 - 2.0**-8)).astype(dtype)
    return out


def normal(seed: int, stream: int, offset: int, count: int, dtype=np.float32) -> np.ndarray:
    """Standard normal numbers by Box–Muller; a pair uses two words (four for float64), see :func:`words_for`."""
    pairs = -(-count // 2)
    wide = np.dtype(dtype) == np.float64
    out = np.empty((pairs, 2), np.float64 if wide else np.float32)
    _fill(_Pairs(out), seed, stream, offset, 4 if wide else 2, _box_muller64 if wide else _box_muller32)
    return out.reshape(-1)[:count].astype(dtype, copy=False)


def words_for(kind: str, count: int, dtype=np.float32) -> int:
    """Words of the stream that ``count`` numbers of a kind ("uniform", "normal", "words", "words64") use up."""
    wide = np.dtype(dtype) == np.float64
    if kind == "normal":
        return -(-count // 2) * (4 if wide else 2)
    return count * (2 if kind == "words64" or (kind == "uniform" and wide) else 1)


class _Pairs:
    """Lets :func:`_fill` see an array of shape (n, 2) as n items."""

    def __init__(self, array):
        self.array, self.size = array, len(array)

    def __setitem__(self, where, value):
        self.array[where] = value


def _join(words: np.ndarray) -> np.ndarray:
    return (words[0::2].astype(np.uint64) << _HALF) | words[1::2]


def _box_muller32(words: np.ndarray) -> np.ndarray:
    u = ((words[0::2] >> np.uint32(8)) + np.uint32(1)) * np.float32(2.0**-24)  # (0, 1]: its logarithm is finite
    angle = (words[1::2] >> np.uint32(8)) * np.float32(2.0**-24 * 2 * np.pi)
    radius = np.sqrt(np.float32(-2) * np.log(u))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)


def _box_muller64(words: np.ndarray) -> np.ndarray:
    pair = _join(words)
    u = ((pair[0::2] >> np.uint64(11)) + np.uint64(1)) * 2.0**-53
    angle = (pair[1::2] >> np.uint64(11)) * (2.0**-53 * 2 * np.pi)
    radius = np.sqrt(-2 * np.log(u))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)
