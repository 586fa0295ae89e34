"""How close is close: the tolerances of the whole suite, each with its reason.

float64 is compared value by value; lower precisions by their RMS error against a float64 truth, with torch's own error as the measure.
"""

from __future__ import annotations

import numpy as np


def rms_error(value: np.ndarray, truth: np.ndarray) -> float:
    """√mean (value − truth)² over the elements where both are finite."""
    finite = np.isfinite(value) & np.isfinite(truth)
    difference = np.asarray(value, np.float64)[finite] - np.asarray(truth, np.float64)[finite]
    return float(np.sqrt(np.mean(np.square(difference)))) if difference.size else 0.0


def error_limit(torch_error: float, truth: np.ndarray, dtype) -> float:
    """Twice torch's RMS error, and half a unit in the last place of the RMS value for results that torch happens to hit exactly."""
    info = np.finfo(dtype)
    return float(2 * torch_error + info.eps / 2 * rms_error(np.zeros_like(truth), truth) + info.smallest_subnormal)


def assert_close64(name: str, value: np.ndarray, expected: np.ndarray, relative: float = 1e-10, floor: float = 1e-13) -> None:
    """max |value − expected| ≤ relative · max |expected| + floor; NaN and Inf in the same places."""
    _same_nonfinite(name, value, expected)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    worst = np.abs(value[finite] - expected[finite]).max(initial=0.0)
    assert worst <= relative * scale + floor, f"{name}: off by {worst:.3g} where values reach {scale:.3g} (relative {worst / max(scale, floor):.2g})"


def assert_as_good(name: str, value: np.ndarray, truth: np.ndarray, torch_error: float) -> None:
    """RMS error against the float64 truth at most :func:`error_limit`."""
    with np.errstate(over="ignore"):
        _same_nonfinite(name, value, truth.astype(value.dtype))
    error, limit = rms_error(value, truth), error_limit(torch_error, truth, value.dtype)
    assert error <= limit, f"{name}: RMS error {error:.3g}, torch's {torch_error:.3g}, limit {limit:.3g}"


def assert_same(name: str, value, expected) -> None:
    """Integers, booleans, shapes and plain values: equal in type of element and value."""
    if isinstance(expected, np.ndarray):
        assert isinstance(value, np.ndarray), f"{name}: got {value!r}, expected an array"
        assert value.dtype == expected.dtype, f"{name}: got {value.dtype}, expected {expected.dtype}"
        assert value.shape == expected.shape, f"{name}: got shape {value.shape}, expected {expected.shape}"
        assert np.array_equal(value, expected), f"{name}: got\n{value}\nexpected\n{expected}"
    else:
        assert value == expected, f"{name}: got {value!r}, expected {expected!r}"


def _same_nonfinite(name, value, expected):
    for kind, test in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
        assert np.array_equal(test(value), test(expected)), f"{name}: {kind} at other places than expected"


def is_floating(value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
