"""Dropout by kernels: the CPU's mask and rounding, bit for bit, in every memory order, with nothing kept but three integers."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.array import default_generator
from scratchvgg.nn import functional as F
from tests.cuda.launches import launches


def both(function, array, dtype, layout="contiguous", skip=0):
    """(value, gradient, generator's state) on the CPU and on the emulator."""
    results = []
    for device in ("cpu", "emulator"):
        x = sv.tensor(array, dtype=dtype, device=device)
        if layout == "channels_last":
            x = x.to(memory_format=sv.channels_last)
        elif layout == "transposed":
            x = x.transpose(0, 1).contiguous().transpose(0, 1)
        x = x.detach().requires_grad_()
        sv.manual_seed(9)
        default_generator.take(skip)
        y = function(x)
        g = sv.tensor(np.linspace(-3, 3, array.size).reshape(array.shape), dtype=dtype, device=device)
        y.backward(g)
        results.append((y.detach().cpu(), x.grad.cpu(), default_generator.get_state()))
    return results


def assert_same_bits(results):
    (y, gx, state), (other_y, other_gx, other_state) = results
    for a, b in ((y, other_y), (gx, other_gx)):
        np.testing.assert_array_equal(np.ascontiguousarray(a.numpy()).view(np.uint8), np.ascontiguousarray(b.numpy()).view(np.uint8))
    assert state == other_state


IMAGE = np.random.default_rng(2).standard_normal((3, 4, 5, 2))


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32", "float64"))
@pytest.mark.parametrize("skip", (0, 1, 4))
def test_bits_of_the_cpu(dtype, skip):
    assert_same_bits(both(lambda x: F.dropout(x, 0.3), IMAGE.reshape(8, 15), dtype, skip=skip))


@pytest.mark.parametrize("layout", ("contiguous", "channels_last", "transposed"))
@pytest.mark.parametrize("function", (F.dropout, F.dropout2d), ids=("elements", "channels"))
def test_memory_orders(function, layout):
    assert_same_bits(both(lambda x: function(x, 0.4), IMAGE, "float32", layout))


@pytest.mark.parametrize("layout", ("contiguous", "channels_last"))
@pytest.mark.parametrize("function", (F.dropout, F.dropout2d), ids=("elements", "channels"))
def test_in_place(function, layout):
    assert_same_bits(both(lambda x: function(x * 1, 0.4, inplace=True), IMAGE, "float32", layout))


@pytest.mark.parametrize("p", (0.0, 1.0))
def test_all_or_nothing(p):
    assert_same_bits(both(lambda x: F.dropout(x, p), IMAGE, "float32"))


def test_one_kernel_each_way_and_no_mask():
    x = sv.randn(50, 40, device="emulator", requires_grad=True)
    with launches() as names:
        y = F.dropout(x)
        kept = [v for v in vars(y.grad_fn.ctx).values() if isinstance(v, np.ndarray)]
        y.sum().backward()
    assert names == ["dropout_f32"] * 2 and not kept
