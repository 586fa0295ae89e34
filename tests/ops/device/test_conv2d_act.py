"""Convolution, ReLU and pool on a device: every algorithm, fused by it or not, against the CPU."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.conv import algorithms
from scratchvgg.ops.conv2d_act import conv2d_norm_relu, conv2d_relu
from tests.cuda.launches import launches

ALGORITHMS = [name for name in algorithms(kernels=True) if name in ("im2col", "implicit_gemm", "direct")]


def tensors(device, k, dtype, grad=True):
    sv.manual_seed(1)
    made = [t.to(dtype).to(device) for t in (sv.randn(2, 4, 7, 6), sv.randn(k, 4, 3, 3), sv.randn(k))]
    return [t.requires_grad_(grad) for t in made]


def outcome(device, k, dtype, pool, algorithm=None):
    x, w, b = tensors(device, k, dtype)
    y = conv2d_relu(x, w, b, padding=1, pool=pool, algorithm=algorithm)
    sv.manual_seed(2)
    y.backward(sv.randn(*y.shape).to(dtype).to(device))
    return [t.detach().cpu().numpy() for t in (y, x.grad, w.grad, b.grad)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("k", [5, 8])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_devices_agree(algorithm, k, pool, dtype):
    with launches() as names:
        ours = outcome("emulator", k, dtype, pool, algorithm)
    assert any(n.startswith("bias_relu_pool_backward" if pool else "bias_relu_backward") for n in names)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for a, b in zip(ours, outcome("cpu", k, dtype, pool), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_normalisation_folded_in(algorithm, pool):
    made = []
    for device in ("emulator", "cpu"):
        x, w, b = tensors(device, 8, "float64", grad=False)
        sv.manual_seed(3)
        norm = [sv.rand(8).to("float64").to(device) + 0.5 for _ in range(4)]
        y = conv2d_norm_relu((x, w, b, 1, 1, 1, 1), (*norm, 1e-5), pool, algorithm if device == "emulator" else None)
        made.append(y.cpu().numpy())
    np.testing.assert_allclose(*made, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_winners_are_kept_small(algorithm):
    x, w, b = tensors("emulator", 8, "float32")
    y = conv2d_relu(x, w, b, padding=1, pool=True, algorithm=algorithm)
    winners = y.grad_fn.ctx.kept["winners"]
    assert winners.dtype == np.uint8 and winners.nbytes in (y.numel(), y.numel() // 4)
    assert conv2d_relu(*tensors("emulator", 8, "float32", grad=False), padding=1, pool=True).grad_fn is None


def test_the_gradient_of_a_bias_without_relu_is_one_kernel_and_its_sum():
    x, w, b = tensors("emulator", 8, "float32")
    y = sv.nn.functional.conv2d(x, w, b, padding=1)
    with launches() as names:
        y.sum().backward()
    assert [n for n in names if not n.startswith(("conv", "gemm", "im2col", "col2im"))] == ["bias_relu_backward_f32", "add_lines_f32"]
    np.testing.assert_array_equal(b.grad.cpu().numpy(), np.full(8, 84, np.float32))
