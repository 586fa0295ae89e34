"""Comparisons (bool results, no gradient) and questions about whole tensors."""

from __future__ import annotations

from ..autograd import Op, Tensor, ops
from .common import check_same_device, check_tensor, promote


class Compare(Op):
    """An array-module comparison of two operands."""

    name = "compare"
    differentiable = False

    @staticmethod
    def forward(ctx, a, b, *, ufunc):
        return getattr(ctx.xp, ufunc)(a, b)


class Test(Op):
    """An array-module question about each element."""

    name = "test"
    differentiable = False

    @staticmethod
    def forward(ctx, x, *, ufunc):
        return getattr(ctx.xp, ufunc)(x)


def _compare(name, ufunc, a, b):
    a, b = promote(name, a, b)
    return Compare.apply(a, b, ufunc=ufunc)


@ops.register
def eq(input, other):
    """``input == other``, elementwise with broadcasting."""
    return _compare("eq", "equal", input, other)


@ops.register
def ne(input, other):
    """``input != other``, elementwise."""
    return _compare("ne", "not_equal", input, other)


@ops.register
def lt(input, other):
    """``input < other``, elementwise."""
    return _compare("lt", "less", input, other)


@ops.register
def le(input, other):
    """``input <= other``, elementwise."""
    return _compare("le", "less_equal", input, other)


@ops.register
def gt(input, other):
    """``input > other``, elementwise."""
    return _compare("gt", "greater", input, other)


@ops.register
def ge(input, other):
    """``input >= other``, elementwise."""
    return _compare("ge", "greater_equal", input, other)


@ops.register
def isnan(input):
    """True where the element is NaN."""
    return Test.apply(check_tensor("isnan", "input", input), ufunc="isnan")


@ops.register
def isinf(input):
    """True where the element is +inf or −inf."""
    return Test.apply(check_tensor("isinf", "input", input), ufunc="isinf")


@ops.register
def isfinite(input):
    """True where the element is neither NaN nor infinite."""
    return Test.apply(check_tensor("isfinite", "input", input), ufunc="isfinite")


@ops.register
def equal(input, other) -> bool:
    """True if both have the same shape and elements (NaN differs from everything)."""
    check_tensor("equal", "input", input)
    check_tensor("equal", "other", other)
    check_same_device("equal", input, other)
    return input.shape == other.shape and bool((input.detach() == other.detach()).all())


@ops.register
def isclose(input, other, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False):
    """|input − other| ≤ atol + rtol·|other|, elementwise; equal infinities are close.

    Raises:
        RuntimeError: for different dtypes, or a negative tolerance.
    """
    check_tensor("isclose", "input", input)
    check_tensor("isclose", "other", other)
    check_same_device("isclose", input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"isclose: the dtypes differ: {input.dtype} and {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: tolerances must not be negative, got rtol={rtol}, atol={atol}")
    promote("isclose", input, other)  # checks the shapes
    xp = input.backend.xp
    with input.backend.quiet():
        return Tensor.wrap(input.backend, xp.isclose(input.array, other.array, rtol, atol, equal_nan))


@ops.register
def allclose(input, other, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """True if every element :func:`isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())
