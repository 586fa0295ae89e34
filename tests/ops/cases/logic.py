"""Comparison, logic, tests for special values. Nothing here has a gradient."""

from dataclasses import replace

from tests.harness import Case, array, booleans, integers, normal, tied

special = array([0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1.0], grad=False)


def binary(name, symbol=None):
    inputs = (tied(4, 5), tied(5))
    cases = [Case(name, "", inputs, lambda F, a, b: getattr(F, name)(a, b)), Case(name, "number", inputs[:1], lambda F, a: getattr(F, name)(a, 1))]
    if symbol is not None:
        cases.append(Case(name, "symbol, integers and floats", (integers(-2, 3, 4, 5), tied(5)), symbol))
    return cases


CASES = [
    *binary("eq", lambda F, a, b: a == b), *binary("ne", lambda F, a, b: a != b), *binary("lt", lambda F, a, b: a < b),
    *binary("le", lambda F, a, b: a <= b), *binary("gt", lambda F, a, b: a > b), *binary("ge", lambda F, a, b: a >= b),
    Case("eq", "NaN equals nothing", (special,), lambda F, a: a == a),
    Case("equal", "", (tied(2, 2), tied(2, 2)), lambda F, a, b: [F.equal(a, a), F.equal(a, b), F.equal(a, a[0])]),
    Case("isclose", "", (special, array([1e-9, 0.0, float("inf"), 1.0, float("nan"), 1.000001], grad=False)), lambda F, a, b: F.isclose(a, b)),
    Case("isclose", "equal_nan", (special,), lambda F, a: F.isclose(a, a, equal_nan=True)),
    Case("allclose", "", (normal(4),), lambda F, a: [F.allclose(a, a * 1.000001), F.allclose(a, a + 1), F.allclose(a, a + 1, atol=2.0)]),
    Case("isnan", "", (special,), lambda F, a: F.isnan(a)),
    Case("isinf", "", (special,), lambda F, a: F.isinf(a)),
    Case("isfinite", "", (special,), lambda F, a: F.isfinite(a)),
    Case("isfinite", "integers", (integers(0, 3, 4),), lambda F, a: F.isfinite(a)),
    Case("logical_not", "", (tied(6),), lambda F, a: F.logical_not(a)),
    Case("logical_and", "", (tied(3, 6), booleans(6)), lambda F, a, b: F.logical_and(a, b)),
    Case("logical_or", "", (tied(3, 6), booleans(6)), lambda F, a, b: F.logical_or(a, b)),
    Case("logical_xor", "", (tied(3, 6), booleans(6)), lambda F, a, b: F.logical_xor(a, b)),
    Case("bitwise_and", "booleans", (booleans(3, 4), booleans(4)), lambda F, a, b: a & b),
    Case("bitwise_and", "integers", (integers(0, 99, 3, 4), integers(0, 99, 4)), lambda F, a, b: F.bitwise_and(a, b)),
    Case("bitwise_or", "booleans", (booleans(3, 4), booleans(4)), lambda F, a, b: a | b),
    Case("bitwise_or", "integers", (integers(0, 99, 3, 4),), lambda F, a: a | 5),
    Case("bitwise_xor", "", (booleans(3, 4), booleans(4)), lambda F, a, b: a ^ b),
    Case("bitwise_not", "booleans", (booleans(3, 4),), lambda F, a: ~a),
    Case("bitwise_not", "integers", (integers(-9, 9, 4),), lambda F, a: F.bitwise_not(a)),
    Case("all", "", (booleans(3, 4),), lambda F, a: [a.all(), F.all(a, 1), F.all(a, dim=0, keepdim=True)]),
    Case("all", "of nothing", (array([[]], grad=False),), lambda F, a: [F.all(a), F.all(a, dim=1)]),
    Case("any", "", (booleans(3, 4),), lambda F, a: [a.any(), F.any(a, 1), F.any(a, dim=0, keepdim=True)]),
    Case("any", "floats", (tied(3, 4),), lambda F, a: F.any(a, 0)),
]
CASES = [replace(case, differences=False) for case in CASES]
