"""Normalisations by kernels: fused and plain, training and evaluation, running statistics, types, and where the array versions take over."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.autograd import ops
from scratchvgg.nn.functional import batch_norm_relu
from tests.cuda.launches import launches

TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def arguments(shape, dtype, affine=True):
    c = shape[1]
    x = sv.randn(*shape).to(dtype) * 2 + 1
    mean, var = sv.randn(c).to(dtype), sv.rand(c).to(dtype) + 0.5
    return x, mean, var, *((sv.randn(c).to(dtype) for _ in range(2)) if affine else (None, None))


def on(device, tensors):
    """Leaves on ``device``: the input and the parameters require grad."""
    moved = [None if t is None else t.detach().to(device) for t in tensors]
    for t in (moved[0], *moved[3:]):
        if t is not None:
            t.requires_grad_()
    return moved


def outcome(function, tensors, training, g, **options):
    y = function(*tensors, training, **options)
    ops.backward([y], [g.to(y.device)])
    grads = [t.grad for t in (tensors[0], *tensors[3:]) if t is not None]
    return [t.detach().cpu().numpy() for t in (y, *grads, *tensors[1:3])]


def plain(x, mean, var, weight, bias, training):
    return ops.batch_norm(x, mean, var, weight, bias, training)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("function", ["plain", "relu", "pool"])
@pytest.mark.parametrize("shape", [(4, 8, 6, 8), (2, 5, 7, 9), (3, 8, 2, 3)], ids=str)
def test_devices_agree(shape, function, training, dtype):
    tensors = arguments(shape, dtype)
    call = {"plain": plain, "relu": batch_norm_relu, "pool": lambda *a: batch_norm_relu(*a, pool=True)}[function]
    size = (*shape[:2], shape[2] // 2, shape[3] // 2) if function == "pool" else shape
    g = sv.randn(*size).to(dtype)
    with launches() as names:
        ours = outcome(call, on("emulator", tensors), training, g)
    assert len(names) == (6 if training else 5) and all(n.startswith("batch_norm_") for n in names)
    for a, b in zip(ours, outcome(call, on("cpu", tensors), training, g), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("pool", [False, True])
def test_without_parameters_and_statistics(pool):
    x, *_ = arguments((4, 8, 6, 6), "float64")
    g = sv.randn(4, 8, *([3, 3] if pool else [6, 6])).to("float64")
    made = []
    for device in ("emulator", "cpu"):
        leaf = x.detach().to(device).requires_grad_()
        y = batch_norm_relu(leaf, training=True, pool=pool)
        y.backward(g.to(device))
        made.append((y.detach().cpu().numpy(), leaf.grad.cpu().numpy()))
    for a, b in zip(*made, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_the_first_layer_asks_for_no_input_gradient():
    x, mean, var, weight, bias = on("emulator", arguments((4, 8, 6, 8), "float32"))
    y = batch_norm_relu(x.detach(), mean, var, weight, bias, True)
    with launches() as names:
        y.sum().backward()
    assert [n for n in names if "norm" in n] == ["batch_norm_sums_f32", "batch_norm_finish_backward_f32"]
    assert weight.grad is not None and bias.grad is not None


def test_winners_take_two_bits_and_the_output_is_not_kept():
    x, mean, var, weight, bias = on("emulator", arguments((4, 8, 6, 8), "float32"))
    y = batch_norm_relu(x, mean, var, weight, bias, True, pool=True)
    kept = y.grad_fn.ctx.kept
    assert set(kept) == {"x", "weight", "winners"} and kept["winners"].nbytes == y.numel() // 4


def test_layer_in_float16_with_float32_parameters():
    """The layer's own bookkeeping too: running statistics, number of batches."""
    made = []
    x = sv.randn(6, 8, 4, 4) * 3 + 1
    for device in ("emulator", "cpu"):
        layer = nn.BatchNorm2d(8).to(device)
        y = layer(x.to("float16").to(device))
        made.append([t.detach().cpu().to("float64").numpy() for t in (y, layer.running_mean, layer.running_var)])
        assert y.dtype == sv.float16 and int(layer.num_batches_tracked.cpu().numpy()) == 1
    for (a, b), tolerance in zip(zip(*made, strict=True), (2e-3, 1e-6, 1e-6), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("pool", [False, True])
def test_sixteen_bits_are_rounded_before_they_are_compared(pool, dtype):
    """Fused is bit for bit what the operations one by one give: 16-bit numbers have many ties."""
    x, *rest = arguments((4, 8, 6, 8), "float32")
    made = []
    for fused in (True, False):
        leaf, mean, var, weight, bias = on("emulator", [x.to(dtype), *rest])
        with launches() as names:
            if fused:
                y = batch_norm_relu(leaf, mean, var, weight, bias, True, pool=pool)
            else:
                y = ops.relu(ops.batch_norm(leaf, mean, var, weight, bias, True))
                y = ops.max_pool2d(y, 2) if pool else y
            y.sum().backward()
        assert any(n.startswith("relu") for n in names) != fused
        made.append([t.detach().cpu().to("float32").numpy() for t in (y, leaf.grad, weight.grad, mean, var)])
    for a, b in zip(*made, strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_and_sequences():
    """(N, C) and (N, C, L) are matrices too."""
    for shape in ((12, 8), (4, 8, 5)):
        x = sv.randn(*shape).to("float64")
        with launches() as names:
            y = ops.batch_norm(x.to("emulator"), training=True)
        assert names[0] == "batch_norm_statistics_f64"
        np.testing.assert_allclose(y.cpu().numpy(), ops.batch_norm(x, training=True).numpy(), rtol=1e-12, atol=1e-13)


def test_what_no_kernel_takes_is_array_code():
    half, mean, var, *_ = (t.to("float16").to("emulator") if t is not None else None for t in arguments((4, 8, 6, 8), "float32"))
    empty = sv.zeros(0, 8, 4, 4, device="emulator")
    with launches() as names:
        ops.batch_norm(half, mean, var, training=True)  # running statistics of 16 bits
        ops.batch_norm(empty, training=True)
        ops.local_response_norm(empty, 5)
    assert names == []


@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (3, 5, 4), (2, 16, 3, 3)], ids=str)
def test_local_response_norm(shape):
    values, g = sv.randn(*shape).to("float64"), sv.randn(*shape).to("float64")
    made = []
    for device in ("emulator", "cpu"):
        x = values.detach().to(device).requires_grad_()
        with launches() as names:
            y = ops.local_response_norm(x, 5, 0.5, 0.75, 2.0)
            y.backward(g.to(device))
        assert len(names) == (2 if device == "emulator" else 0)
        made.append((y.detach().cpu().numpy(), x.grad.cpu().numpy()))
    for a, b in zip(*made, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)
