"""The harness itself: each check fails when it should."""

import numpy as np
import pytest

from scratchvgg.autograd import Op, Tensor, ops
from tests.harness import PLAIN, Case, Variant, check_differences, integers, normal, off_zero, run, run_forward, watch_algorithms
from tests.layouts import LAYOUTS


def double(F, x, ours=None):
    """2x; on our side through ``ours`` (a deliberately wrong operation)."""
    return ours(x) if isinstance(x, Tensor) else x * 2


def operation(forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g * 2):
    return type("Wrong", (Op,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}).apply


def case(ours):
    return Case("mul", "wrong", (normal(3, 4),), lambda F, x: double(F, x, ours))


def scribble(ctx, x):
    out = x * 2
    x[0] = 0
    return out


def scribble_gradient(ctx, g):
    g *= 2
    return g.copy()


def keep_nothing_separate(ctx, x):
    ctx.x = x
    return x * 2


def leak_input(ctx, g):
    ctx.x[...] += 0
    return ctx.x


WRONG = {
    "value": (operation(lambda ctx, x: x * 2.0001), "result"),
    "dtype": (operation(lambda ctx, x: (x * 2).astype(np.float32 if x.dtype == np.float64 else np.float64)), "expected float"),
    "shape": (operation(lambda ctx, x: (x * 2)[None], lambda ctx, g: (g * 2)[0]), "shape"),
    "gradient": (operation(backward=lambda ctx, g: g * 2.0001), "gradient of x"),
    "NaN": (operation(lambda ctx, x: np.where(x > 0, np.nan, x * 2)), "NaN"),
    "written input": (operation(scribble), "x was written to"),
    "written incoming gradient": (operation(backward=scribble_gradient), "incoming gradient was written to"),
    "shared memory": (operation(keep_nothing_separate, leak_input), "shares memory"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("what", WRONG)
def test_catches(torch, what, dtype):
    ours, message = WRONG[what]
    with pytest.raises(AssertionError, match=message):
        run(case(ours), Variant(dtype=dtype))


def test_accepts_the_right_one(torch):
    run(case(operation()))


def test_catches_three_times_the_error_of_torch(torch):
    rounded = operation(lambda ctx, x: (x * 2 * np.float32(1 + 4 * np.finfo(np.float32).eps)).astype(x.dtype))
    with pytest.raises(AssertionError, match="RMS error"):
        run(case(rounded), Variant(dtype="float32"))


def test_differences_catch_a_wrong_gradient():
    with pytest.raises(RuntimeError, match="by differences"):
        check_differences(case(operation(backward=lambda ctx, g: g * 2.01)))


def test_catches_another_algorithm(torch):
    ignoring = Case("conv2d", "ignores the choice", (normal(1, 1, 3, 3), normal(1, 1, 2, 2)), lambda F, x, w: _default_conv2d(x, w))
    with pytest.raises(AssertionError, match="these algorithms ran"):
        run(ignoring, Variant(algorithm="direct"))


def _default_conv2d(x, w):
    import torch

    return ops.conv2d(x, w) if isinstance(x, Tensor) else torch.conv2d(x, w)


def test_algorithms_are_those_that_support_the_problem():
    names = Case("conv2d", "plain", (normal(1, 1, 3, 3), normal(1, 1, 2, 2)), lambda F, x, w: F.conv2d(x, w)).algorithms()
    assert {"direct", "im2col"} <= set(names)
    with watch_algorithms() as asked:
        run_forward(Case("add", "", (normal(2),), lambda F, x: x + x))
    assert asked == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4, 5), (0, 3)])
def test_layouts_keep_values(layout, shape):
    values = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    laid = LAYOUTS[layout].arrange(np, values)
    assert laid.shape == values.shape and laid.dtype == values.dtype
    assert np.array_equal(laid, values) and not np.shares_memory(laid, values)


def test_layouts_differ_in_strides():
    strides = {LAYOUTS[name].arrange(np, np.zeros((2, 3, 4, 5), np.float32)).strides for name in LAYOUTS}
    assert len(strides) == len(LAYOUTS)


def test_draws_depend_on_the_name_alone_and_are_float32_values():
    one = Case("add", "one", (normal(5), integers(0, 9, 5), off_zero(50)), lambda F, *a: None)
    first, again = one.draw(), one.draw()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].dtype == np.float64 and np.array_equal(first[0], first[0].astype(np.float32))
    assert first[1].dtype == np.int64 and np.abs(first[2]).min() >= 0.2 * (1 - 1e-6)
    assert not np.array_equal(first[0], one.draw(seed=1)[0])


def test_variants_multiply():
    variants = Case("mul", "", (normal(2, 3, 4, 4),), lambda F, x: x * 2, half=True).variants()
    here = [v for v in variants if v.device == "cpu"]
    assert PLAIN in here and len(variants) == len(set(variants)) and len(here) == 3 * 4
    assert [v.layout for v in Case("mul", "", (normal(),), lambda F, x: x).variants() if v.device == "cpu"] == ["contiguous"] * 2


def test_devices_multiply_where_there_is_a_kernel():
    plain = Case("mul", "", (normal(2, 3, 4, 4),), lambda F, x: x * 2).variants()
    kernel = Case("relu", "", (normal(2, 3, 4, 4),), lambda F, x: F.relu(x)).variants()
    filters = normal(1, 1, 3, 3), normal(1, 1, 2, 2)
    convolution = Case("conv2d", "", filters, lambda F, x, w: F.conv2d(x, w), half=True).variants()
    assert [len([v for v in found if v.device == "emulator"]) for found in (plain, kernel)] == [1, 2 * 4]
    of = {(v.dtype, v.algorithm) for v in convolution if v.device == "emulator"}
    assert {("float64", "implicit_gemm"), ("float64", "direct"), ("float16", "im2col")} < of and ("float64", "winograd") not in of
