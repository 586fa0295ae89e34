"""Every algorithm against PyTorch, on layers like VGG's and on large filters."""

import numpy as np
import pytest

from scratchvgg.conv import Problem, get

from .common import ONE, PROBLEMS, TWO, magnitudes, operands, passes, supported

torch = pytest.importorskip("torch")

LAYERS = {
    "conv1_1": Problem(1, 3, 32, 32, 64, 3, 3, (1, 1), ONE),
    "conv1_2, narrow": Problem(2, 16, 28, 28, 16, 3, 3, (1, 1), ONE),
    "conv3, 56 wide": Problem(1, 32, 14, 56, 32, 3, 3, (1, 1), ONE),
    "conv5": Problem(2, 64, 14, 14, 64, 3, 3, (1, 1), ONE),
    "conv5 of CIFAR": Problem(16, 48, 2, 2, 48, 3, 3, (1, 1), ONE),
    "C's 1x1": Problem(2, 64, 14, 14, 64, 1, 1),
    "a head as a convolution": Problem(1, 16, 7, 7, 128, 7, 7),
    "5x5": Problem(1, 16, 27, 27, 24, 5, 5, (1, 1), TWO),
    "7x7 strided": Problem(1, 3, 37, 37, 8, 7, 7, (2, 2), ((3, 3), (3, 3))),
    "11x11": Problem(1, 3, 32, 32, 8, 11, 11, (1, 1), TWO),
    "dilated": Problem(1, 8, 20, 20, 8, 3, 3, (1, 1), TWO, (2, 2)),
    "grouped": Problem(2, 32, 14, 14, 32, 3, 3, (1, 1), ONE, (1, 1), 4),
    "depthwise 7x7": Problem(1, 16, 14, 14, 16, 7, 7, (1, 1), ((3, 3), (3, 3)), (1, 1), 16),
}


def torch_passes(g, x, w, dy, bias, dtype):
    """The three passes by PyTorch, computed in ``dtype``, as float64 arrays."""
    (top, bottom), (left, right) = g.padding
    tx, tw, tb, ty = (torch.tensor(a, dtype=dtype) for a in (x, w, bias, dy))
    tx.requires_grad_(), tw.requires_grad_()
    y = torch.nn.functional.conv2d(torch.nn.functional.pad(tx, (left, right, top, bottom)), tw, tb, g.stride, 0, g.dilation, g.groups)
    dx, dw = torch.autograd.grad(y, (tx, tw), ty)
    return dict(zip(("forward", "grad_input", "grad_weight"), (a.detach().double().numpy() for a in (y, dx, dw)), strict=True))


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_twin_equals_torch(name):
    g = PROBLEMS[name]
    arrays = operands(g)
    got = passes(get("direct"), g, *arrays)
    for which, wanted in torch_passes(g, *arrays, torch.float64).items():
        np.testing.assert_allclose(got[which], wanted, rtol=1e-12, atol=1e-12, err_msg=which)


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=LAYERS, dtypes=["float64", "float32"]))
def test_equals_torch(algorithm, name, dtype):
    """float64 within the bound (torch's own error is far below); float32 within the bound of torch's float64."""
    g = LAYERS[name]
    arrays = operands(g, dtype, 2)
    wanted = torch_passes(g, *arrays, torch.float64)
    sizes = magnitudes(g, *arrays)
    for which, value in passes(get(algorithm), g, *arrays).items():
        error = np.abs(value - wanted[which]).max() / sizes[which]
        slack = get("direct").error_bound(g, "float64", which)
        assert error <= get(algorithm).error_bound(g, dtype, which) + slack, f"{which}: {error:.3g}"


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("algorithm", ["im2col", "gemm_1x1", "shifted", "fft"])
def test_float32_is_as_good_as_torch(algorithm, name):
    """Algorithms that only add products up: RMS error at most twice PyTorch's. fft: four times, or two roundoffs of the result."""
    g = LAYERS[name]
    if not get(algorithm).supports(g, "float32"):
        return
    arrays = operands(g, "float32", 3)
    truth, peer = (torch_passes(g, *arrays, dtype) for dtype in (torch.float64, torch.float32))
    for which, value in passes(get(algorithm), g, *arrays).items():
        rms, torch_rms = (np.sqrt(np.mean((a - truth[which]) ** 2)) for a in (value, peer[which]))
        times, floor = (4, 2.0**-22) if algorithm == "fft" else (2, 2.0**-25)
        assert rms <= times * torch_rms + floor * np.sqrt(np.mean(truth[which] ** 2)), f"{which}: RMS error {rms:.3g}, torch's {torch_rms:.3g}"
