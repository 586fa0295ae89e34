"""+ − × ÷, powers, elementwise functions of two tensors."""

from tests.harness import Case, array, integers, normal, off_zero, uniform

a, b = normal(2, 3, 4, 5), normal(2, 3, 4, 5)

CASES = [
    Case("add", "", (a, b), lambda F, a, b: F.add(a, b), half=True),
    Case("add", "broadcast both ways", (normal(2, 1, 4), normal(3, 1)), lambda F, a, b: a + b),
    Case("add", "alpha", (normal(3), normal(2, 3)), lambda F, a, b: F.add(a, b, alpha=0.5)),
    Case("add", "number on the left", (a,), lambda F, a: 2.5 + a, half=True),
    Case("add", "integer and float tensors", (integers(-5, 5, 3, 4), normal(4)), lambda F, a, b: a + b),
    Case("add", "0-d with dimensions", (normal(), normal(3)), lambda F, a, b: a + b),
    Case("add", "the same tensor twice", (normal(3, 2),), lambda F, a: a + a),
    Case("add", "empty", (normal(0, 3), normal(3)), lambda F, a, b: a + b),
    Case("sub", "", (a, b), lambda F, a, b: F.sub(a, b), half=True),
    Case("sub", "number on the left", (a,), lambda F, a: 1 - a),
    Case("sub", "alpha", (normal(2, 3), normal(3)), lambda F, a, b: F.sub(a, b, alpha=2)),
    Case("mul", "", (a, b), lambda F, a, b: F.mul(a, b), half=True),
    Case("mul", "broadcast", (normal(2, 3, 4, 4), normal(3, 1, 1)), lambda F, a, b: a * b),
    Case("mul", "by a number", (a,), lambda F, a: a * 0.1, half=True),
    Case("mul", "square of one tensor", (normal(3, 2),), lambda F, a: a * a),
    Case("mul", "boolean mask", (a, array([[True], [False], [True], [False]])), lambda F, a, m: a * m),
    Case("div", "", (a, off_zero(2, 3, 4, 5)), lambda F, a, b: F.div(a, b), half=True),
    Case("div", "broadcast", (normal(2, 3, 4), off_zero(3, 1)), lambda F, a, b: a / b),
    Case("div", "number on the left", (off_zero(3, 4),), lambda F, a: 3 / a),
    Case("div", "integers", (integers(-9, 9, 3, 4), integers(1, 9, 4)), lambda F, a, b: a / b),
    Case("div", "by zero", (array([1.0, -1.0, 0.0]), array([0.0, 0.0, 0.0], grad=False)), lambda F, a, b: a / b, differences=False),
    Case("pow", "square", (a,), lambda F, a: F.pow(a, 2), half=True),
    Case("pow", "root", (uniform(0.5, 3, 3, 4),), lambda F, a: a**0.5),
    Case("pow", "tensor exponent", (uniform(0.5, 3, 3, 4), normal(4)), lambda F, a, b: a**b),
    Case("pow", "number base", (normal(3, 4),), lambda F, b: 2.0**b),
    Case("pow", "exponent zero", (normal(3, 4),), lambda F, a: a**0),
    Case("pow", "zero base", (array([0.0, 0.0, 2.0]), array([0.0, 2.0, 3.0])), lambda F, a, b: a**b, differences=False),
    Case("pow", "integers", (integers(-4, 4, 3, 4),), lambda F, a: a**3),
    Case("neg", "", (a,), lambda F, a: F.neg(a), half=True),
]
