"""Types, broadcasting, integers, powers and division: all against torch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import scratchvgg as sv

from .twins import assert_equal, plain, same, same_error

DTYPES = ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]
OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "eq": lambda a, b: a == b,
    "lt": lambda a, b: a < b,
    "pow": lambda a, b: a**b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
}


def both(library, name, dtype_a, dtype_b, shape_a=(3,), shape_b=(3,)):
    a = library.ones(shape_a).mul(5).to(getattr(library, dtype_a))
    b = library.ones(shape_b).mul(2).to(getattr(library, dtype_b))
    return OPERATIONS[name](a, b)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)), ids=str)
def test_types_of_two_tensors(torch, name, a, b):
    for shapes in (((3,), (3,)), ((3,), ()), ((), (3,)), ((), ())):
        try:
            expected = plain(both(torch, name, a, b, *shapes))
        except RuntimeError:
            with pytest.raises(RuntimeError):
                both(sv, name, a, b, *shapes)
        else:
            assert_equal(plain(both(sv, name, a, b, *shapes)), expected)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 2, 2.5, -3, 0])
@pytest.mark.parametrize("left", [False, True])
def test_types_of_tensor_and_number(torch, name, dtype, number, left):
    def run(library):
        t = library.tensor([1, 0, 3]).to(getattr(library, dtype))
        return OPERATIONS[name](number, t) if left else OPERATIONS[name](t, number)

    try:
        expected = plain(run(torch))
    except RuntimeError:
        with pytest.raises(RuntimeError):
            run(sv)
    else:
        assert_equal(plain(run(sv)), expected)


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0),
    st.sampled_from(["add", "sub", "mul", "div"]),
)
def test_broadcasting_and_its_gradients(shapes, name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.5, 2, size=s) for s in shapes.input_shapes)
    same(torch, lambda _, x, y: OPERATIONS[name](x, y), a, b, grad=True)


def test_integers_wrap(torch):
    for number in (300, -1, -300):
        for dtype in ("uint8", "int8"):
            same(
                torch,
                lambda t, a, n=number, d=dtype: [
                    a.to(getattr(t, d)) + n,
                    a.to(getattr(t, d)) * n,
                    a.to(getattr(t, d)) == n % 256,
                ],
                [100, 44],
            )


def test_integer_powers(torch):
    same(torch, lambda t, a, b: [a**b, a**3, 2 ** b.abs(), a**0], [2, 1, -1, -3, -1, 0], [-1, -2, -3, 2, -2, 2])
    same_error(torch, lambda t: t.tensor([2]) ** -1)


def test_division_by_zero(torch):
    same(torch, lambda t, a: [a / 0, a // 0, a % 0], [5.0, -5.0, 0.0])
    for divide in (lambda a: a // 0, lambda a: a % 0):
        same_error(torch, lambda t, f=divide: f(t.tensor([5])))


def test_rounding_modes(torch):
    for mode in (None, "trunc", "floor"):
        for a, b in (([-7, 7, 7, 0], [2, -2, 3, 5]), ([-7.0, 7.0, 7.5, 0.0], [2.0, -2.0, 3.0, 5.0])):
            same(torch, lambda t, x, y, m=mode: t.div(x, y, rounding_mode=m), a, b)
    same_error(torch, lambda t: t.div(t.ones(2), 2, rounding_mode="up"))


def test_gradients_at_the_edges_of_pow(torch):
    for exponent in (0, 1, 2, 3, 0.5, -1, 2.0, 0.0):
        same(torch, lambda t, x, p=exponent: x**p, [0.0, 1.0, 2.0, 0.5], grad=True)
    same(torch, lambda t, x, p: x**p, [0.0, 0.0, 2.0, 1.5], [0.0, 2.0, -1.0, 0.5], grad=True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: t.ones(3) + t.ones(2),
        lambda t: t.ones(2, 3) * t.ones(3, 2),
        lambda t: t.ones(2) + "a",
        lambda t: t.ones(2) - None,
        lambda t: -t.tensor([True]),
        lambda t: t.tensor([True]) - t.tensor([False]),
        lambda t: t.tensor([True]) - True,
        lambda t: t.add(t.tensor([1]), t.tensor([1]), alpha=0.5),
        lambda t: t.maximum(t.ones(3), t.ones(4)),
        lambda t: t.lerp(t.ones(2), t.ones(3), 0.5),
    ],
)
def test_what_torch_refuses(torch, wrong):
    same_error(torch, wrong)


def test_remainder_has_the_sign_of_the_divisor(torch):
    same(torch, lambda t, a, b: [a % b, a // b], [-5.5, 5.5, -5.5, 5.5], [3.0, 3.0, -3.0, -3.0])
    same(torch, lambda t, a, b: a % b, [-5.5, 5.5, 7.25], [3.0, -3.0, 2.5], grad=True)


def test_rounding_of_halves_and_infinities(torch):
    same(
        torch,
        lambda t, x: [x.round(), x.floor(), x.ceil(), x.trunc(), x.sign()],
        [0.5, 1.5, -0.5, 2.5, float("inf"), float("nan"), -3.2],
    )
    same(torch, lambda t, x: [x.round(decimals=2), x.round(decimals=-1)], [1.234, 15.0, 25.0, -7.77])
    same(torch, lambda t, x: [x.floor(), x.sign(), x.abs(), x.square(), x.exp(), x.reciprocal(), x.round()], [1, -2, 3])
    same(torch, lambda t, x: [x.sign(), x.square(), x.sqrt()], [True, False])


def test_numbers_at_the_edge(torch):
    x = [0.0, -0.0, 1e-40, 3e38, float("inf"), -float("inf"), float("nan"), -1.0]
    same(torch, lambda t, x: [x.exp(), x.log(), x.sqrt(), x.rsqrt(), x.reciprocal(), x.abs(), x.erf()], np.array(x, np.float32))
    same(torch, lambda t, x: [x.isnan(), x.isinf(), x.isfinite(), x == x, x < 1, x.maximum(x * 0), x.minimum(x * 0)], x)
