"""The seven loops on a device against NumPy in float64: both versions, all passes, shared memory, bad arguments."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda.emulator import order
from scratchvgg.cuda.faces import conv_direct
from scratchvgg.cuda.faces import conv_examples as cases

backend = get_backend(Device("emulator"))
PASSES = {"forward": conv_direct.forward, "grad_input": conv_direct.grad_input, "grad_weight": conv_direct.grad_weight}
SHAPES = cases.SMALL | {
    "beyond": cases.Shape(1, 2, 3, 3, 2, 2, 2, padding=((3, 3), (2, 2))),
    "stride 3, dilation 2": cases.Shape(2, 3, 17, 22, 18, stride=(3, 2), dilation=(2, 3)),
    "depthwise": cases.Shape(1, 4, 5, 4, 8, stride=(2, 1), groups=4),
    "several tiles": cases.Shape(1, 9, 19, 17, 17),
    "one": cases.Shape(1, 1, 1, 1, 1, 1, 1, padding=((0, 0), (0, 0))),
}


def check(g, which, dtype, version, seed=0):
    a, b, out = cases.operands(backend, np.random.default_rng(seed), g, which, dtype)
    assert PASSES[which](backend, g, a, b, out, version=version) is out
    error = np.abs(out - cases.reference(g, which, a, b)).max()
    assert error <= 8 * cases.TOLERANCE[dtype] * cases.reference(g, which, np.abs(a), np.abs(b)).max()
    return out


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", SHAPES)
def test_is_numpys(name, which):
    for dtype in conv_direct.DTYPES:
        for version in ("v1", "v2"):
            check(SHAPES[name], which, dtype, version)


@pytest.mark.parametrize("which", PASSES)
def test_any_order_of_threads(which):
    plain = check(SHAPES["odd"], which, "float32", "v2")
    for way in ("reverse", 5):
        with order(way):
            np.testing.assert_array_equal(check(SHAPES["odd"], which, "float32", "v2"), plain)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_bias(version):
    g = SHAPES["groups"]
    x, w, y = cases.operands(backend, np.random.default_rng(1), g, "forward", "float32")
    bias = cases.random(backend, np.random.default_rng(2), (g.K,), "float32")
    conv_direct.forward(backend, g, x, w, y, bias, version=version)
    np.testing.assert_allclose(y, cases.reference(g, "forward", x, w) + bias, rtol=1e-5, atol=1e-5)


def test_a_filter_that_shared_memory_cannot_hold_takes_v1():
    g = cases.Shape(1, 2, 13, 12, 2, 11, 11, padding=((2, 2), (2, 2)))
    assert conv_direct.shared_bytes(g, "forward", 4) > 48 << 10
    for which in PASSES:
        check(g, which, "float32", None)


def test_errors_name_the_array():
    g = SHAPES["vgg"]
    x, w, y = cases.operands(backend, np.random.default_rng(1), g, "forward", "float32")
    with pytest.raises(ValueError, match=r"w has shape \(6, 3, 3, 8\), expected \(12, 3, 3, 8\)"):
        conv_direct.forward(backend, g, x, w[:6], y)
    with pytest.raises(ValueError, match=r"bias has shape \(6,\), expected \(12,\)"):
        conv_direct.forward(backend, g, x, w, y, w[0, 0, 0, :6])
    with pytest.raises(TypeError, match="x is float16; there are kernels for float32, float64"):
        conv_direct.forward(backend, g, *(a.astype(np.float16) for a in (x, w, y)))
    with pytest.raises(TypeError, match="dw is float32, expected float64"):
        conv_direct.grad_weight(backend, g, y.astype(np.float64), x.astype(np.float64), w)
