"""The error column is right, whole or drawn."""

import numpy as np
import pytest

from scratchvgg import conv
from scratchvgg.bench.accuracy import Operands, truth
from scratchvgg.bench.conv import ours
from scratchvgg.bench.problems import parse_problem

PROBLEMS = ["3,4,6,7,6,3,3,1,1", "4,4,9,8,6,3,2,2,1,1,2", "2,3,7,7,5,3,3,1,2,2"]


def exact(problem, which, operands):
    """By the seven loops, in float64."""
    wide = Operands(*(getattr(operands, name).astype(np.float64) for name in ("x", "w", "bias", "dy")))
    return ours(conv.get("direct"), problem, which, wide)()


@pytest.mark.parametrize("which", conv.PASSES)
@pytest.mark.parametrize("text", PROBLEMS)
@pytest.mark.parametrize("share", [1.0, 0.6, 0.2, 1e-6])
def test_truth_is_the_direct_sum(text, which, share):
    problem = parse_problem(text)
    operands = Operands.draw(problem, "float32")
    right = truth(problem, which, operands, budget=int(problem.macs * share))
    full = exact(problem, which, operands)
    np.testing.assert_allclose(right.value, full[right.where], rtol=0, atol=1e-12)
    assert right.drawn == pytest.approx(right.value.size / full.size) and right.value.size > 0
    if share == 1.0:
        assert right.drawn == 1.0
    elif problem.groups == 1 or which != "grad_weight":
        assert right.drawn < 1.0
    largest, rms = right.errors(full)
    assert largest < 1e-14 and rms <= largest


@pytest.mark.parametrize("which", conv.PASSES)
def test_bound_unit_is_the_sum_of_absolute_values_over_the_largest(which):
    problem = parse_problem(PROBLEMS[0])
    operands = Operands.draw(problem, "float32")
    absolute = Operands(*(np.abs(getattr(operands, name)) for name in ("x", "w", "bias", "dy")))
    expected = exact(problem, which, absolute).max() / np.abs(exact(problem, which, operands)).max()
    assert truth(problem, which, operands).bound_unit == pytest.approx(expected)


def test_an_error_is_seen_in_units_of_the_largest():
    problem = parse_problem(PROBLEMS[0])
    operands = Operands.draw(problem, "float32")
    right = truth(problem, "forward", operands)
    wrong = exact(problem, "forward", operands)
    wrong[1, 2, 3, 4] += 0.25 * np.abs(right.value).max()
    largest, rms = right.errors(wrong)
    assert largest == pytest.approx(0.25) and rms == pytest.approx(0.25 / np.sqrt(wrong.size))
    wrong[0, 0, 0, 0] = np.nan
    assert np.isnan(right.errors(wrong)[0])


def test_operands_have_the_problem_s_shapes_in_channels_last_memory():
    problem = parse_problem(PROBLEMS[1])
    o = Operands.draw(problem, "float16")
    assert (o.x.shape, o.w.shape, o.bias.shape, o.dy.shape) == (problem.x_shape, problem.w_shape, (problem.K,), problem.y_shape)
    assert all(a.dtype == np.float16 for a in (o.x, o.w, o.bias, o.dy)) and o.x.transpose(0, 2, 3, 1).flags.c_contiguous
    same = Operands.draw(problem, "float16")
    assert np.array_equal(o.x, same.x)
