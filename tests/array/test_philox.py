"""Philox4x32-10: Random123's known answers, moments, and that a stream may be cut anywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.array import get_num_threads, philox, set_num_threads

ONES = 0xFFFFFFFF
KNOWN = [  # counter, key, words: Random123's kat_vectors for philox4x32-10
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
DRAWS = [
    lambda offset, count: philox.random_words(7, 3, offset, count),
    lambda offset, count: philox.uniform(7, 3, offset, count),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    lanes = philox.philox4x32([np.array([c, c], np.uint64) for c in counter], key)
    assert [int(lane[1]) for lane in lanes] == list(words)


def test_the_counter_is_block_then_stream_and_the_key_is_the_seed():
    (c0, c1, c2, c3), (k0, k1), words = KNOWN[2]
    drawn = philox.random_words(k1 << 32 | k0, c3 << 32 | c2, 4 * (c1 << 32 | c0), 4)
    assert drawn.tolist() == list(words)


@given(st.integers(0, 1 << 34), st.integers(1, 300), st.integers(0, 300))
def test_any_split_of_a_stream_gives_the_same_words(offset, first, second):
    for draw in DRAWS:
        whole = draw(offset, first + second)
        np.testing.assert_array_equal(whole, np.concatenate([draw(offset, first), draw(offset + first, second)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cut", [1, 2, 7, 1000, 32768, 99999])
def test_any_split_of_a_stream_gives_the_same_normal_numbers(dtype, cut):
    each = philox.words_for("normal", 2, dtype)
    whole = philox.normal(1, 2, 3, 200_000, dtype)
    np.testing.assert_array_equal(whole[: 2 * cut], philox.normal(1, 2, 3, 2 * cut, dtype))
    np.testing.assert_array_equal(whole[2 * cut :], philox.normal(1, 2, 3 + each * cut, 200_000 - 2 * cut, dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_threads_do_not_matter(kind, dtype):
    before = get_num_threads()
    try:
        set_num_threads(1)
        alone = getattr(philox, kind)(5, 0, 1, 100_001, dtype)
        set_num_threads(3)
        np.testing.assert_array_equal(alone, getattr(philox, kind)(5, 0, 1, 100_001, dtype))
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_uniform_moments_and_bounds(dtype):
    u = philox.uniform(11, 0, 0, 400_000, dtype)
    assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
    u = u.astype(np.float64)
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / u.size) ** 0.5 + 2e-4
    assert abs(u.var() - 1 / 12) < 1e-3
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normal_moments(dtype):
    z = philox.normal(11, 0, 0, 400_001, dtype)
    assert z.dtype == dtype and z.shape == (400_001,) and np.isfinite(z).all()
    z = z.astype(np.float64)
    assert abs(z.mean()) < 0.008 and abs(z.var() - 1) < 0.012
    assert abs((z**3).mean()) < 0.02 and abs((z**4).mean() - 3) < 0.08
    assert abs((z[0:-1:2] * z[1::2]).mean()) < 0.01  # the two of a pair
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.004


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_filling_an_array_gives_the_scaled_numbers(dtype):
    out = np.empty(1001, dtype)
    assert philox.normal(1, 0, 0, 1001, dtype, out=out, mean=2, std=3) is out
    np.testing.assert_array_equal(out, philox.normal(1, 0, 0, 1001, dtype) * dtype(3) + dtype(2))
    assert philox.uniform(1, 0, 0, 1001, dtype, out=out, low=-1, high=3) is out
    np.testing.assert_array_equal(out, philox.uniform(1, 0, 0, 1001, dtype) * dtype(4) + dtype(-1))


def test_streams_and_seeds_differ():
    words = [tuple(philox.random_words(seed, stream, 0, 4)) for seed in (0, 1, 1 << 32) for stream in (0, 1, 1 << 32)]
    assert len(set(words)) == len(words)


def test_words_for():
    counts = [
        philox.words_for(*a) for a in (("words", 5), ("words64", 5), ("uniform", 5), ("uniform", 5, "float64"), ("normal", 5))
    ]
    assert counts == [5, 10, 5, 10, 6] and philox.words_for("normal", 5, "float64") == 12
