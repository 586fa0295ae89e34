"""How close is close: the tolerances of the whole suite, each with its reason.

float64 is compared value by value; lower precisions by their RMS error against a float64 truth, with torch's own error as the measure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def rms_error(value: np.ndarray, truth: np.ndarray) -> float:
    """√mean (value − truth)² over the elements where both are finite."""
    finite = np.isfinite(value) & np.isfinite(truth)
    difference = np.asarray(value, np.float64)[finite] - np.asarray(truth, np.float64)[finite]
    return float(np.sqrt(np.mean(np.square(difference)))) if difference.size else 0.0


class Accuracy(NamedTuple):
    """The RMS error of a result, torch's RMS error in the same dtype, and the largest error allowed."""

    error: float
    torch_error: float
    limit: float

    @classmethod
    def of(cls, value: np.ndarray, truth: np.ndarray, torch_error: float) -> Accuracy:
        """The limit is twice torch's error, and half a unit in the last place of the RMS value for results that torch hits exactly."""
        info = np.finfo(value.dtype)
        size = rms_error(np.zeros_like(truth), truth)
        return cls(rms_error(value, truth), torch_error, float(2 * torch_error + info.eps / 2 * size + info.smallest_subnormal))

    @property
    def good(self) -> bool:
        """Within the limit (a NaN is not)."""
        return self.error <= self.limit

    def __str__(self):
        return f"RMS error {self.error:.3g}, torch's {self.torch_error:.3g}, limit {self.limit:.3g}"


def assert_as_good(name: str, value: np.ndarray, truth: np.ndarray, torch_error: float) -> None:
    """Fail unless the RMS error of ``value`` against ``truth`` (float64) is within :class:`Accuracy`'s limit."""
    accuracy = Accuracy.of(value, truth, torch_error)
    assert accuracy.good, f"{name}: {accuracy}"


def assert_close64(name: str, value: np.ndarray, expected: np.ndarray, relative: float = 1e-10, floor: float = 1e-13) -> None:
    """max |value − expected| ≤ relative · max |expected| + floor; NaN and Inf in the same places.

    1e-10 leaves room for sums in another order; the floor for results that are 0 by cancellation of numbers around 1.
    """
    assert_same_nonfinite(name, value, expected)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    worst = np.abs(value[finite] - expected[finite]).max(initial=0.0)
    assert worst <= relative * scale + floor, f"{name}: off by {worst:.3g} where values reach {scale:.3g}"


def assert_same(name: str, value, expected) -> None:
    """Integers, booleans, shapes and plain values: equal in kind and value."""
    if isinstance(expected, np.ndarray):
        assert_same_kind(name, value, expected)
        assert np.array_equal(value, expected), f"{name}: got\n{value}\nexpected\n{expected}"
    else:
        assert value == expected, f"{name}: got {value!r}, expected {expected!r}"


def assert_same_kind(name: str, value, expected: np.ndarray) -> None:
    """An array of the expected dtype and shape."""
    assert isinstance(value, np.ndarray), f"{name}: got {value!r}, expected an array"
    assert value.dtype == expected.dtype, f"{name}: got {value.dtype}, expected {expected.dtype}"
    assert value.shape == expected.shape, f"{name}: got shape {value.shape}, expected {expected.shape}"


def assert_same_nonfinite(name: str, value: np.ndarray, expected: np.ndarray) -> None:
    """NaN, +Inf and −Inf in the same places."""
    for kind, test in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
        assert np.array_equal(test(value), test(expected)), f"{name}: {kind} at other places than expected"


def is_floating(value) -> bool:
    """Whether ``value`` is an array of floating numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
