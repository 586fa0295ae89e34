"""A generator is (seed, stream, offset)."""

import numpy as np
import pytest

from scratchvgg.array import Generator, initial_seed, manual_seed


def test_the_state_is_all_there_is():
    a = Generator(5)
    a.normal((3,)), a.uniform((7,)), a.permutation(4)
    b = Generator()
    b.set_state(a.get_state())
    for draw in (
        lambda g: g.normal((5,)),
        lambda g: g.integers(0, 10, (3, 3)),
        lambda g: g.permutation(9),
        lambda g: g.bits((2,)),
    ):
        np.testing.assert_array_equal(draw(a), draw(b))
    assert a.get_state() == b.get_state()


def test_take_reserves_words():
    g = Generator(3, stream=2, offset=10)
    assert g.take(7) == (3, 2, 10) and g.offset == 17


def test_normal_fills_reserve_whole_pairs():
    g = Generator(0)
    g.normal((3,))
    assert g.offset == 4
    g.normal((3,), np.float64)
    assert g.offset == 12


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fills_are_in_logical_order_whatever_the_strides(kind, dtype):
    expected = getattr(Generator(1), kind)((2, 3, 4, 5), dtype)
    for lay in (
        lambda a: a,
        lambda a: np.empty((2, 4, 5, 3), dtype).transpose(0, 3, 1, 2),
        lambda a: np.empty((2, 3, 4, 10), dtype)[..., ::-2],
    ):
        array, generator = lay(np.empty((2, 3, 4, 5), dtype)), Generator(1)
        getattr(generator, f"fill_{kind}")(array)
        np.testing.assert_array_equal(array, expected)
        assert generator.offset > 0


def test_integers_cover_their_range_evenly():
    drawn = Generator(2).integers(-3, 4, (70_000,))
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn + 3)
    assert len(counts) == 7 and abs(counts - 10_000).max() < 500
    wide = Generator(2).integers(-(1 << 62), 1 << 62, (1000,))
    assert wide.min() < -(1 << 60) and wide.max() > 1 << 60


def test_integers_need_a_range():
    with pytest.raises(RuntimeError, match="low=3, high=3"):
        Generator(0).integers(3, 3, (2,))


def test_permutation():
    order = Generator(4).permutation(1000)
    assert sorted(order) == list(range(1000)) and (order != np.arange(1000)).mean() > 0.99


def test_seeding():
    g = manual_seed(123)
    assert initial_seed() == 123 and g.offset == 0
    first = g.uniform((4,))
    manual_seed(123)
    np.testing.assert_array_equal(first, g.uniform((4,)))
    assert Generator().initial_seed() != Generator().initial_seed()
    np.testing.assert_array_equal(Generator(-1).bits((2,)), Generator((1 << 64) - 1).bits((2,)))


@pytest.mark.parametrize(("seed", "error"), [("x", TypeError), (1.5, TypeError), (True, TypeError), (1 << 64, RuntimeError)])
def test_what_is_no_seed(seed, error):
    with pytest.raises(error, match="seed"):
        Generator(seed)
