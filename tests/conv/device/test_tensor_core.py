"""The algorithms tensor_core and tensor_core_tf32 on the emulator: layouts, epilogues, errors within their bounds, and when they are chosen."""

import numpy as np
import pytest

pytest.importorskip("ml_dtypes")

from scratchvgg.array import Device, get_backend
from scratchvgg.array.dtypes import as_dtype
from scratchvgg.conv import PASSES, Epilogue, Problem, choose, convolve, get
from scratchvgg.cuda.precision import backends
from tests.conv.common import LAYOUTS, NONE, ONE, exact, magnitudes
from tests.conv.common import operands as numbers
from tests.cuda.launches import launches

backend = get_backend(Device("emulator"))
PROBLEMS = {
    "vgg": Problem(2, 16, 6, 5, 24, 3, 3, (1, 1), ONE),
    "first": Problem(1, 3, 7, 6, 8, 3, 3, (1, 1), ONE),
    "strided, dilated": Problem(2, 8, 9, 8, 16, 3, 2, (2, 1), ((1, 2), (0, 1)), (1, 2)),
    "1x1": Problem(1, 40, 5, 4, 8, 1, 1, (1, 1), NONE),
    "long sums": Problem(1, 512, 3, 3, 8, 3, 3, (1, 1), ONE),
}
TYPES = {"float16": "tensor_core", "bfloat16": "tensor_core", "float32": "tensor_core_tf32"}


def operands(g, dtype):
    return [a.astype(as_dtype(dtype).numpy) for a in numbers(g, "float32")]


@pytest.fixture
def tf32():
    backends.cudnn.allow_tf32 = True
    yield
    backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_errors_stay_within_bounds_that_mean_something(name, dtype):
    g, algorithm = PROBLEMS[name], get(TYPES[dtype], kernels=True)
    assert algorithm.supports(g, dtype)
    x, w, dy, bias = operands(g, dtype)
    got = {
        "forward": algorithm.forward(backend, g, x, w, bias), "grad_input": algorithm.grad_input(backend, g, dy, w),
        "grad_weight": algorithm.grad_weight(backend, g, dy, x),
    }  # fmt: skip
    truth, size = exact(g, x, w, dy, bias), magnitudes(g, x, w, dy, bias)
    for which, result in got.items():
        assert result.dtype == x.dtype and result.shape == truth[which].shape
        error = float(np.abs(result.astype(np.longdouble) - truth[which]).max()) / size[which]
        assert error <= algorithm.error_bound(g, dtype, which) <= 1000 * error, which


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_and_out(layout):
    g, algorithm, arrange = PROBLEMS["vgg"], get("tensor_core", kernels=True), LAYOUTS[layout]
    x, w, dy, bias = operands(g, "float16")
    for function, arrays, shape in (
        (algorithm.forward, (x, w, bias), g.y_shape), (algorithm.grad_input, (dy, w), g.x_shape), (algorithm.grad_weight, (dy, x), g.w_shape),
    ):  # fmt: skip
        wanted = function(backend, g, *arrays)
        out = arrange(np.zeros(shape, x.dtype))
        arranged = [arrange(a) if a.ndim == 4 else a for a in arrays]
        assert function(backend, g, *arranged, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_arrays_at_odd_places_are_copied():
    g, algorithm = PROBLEMS["vgg"], get("tensor_core", kernels=True)
    x, w, *_ = operands(g, "bfloat16")
    wanted = algorithm.forward(backend, g, x, w)

    def displaced(a):
        n, c, h, v = a.shape
        held = np.empty(a.size + 1, a.dtype)[1:].reshape(n, h, v, c).transpose(0, 3, 1, 2)
        held[...] = a
        return held

    out = displaced(np.zeros(g.y_shape, x.dtype))
    assert algorithm.forward(backend, g, displaced(x), displaced(w), out=out) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("dtype", TYPES)
def test_what_follows_the_sum_is_fused(dtype):
    g, algorithm, rng = PROBLEMS["vgg"], get(TYPES[dtype], kernels=True), np.random.default_rng(0)
    kind = as_dtype(dtype).numpy
    x, w = (rng.integers(-2, 3, shape).astype(kind) for shape in (g.x_shape, g.w_shape))  # sums are exact
    scale, bias = (rng.integers(-2, 3, g.K).astype(kind) for _ in range(2))
    factor, offset = (np.asarray(a, np.longdouble)[:, None, None] for a in (scale, bias))
    sums = exact(g, x, w, np.zeros(g.y_shape))["forward"] * factor + offset
    with launches() as names:
        y = convolve(algorithm, backend, g, x, w, bias, epilogue=Epilogue(scale, relu=True))
    np.testing.assert_array_equal(np.asarray(y, np.longdouble), np.maximum(sums, 0))
    assert all(name.startswith(("conv_tensor_core", "conv_implicit_gemm_finish")) for name in names)
    windows = sums[:, :, : g.P // 2 * 2, : g.Q // 2 * 2].reshape(g.N, g.K, g.P // 2, 2, g.Q // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    windows = windows.reshape(g.N, g.K, g.P // 2, g.Q // 2, 4)
    winners = np.empty(windows.shape[:-1], np.uint8)
    y = convolve(algorithm, backend, g, x, w, bias, epilogue=Epilogue(scale, True, True, winners))
    np.testing.assert_array_equal(np.asarray(y, np.longdouble), np.maximum(windows.max(-1), 0))
    np.testing.assert_array_equal(winners, windows.argmax(-1))


def test_a_float32_out_gets_the_sums_unrounded():
    g, algorithm = PROBLEMS["vgg"], get("tensor_core", kernels=True)
    x, w, dy, _ = operands(g, "bfloat16")
    out = np.empty(g.w_shape, np.float32)
    assert algorithm.grad_weight(backend, g, dy, x, out=out) is out
    np.testing.assert_allclose(out, np.asarray(exact(g, x, w, dy)["grad_weight"], float), rtol=1e-4, atol=1e-5)


def test_what_they_support():
    core, tf32 = get("tensor_core", kernels=True), get("tensor_core_tf32", kernels=True)
    assert {d for d in ("float16", "bfloat16", "float32", "float64", "int64") if core.supports(PROBLEMS["vgg"], d)} == {"float16", "bfloat16"}
    assert {d for d in ("float16", "bfloat16", "float32", "float64", "int64") if tf32.supports(PROBLEMS["vgg"], d)} == {"float32"}
    for g in (Problem(1, 8, 4, 4, 8, 3, 3, (1, 1), ONE, (1, 1), 2), Problem(1, 8, 4, 4, 10, 3, 3), Problem(1, 8, 20, 4, 8, 17, 1)):
        assert not core.supports(g, "bfloat16")
    for g in PROBLEMS.values():
        for which in PASSES:
            assert np.isfinite(core.cost(g, "bfloat16", which)) and core.workspace(g, "bfloat16", which) >= 0


def test_vggs_16_bit_layers_choose_tensor_cores():
    for g in (Problem(64, 64, 224, 224, 64, 3, 3, (1, 1), ONE), Problem(64, 512, 14, 14, 512, 3, 3, (1, 1), ONE)):
        for which in PASSES:
            for dtype in ("float16", "bfloat16"):
                assert choose(g, dtype, "auto", which, kernels=True).name == "tensor_core"


def test_tf32_is_chosen_only_when_allowed(tf32):
    g = Problem(64, 256, 56, 56, 256, 3, 3, (1, 1), ONE)
    assert choose(g, "float32", "auto", kernels=True).name == "tensor_core_tf32"
    backends.cudnn.allow_tf32 = False
    assert choose(g, "float32", "auto", kernels=True).name != "tensor_core_tf32"
    assert choose(g, "float32", "tensor_core_tf32", kernels=True).name == "tensor_core_tf32"
