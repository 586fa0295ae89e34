"""The algorithms of devices, on the emulator: checked like those of the CPU, in every type, cut into tiles, and chosen sensibly."""

from dataclasses import replace

import numpy as np
import pytest

from scratchvgg.array import CPU, Device, get_backend
from scratchvgg.array.dtypes import as_dtype
from scratchvgg.conv import PASSES, Epilogue, Problem, algorithms, check, choose, convolve, get, im2col
from scratchvgg.conv.check import WatchedBackend
from scratchvgg.conv.device import im2col as device_im2col
from scratchvgg.conv.device.implicit_gemm import in_fours
from scratchvgg.cuda.emulator import EmulatorBackend
from tests.conv.common import ONE, PROBLEMS, exact, magnitudes, operands

backend = get_backend(Device("emulator"))
NAMES = ["direct", "im2col", "implicit_gemm"]
LARGER = {
    "3x3": Problem(2, 16, 20, 22, 24, 3, 3, (1, 1), ONE),
    "strided": Problem(2, 8, 21, 23, 16, 3, 3, (2, 2), ONE),
    "grouped": Problem(3, 16, 12, 12, 16, 3, 3, (1, 1), ONE, (1, 1), 4),
    "1x1": Problem(1, 64, 12, 13, 24, 1, 1),
}


class WatchedEmulator(EmulatorBackend, WatchedBackend):
    """The emulator, remembering how much scratch was asked for."""

    def __init__(self):
        EmulatorBackend.__init__(self, Device("emulator"))
        self.asked = {}


def passes(algorithm, g, x, w, dy, bias=None):
    return {
        "forward": algorithm.forward(backend, g, x, w, bias),
        "grad_input": algorithm.grad_input(backend, g, dy, w),
        "grad_weight": algorithm.grad_weight(backend, g, dy, x),
    }


def assert_within_bounds(algorithm, g, got, arrays, dtype, loosest=1e4):
    truth, sizes = exact(g, *arrays), magnitudes(g, *arrays)
    for which, result in got.items():
        assert result.dtype == as_dtype(dtype).numpy
        error = float(np.abs(result.astype(np.longdouble) - truth[which]).max(initial=0)) / sizes[which]
        bound = algorithm.error_bound(g, dtype, which)
        assert error <= bound <= loosest * error, f"{which}: error {error:.3g}, bound {bound:.3g}"


@pytest.mark.parametrize("name", NAMES)
def test_passes_the_check_of_every_algorithm(name, monkeypatch):
    """Layouts, out=, scratch, epilogues and errors on the grid and on random problems."""
    monkeypatch.setitem(check.__globals__, "WatchedBackend", WatchedEmulator)
    report = check(get(name, kernels=True), draws=10)
    assert report.ok, report


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_errors_stay_within_bounds_that_mean_something(name, dtype):
    algorithm = get(name, kernels=True)
    for g in LARGER.values():
        if algorithm.supports(g, dtype):
            arrays = [a.astype(as_dtype(dtype).numpy) for a in operands(g, "float32")]
            assert_within_bounds(algorithm, g, passes(algorithm, g, *arrays), arrays, dtype)


def test_all_of_them_take_float32_and_float64_and_two_the_narrow_types():
    assert set(NAMES) <= set(algorithms(kernels=True))
    for name in NAMES:
        supported = {d for d in ("float16", "bfloat16", "float32", "float64", "int64") if get(name, kernels=True).supports(PROBLEMS["groups"], d)}
        assert supported == {"float32", "float64"} | ({"float16", "bfloat16"} if name != "direct" else set())


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_cpu(name):
    """Both on im2col's arithmetic: the same sums in another order."""
    for g in LARGER.values():
        arrays = operands(g, "float64", 3)
        want = {
            "forward": im2col.Im2col().forward(get_backend(CPU), g, *arrays[:2], arrays[3]),
            "grad_input": im2col.Im2col().grad_input(get_backend(CPU), g, arrays[2], arrays[1]),
            "grad_weight": im2col.Im2col().grad_weight(get_backend(CPU), g, arrays[2], arrays[0]),
        }
        for which, got in passes(get(name, kernels=True), g, *arrays).items():
            np.testing.assert_allclose(got, want[which], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["im2col", "implicit_gemm"])
def test_epilogues_with_winners_in_any_layout(name):
    g, algorithm = LARGER["3x3"], get(name, kernels=True)
    x, w, _, bias = operands(g, "float32")
    scale = np.linspace(-1, 2, g.K).astype(np.float32)
    y = algorithm.forward(backend, g, x, w) * scale[:, None, None] + bias[:, None, None]
    windows = y.reshape(g.N, g.K, g.P // 2, 2, g.Q // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(g.N, g.K, g.P // 2, g.Q // 2, 4)
    for arrange in (np.ascontiguousarray, lambda a: a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
        winners, out = (arrange(np.full(windows.shape[:4], 9, kind)) for kind in (np.uint8, np.float32))
        got = convolve(algorithm, backend, g, x, w, bias, out, Epilogue(scale=scale, relu=True, pool=True, winners=winners))
        assert got is out
        np.testing.assert_allclose(out, np.maximum(windows.max(-1), 0), rtol=1e-5, atol=1e-5)
        two = np.sort(windows, axis=-1)
        clear = two[..., -1] - two[..., -2] > 1e-4
        np.testing.assert_array_equal(winners[clear], windows.argmax(-1)[clear])


@pytest.mark.parametrize("name", ["vgg", "stride and dilation", "groups", "several tiles", "depthwise"])
@pytest.mark.parametrize("cap", [1, 5000])
def test_im2col_in_tiles_of_any_size(monkeypatch, name, cap):
    monkeypatch.setattr(device_im2col, "CAP", cap)
    g, algorithm = PROBLEMS[name], get("im2col", kernels=True)
    arrays = operands(g)
    for which, got in passes(algorithm, g, *arrays).items():
        np.testing.assert_allclose(got, exact(g, *arrays)[which].astype(float), rtol=1e-12, atol=1e-12)
    pooled = convolve(algorithm, backend, g, *arrays[:2], arrays[3], None, Epilogue(pool=True))
    p, q = g.P // 2, g.Q // 2
    y = exact(g, *arrays)["forward"][:, :, : 2 * p, : 2 * q].astype(float)
    np.testing.assert_allclose(pooled, y.reshape(g.N, g.K, p, 2, q, 2).max((3, 5)), rtol=1e-12, atol=1e-12)


def test_im2col_keeps_to_its_cap():
    g = Problem(64, 64, 224, 224, 64, 3, 3, (1, 1), ONE)  # conv1_2 of VGG-16: 7 GiB of columns
    for which in PASSES:
        assert get("im2col", kernels=True).workspace(g, "float32", which) <= 1.2 * device_im2col.CAP


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_every_time(name):
    g, algorithm = LARGER["3x3"], get(name, kernels=True)
    arrays = operands(g, "float32")
    first, second = (passes(algorithm, g, *arrays) for _ in range(2))
    for which in PASSES:
        assert first[which].tobytes() == second[which].tobytes()


def test_vgg_runs_on_implicit_gemm():
    """im2col moves nine times the image; the loops are there to be read."""
    for c, k, size in ((3, 64, 224), (64, 64, 224), (256, 256, 56), (512, 512, 14)):
        for n in (1, 64):
            for which in PASSES if c > 3 else PASSES[:1]:
                assert choose(Problem(n, c, size, size, k, 3, 3, (1, 1), ONE), "float32", "auto", which, kernels=True).name == "implicit_gemm"


@pytest.mark.parametrize("epilogue", [Epilogue(), Epilogue(relu=True, pool=True)])
def test_three_channels_are_padded_to_four(epilogue):
    g = Problem(2, 3, 9, 10, 8, 3, 3, (1, 1), ONE)
    assert [in_fours(g, which).C for which in PASSES] == [4, 4, 4]
    assert [in_fours(replace(g, K=6), which).C for which in PASSES] == [4, 3, 3]
    assert in_fours(replace(g, C=6, groups=2), "forward").C == 6
    algorithm, watched, (x, w, dy, bias) = get("implicit_gemm", kernels=True), WatchedEmulator(), operands(g)
    want = exact(g, x, w, dy, bias)
    got = {"forward": convolve(algorithm, watched, g, x, w, bias, None, epilogue)}
    assert watched.most() == algorithm.workspace(g, "float64", "forward")
    got |= {"grad_input": algorithm.grad_input(backend, g, dy, w), "grad_weight": algorithm.grad_weight(backend, g, dy, x)}
    want["forward"] = epilogue.apply(get_backend(CPU), want["forward"].astype(float))
    for which in PASSES:
        np.testing.assert_allclose(got[which], want[which].astype(float), rtol=1e-12, atol=1e-12)


def test_costs_are_numbers():
    for name in NAMES:
        for g in PROBLEMS.values():
            for which in PASSES:
                assert 0 < get(name, kernels=True).cost(g, "float32", which) < 1e12
                assert get(name, kernels=True).workspace(g, "float32", which) >= 0
