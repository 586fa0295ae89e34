"""ReLU and pools by kernels: that they run, what they keep, and where the array versions take over."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import ops
from tests.cuda.launches import launches


def planes(*shape, dtype="float32", grad=True):
    n, c, h, w = shape
    x = sv.randn(n, h, w, c).to(dtype).to("emulator").permute(0, 3, 1, 2).detach()
    return x.requires_grad_(grad)


CALLS = {
    "relu": (lambda x: ops.relu(x), ["relu_forward", "relu_backward"]),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2), ["max_pool_forward", "max_pool_backward_windows"]),
    "overlapping max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2, 1), ["max_pool_forward", "max_pool_backward"]),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, 1), ["avg_pool_forward", "avg_pool_backward"]),
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, 3), ["adaptive_avg_pool_forward", "adaptive_avg_pool_backward"]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CALLS)
def test_both_passes_are_kernels_and_agree_with_the_cpu(name, dtype):
    call, entries = CALLS[name]
    kind = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}[dtype]
    x = planes(2, 8, 6, 8, dtype=dtype)
    here = x.detach().cpu().requires_grad_()
    with launches() as names:
        y = call(x)
        ops.backward([y], [sv.ones_like(y)])
    assert names == [f"{e}_{kind}" for e in entries]
    expected = call(here)
    ops.backward([expected], [sv.ones_like(expected)])
    tolerance = {"float32": 1e-6, "float64": 1e-14, "float16": 1e-3, "bfloat16": 1e-2}[dtype]
    for ours, theirs in ((y, expected), (x.grad, here.grad)):
        assert ours.dtype == theirs.dtype
        a, b = (t.detach().cpu().to("float64").numpy() for t in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CALLS)
def test_results_lie_channels_last_whatever_came(name):
    x = sv.randn(2, 8, 6, 8, device="emulator", requires_grad=True)
    y = CALLS[name][0](x)
    y.sum().backward()
    if name != "relu":  # which keeps the order it finds
        for array in (y.array, x.grad.array):
            assert array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_max_pool_keeps_a_byte_an_output():
    y = ops.max_pool2d(planes(2, 8, 6, 8), 2)
    assert [(a.dtype, a.shape) for a in y.grad_fn.ctx.kept.values()] == [(np.uint8, tuple(y.shape))]


def test_without_gradient_nothing_is_kept():
    with launches() as names:
        y = ops.max_pool2d(planes(2, 8, 6, 8, grad=False), 2)
    assert names == ["max_pool_forward_f32"] and y.grad_fn is None


def test_relu_in_place_keeps_the_memory():
    x = planes(2, 8, 3, 3, grad=False)
    address = x.data_ptr()
    with launches() as names:
        y = ops.relu_(x)
    assert names == ["relu_forward_f32"] and y.data_ptr() == x.data_ptr() == address and (x.cpu().numpy() >= 0).all()


ARRAYS = {
    "integers": lambda: ops.max_pool2d(sv.arange(16, device="emulator").reshape(1, 1, 4, 4), 2),
    "windows of more than 256": lambda: ops.max_pool2d(planes(1, 8, 17, 17), 17),
    "gaps": lambda: ops.relu(planes(2, 8, 4, 4)[:, ::2]),
    "integer relu": lambda: ops.relu(sv.arange(-3, 3, device="emulator")),
    "no output": lambda: ops.adaptive_avg_pool2d(planes(2, 8, 4, 4), (0, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_what_no_kernel_takes_is_array_code(name):
    with launches() as names:
        y = ARRAYS[name]()
    assert names == [] and y.device.type == "emulator"


@pytest.mark.parametrize("channels", [3, 8])
def test_gradients_that_lie_otherwise(channels):
    """A gradient may come from a transposition: its memory order is then not the value's."""
    for call, _ in CALLS.values():
        x = planes(2, channels, 6, 8, dtype="float64")
        y = call(x)
        g = sv.randn(*y.shape, dtype=sv.float64)
        y.backward(g.to("emulator"))
        here = x.detach().cpu().requires_grad_()
        call(here).backward(g)
        np.testing.assert_allclose(x.grad.cpu().numpy(), here.grad.numpy(), rtol=1e-13, atol=1e-14)
