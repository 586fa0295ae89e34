"""Random geometry: sizes, strides, paddings, dilations, groups, odd shapes, batches of 0 and 1, any memory layout.

Each example is a case of the harness in float64 (value and all gradients to 1e-10); where torch refuses, we must refuse with the same
class of error.
"""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.harness import LAYOUTS, Case, Variant, distinct, normal, run, run_forward, run_torch, tied

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch about its own speed

count = itertools.count()
layouts = st.sampled_from(sorted(LAYOUTS))
batches = st.sampled_from([None, 0, 1, 1, 2, 3])  # None: no batch dimension
sides = st.integers(1, 9)
images = st.tuples(sides, sides)


def pairs(low, high):
    """An int, or two of them: both are how people write a geometry."""
    return st.integers(low, high) | st.tuples(st.integers(low, high), st.integers(low, high))


def shape(batch, *rest):
    """(N, …), or (…) without a batch."""
    return rest if batch is None else (batch, *rest)


def both(value):
    """An int or a pair as a pair."""
    return (value, value) if isinstance(value, int) else value


def see_the_image(size, kernel, stride, padding, dilation):
    """Whether every window has a tap inside the image. Where one has none, torch 2.13 writes its gradient to memory it does not own."""
    starts = range(-padding, min(size, size + padding - dilation * (kernel - 1) + stride), stride)
    return all(any(0 <= start + dilation * k < size for k in range(kernel)) for start in starts)


def agree(operation, inputs, function, layout):
    """Equal values and gradients, or equal classes of error."""
    case = Case(operation, f"random geometry {next(count)}", inputs, function)
    try:
        run_torch(case)
    except Exception as error:
        expected = type(error)
    else:
        run(case, Variant(layout=layout))
        return
    with pytest.raises(expected):
        run_forward(case)


@given(st.data(), batches, images, layouts)
def test_conv2d(data, batch, image, layout):
    groups, deep, out = (data.draw(st.integers(1, 3)) for _ in range(3))
    filter_size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = data.draw(pairs(0, 3) | st.sampled_from(["same", "valid"]))
    stride, dilation = 1 if padding == "same" else data.draw(pairs(1, 3)), data.draw(pairs(1, 3))
    inputs = normal(*shape(batch, groups * deep, *image)), normal(groups * out, deep, *filter_size), normal(groups * out)
    agree("conv2d", inputs, lambda F, x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups), layout)


@given(st.data(), batches, images, layouts)
def test_conv_transpose2d(data, batch, image, layout):
    groups, deep, out = (data.draw(st.integers(1, 2)) for _ in range(3))
    filter_size = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation = data.draw(pairs(1, 3)), data.draw(pairs(1, 3))
    padding, extra = (data.draw(pairs(0, 2)) if batch != 0 else 0 for _ in range(2))  # torch checks them only where there is an image
    inputs = normal(*shape(batch, groups * deep, *image)), normal(groups * deep, out, *filter_size), normal(groups * out)
    agree("conv_transpose2d", inputs, lambda F, x, w, b: F.conv_transpose2d(x, w, b, stride, padding, extra, groups, dilation), layout)


@given(st.data(), batches, images, layouts, st.booleans(), st.booleans())
def test_max_pool2d(data, batch, image, layout, ceil_mode, ties):
    kernel, padding, dilation = data.draw(pairs(1, 4)), data.draw(pairs(0, 2)), data.draw(pairs(1, 3))
    stride = data.draw(st.none() | pairs(1, 3))
    assume(all(see_the_image(*axis) for axis in zip(image, *map(both, (kernel, stride or kernel, padding, dilation)), strict=True)))
    values = (tied if ties else distinct)(*shape(batch, 2, *image))
    agree("max_pool2d", (values,), lambda F, x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True), layout)


@given(st.data(), batches, images, layouts, st.booleans(), st.booleans())
def test_avg_pool2d(data, batch, image, layout, ceil_mode, count_padding):
    kernel, padding, stride = data.draw(pairs(1, 4)), data.draw(pairs(0, 2)), data.draw(st.none() | pairs(1, 3))
    divisor = data.draw(st.none() | st.integers(1, 5))
    values = normal(*shape(batch, 2, *image))
    agree("avg_pool2d", (values,), lambda F, x: F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_padding, divisor), layout)


@given(st.data(), batches, images, layouts)
def test_adaptive_pools(data, batch, image, layout):
    size = data.draw(pairs(1, 9) | st.tuples(st.none() | sides, st.none() | sides))
    agree("adaptive_avg_pool2d", (normal(*shape(batch, 2, *image)),), lambda F, x: F.adaptive_avg_pool2d(x, size), layout)
    agree("adaptive_max_pool2d", (distinct(*shape(batch, 2, *image)),), lambda F, x: F.adaptive_max_pool2d(x, size, return_indices=True), layout)


@given(st.data(), batches, images, layouts)
def test_unfold_and_fold(data, batch, image, layout):
    kernel, dilation, padding, stride = (data.draw(pairs(low, high)) for low, high in ((1, 3), (1, 3), (0, 2), (1, 3)))
    values = normal(*shape(batch, 2, *image))
    agree("unfold", (values,), lambda F, x: F.unfold(x, kernel, dilation, padding, stride), layout)
    agree("fold", (values,), lambda F, x: F.fold(F.unfold(x, kernel, dilation, padding, stride), image, kernel, dilation, padding, stride), layout)


@given(st.data(), batches, images, layouts, st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_pad(data, batch, image, layout, mode):
    amounts = data.draw(st.lists(st.integers(-2 if mode == "constant" else 0, 6), min_size=4, max_size=4))
    agree("pad", (normal(*shape(batch, 2, *image)),), lambda F, x: F.pad(x, amounts, mode), layout)


@given(images, images, layouts, st.sampled_from(["nearest", "bilinear", "corners", "antialias", "antialias corners"]), st.sampled_from([0, 1, 2]))
def test_interpolate(image, size, layout, how, batch):
    assume(size[1] > 1 or "antialias" not in how)  # torch 2.13 then gives the first row's value to all rows
    mode = {"mode": "nearest"} if how == "nearest" else {"mode": "bilinear", "align_corners": "corners" in how, "antialias": "antialias" in how}
    agree("interpolate", (normal(batch, 2, *image),), lambda F, x: F.interpolate(x, size, **mode), layout)


@given(images, st.floats(0.3, 3), st.floats(0.3, 3), layouts, st.sampled_from(["nearest", "bilinear"]), st.booleans())
def test_interpolate_by_factors(image, vertical, horizontal, layout, mode, recompute):
    factors = {"scale_factor": (vertical, horizontal), "recompute_scale_factor": recompute}
    agree("interpolate", (normal(2, 2, *image),), lambda F, x: F.interpolate(x, mode=mode, **factors), layout)
