"""Errors and units in the last place against their definitions."""

import numpy as np
import pytest

from scratchvgg.study.diverge import numbers
from scratchvgg.study.diverge.numbers import measure

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4, 5), ()])
@pytest.mark.parametrize("block", [4, 1 << 18])
def test_definition(shape, block, monkeypatch):
    monkeypatch.setattr(numbers, "BLOCK", block)
    t = RNG.standard_normal(shape)
    a, b = (np.asarray(t + 1e-3 * RNG.standard_normal(shape)).astype(np.float32) for _ in range(2))
    gap, most = measure(t, a, b, "float32"), np.abs(t).max()
    assert gap.error_a == np.abs(a.astype(float) - t).max() / most and gap.error_b == np.abs(b.astype(float) - t).max() / most
    apart = np.abs(a.astype(float) - b)
    assert gap.difference == apart.max() / most and gap.largest == most and gap.size == t.size
    assert gap.place == tuple(int(i) for i in np.unravel_index(np.argmax(apart), shape)) and gap.equal == (a == b).mean()
    unit = np.spacing(np.abs(t).astype(np.float32)).astype(float)
    inside = np.abs(np.log2(np.abs(t)) % 1) > 1e-6  # rounding t to float32 may carry it over a power of two
    assert inside.all() and gap.ulps == pytest.approx((apart / unit)[np.abs(t) >= most / 1024].max())


def test_memory_order_does_not_matter(monkeypatch):
    monkeypatch.setattr(numbers, "BLOCK", 16)
    t = RNG.standard_normal((2, 3, 4, 5))
    a, b = (t + 1e-3 * RNG.standard_normal(t.shape) for _ in range(2))

    def last(x):
        return x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)

    assert measure(t, a, b, "float32") == measure(last(t), a, last(b), "float32") == measure(t, last(a), np.asfortranarray(b), "float32")


def test_one_unit_in_the_last_place():
    t = np.array([1.5, -3.0, 100.0], np.float32)
    up = np.nextafter(t, np.inf, dtype=np.float32)
    assert measure(t.astype(float), t, up, "float32").ulps == 1.0
    half = np.nextafter(t.astype(np.float16), np.float16(np.inf), dtype=np.float16)
    assert measure(t.astype(float), t.astype(np.float16), half, "float16").ulps == 1.0
    assert measure(t.astype(float), t, up, "bfloat16").ulps == 2.0**-16


def test_small_numbers_have_no_say_in_units():
    t = np.array([1.0, 1e-6])
    gap = measure(t, np.array([1.0, 2e-6], np.float32), np.array([1.0, 1e-6], np.float32), "float32")
    assert gap.ulps == 0 and gap.difference == pytest.approx(1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_infinitely_wrong(value):
    t = np.array([1.0, 2.0, 3.0])
    gap = measure(t, np.array([1.0, value, 3.0], np.float32), t.astype(np.float32), "float32")
    assert gap.error_a == gap.difference == np.inf and gap.error_b == 0 and gap.place == (1,)


def test_a_sum_that_cancels_is_measured_by_what_was_added():
    gap = measure(np.array([1e-12]), np.array([2e-7]), np.array([-1e-7]), "float32", scale=100.0)
    assert gap.cancels and gap.error_a == pytest.approx(2e-9) and gap.largest == 100.0
    assert not measure(np.array([1.0]), np.array([1.0]), np.array([1.0]), "float32", scale=100.0).cancels


def test_zeros_and_nothing():
    zeros = np.zeros((2, 2))
    assert measure(zeros, zeros, zeros + 0.5, "float32").error_b == 0.5
    assert measure(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), "float32").error_a == 0
    with pytest.raises(ValueError, match="shapes differ"):
        measure(zeros, zeros, np.zeros(4), "float32")
