"""Deviations, units in the last place, and how matrices are written."""

import math

import numpy as np
import pytest

from scratchvgg.study.explain.matrices import beside, matrix
from scratchvgg.study.explain.numbers import deviation, exact_sum, listed, spelled, ulp
from scratchvgg.study.explain.windows import over, patch_of, under


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [1.0, 1.5, 2.0, -3.7, 1e-3, 0.0, 6e-5, 1000.0])
def test_ulp_is_the_spacing(dtype, value):
    value = float(np.dtype(dtype).type(value))
    if value and abs(value) >= float(np.finfo(dtype).tiny):
        assert ulp(value, dtype) == abs(float(np.spacing(np.dtype(dtype).type(value))))
    else:
        assert ulp(value, dtype) == float(np.finfo(dtype).tiny) * float(np.finfo(dtype).eps)


def test_deviation():
    engine = np.array([1, 2, -4], np.float32)
    it = deviation("y", [1, 2 + 2 * 2**-22, -4], engine, 1e-3, "a sum")
    assert (it.largest, it.ulps, it.within, it.verdict) == (2 * 2**-22, 2.0, True, "good")
    assert str(it) == "max |shown − engine| of y: 4.77e-07 (2 ULP of float32); a sum may err by 0.001: within"
    assert deviation("y", engine + 1, engine, 0.5).verdict == "bad" and "BEYOND" in str(deviation("y", engine + 1, engine, 0.5))
    assert deviation("y", engine + 1, engine).verdict == "warn" and deviation("y", engine, engine, 0.0).verdict == "good"
    same = deviation("y", [np.nan, np.inf, -np.inf], np.array([np.nan, np.inf, -np.inf], np.float32), math.nan)
    assert same.largest == 0 and same.within
    apart = deviation("y", [1.0, 2.0], np.array([np.nan, 2.0], np.float32), 1.0)
    assert math.isnan(apart.largest) and apart.verdict == "bad"
    assert deviation("y", [], np.zeros(0, np.float32)).largest == 0


def test_sums_and_lists():
    assert exact_sum([1e16, 1.0, -1e16]) == 1.0 and math.isnan(exact_sum([np.nan, 1])) and exact_sum([np.inf, 1]) == math.inf
    values = np.array([[0.1, 1 / 3]], np.float32)
    assert listed(values) == [[0.1, 0.33333334]] and np.array_equal(np.float32(listed(values)), values)
    assert listed(np.array([1 / 3])) == [1 / 3] and listed(np.array([True])) == [True] and listed(np.arange(2)) == [0, 1]


def test_matrices_are_aligned_marked_and_cut():
    marks = [["padding", ""], ["winner", "hit"]]
    assert matrix([[0.5, -12.25], [3, 1e-9]], "x", marks=marks, rows=["a", "b"], columns=[1, 2]).lines() == [
        "x", "        1       2", "a  (0.50)  -12.25", "b   *3.00  *1e-09"]
    large = matrix(np.arange(400).reshape(20, 20), "many")
    assert large.cut and len(large.rows) == len(large.rows[0]) == 9 and large.lines()[0] == "many  (20×20, cut)"
    assert [cell.text for cell in large.rows[0]] == ["0", "1", "2", "3", "4", "5", "…", "18", "19"]
    assert not matrix(np.zeros((9, 9))).cut
    text = [cell.text for cell in matrix([1e-5, 0, np.nan, -np.inf]).rows[0]]
    assert text == ["1.00e-05", "0", "NaN", "−∞"]
    assert [cell.text for cell in matrix([123456.0, 0.5]).rows[0]] == ["123456", "5e-01"]


def test_blocks_stand_beside_each_other_where_there_is_room():
    one, two = ["aa", "bb"], ["c", "d"]
    assert beside([one, two], ("×",), 20) == ["  aa     c", "  bb  ×  d"]
    assert beside([one, two], ("×",), 8) == ["  aa", "  bb", "  ×", "  c", "  d"]


def test_windows_over_a_pixel_are_those_that_read_it():
    for stride, padding, dilation, taps, size in [(1, 1, 1, 3, 6), (2, 1, 1, 3, 7), (2, 0, 2, 3, 9), (3, 2, 1, 2, 8)]:
        outputs = (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for place in range(size):
            expected = [(p, t) for t in range(taps) for p in range(outputs) if under(p, taps, stride, padding, dilation)[t] == place]
            assert sorted(over(place, outputs, taps, stride, padding, dilation)) == sorted(expected)
    assert patch_of(np.ones((1, 2, 2)), np.array([-1, 0]), np.array([1, 2]), -5).tolist() == [[[-5, -5], [1, -5]]]


def test_what_is_no_number_is_spelled_and_judged_by_no_bound():
    assert spelled("Σ = +nan, -inf of banana x.inf nanometres, inf") == "Σ = NaN, -∞ of banana x.inf nanometres, ∞"
    unknown = deviation("y", [1.0], np.array([2.0], np.float32), math.nan)
    assert unknown.within is None and unknown.verdict == "warn" and "nan" not in str(unknown)
