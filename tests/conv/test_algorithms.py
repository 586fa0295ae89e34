"""Every algorithm × pass × problem against the seven-loop twin, and the twin against torch."""

import numpy as np
import pytest

from scratchvgg.array import CPU, get_backend, get_num_threads, set_num_threads
from scratchvgg.conv import Problem, algorithms, choose, get, im2col, register
from scratchvgg.conv.registry import Algorithm

backend = get_backend(CPU)
NONE = ((0, 0), (0, 0))
ONE = ((1, 1), (1, 1))
PROBLEMS = {
    "vgg": Problem(2, 3, 6, 5, 4, 3, 3, (1, 1), ONE),
    "valid": Problem(1, 2, 5, 6, 3, 3, 3),
    "stride": Problem(2, 2, 7, 8, 3, 3, 3, (2, 3), ONE),
    "stride leaves rows over": Problem(1, 2, 8, 8, 2, 3, 2, (3, 3), NONE),
    "dilation": Problem(1, 2, 9, 8, 3, 3, 2, (1, 1), ONE, (2, 3)),
    "stride and dilation": Problem(1, 2, 9, 9, 2, 2, 3, (2, 2), ((2, 2), (1, 1)), (3, 1)),
    "asymmetric padding": Problem(2, 2, 4, 5, 3, 2, 4, (1, 1), ((0, 1), (1, 2))),
    "padding beyond the filter": Problem(1, 2, 3, 3, 2, 2, 2, (1, 1), ((3, 3), (2, 2))),
    "1x1": Problem(2, 4, 3, 5, 3, 1, 1),
    "1x1 padded": Problem(1, 2, 3, 3, 2, 1, 1, (1, 1), ONE),
    "1x1 strided": Problem(1, 2, 5, 5, 2, 1, 1, (2, 2)),
    "whole image": Problem(3, 2, 4, 4, 5, 4, 4),
    "groups": Problem(2, 6, 5, 5, 4, 3, 3, (1, 1), ONE, (1, 1), 2),
    "depthwise": Problem(1, 4, 5, 4, 8, 3, 3, (2, 1), ONE, (1, 1), 4),
    "one pixel": Problem(1, 1, 1, 1, 1, 1, 1),
    "no images": Problem(0, 2, 4, 4, 3, 3, 3, (1, 1), ONE),
}
LAYOUTS = {
    "contiguous": lambda a: a,
    "channels_last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "channels_first_of_all": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
    "reversed": lambda a: np.ascontiguousarray(a[:, ::-1, :, ::-1])[:, ::-1, :, ::-1],
    "every second": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
}
FAST = [name for name in algorithms() if name != "direct"]


def operands(g, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in (g.x_shape, g.w_shape, g.y_shape, (g.K,))]


def passes(algorithm, g, x, w, dy, bias):
    return {
        "forward": algorithm.forward(backend, g, x, w, bias),
        "forward without bias": algorithm.forward(backend, g, x, w),
        "grad_input": algorithm.grad_input(backend, g, dy, w),
        "grad_weight": algorithm.grad_weight(backend, g, dy, x),
    }


def assert_close(got, wanted, rtol):
    for name, value in wanted.items():
        scale = max(1.0, np.abs(value).max(initial=0))
        np.testing.assert_allclose(got[name], value, rtol=0, atol=rtol * scale, err_msg=name)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_twin_equals_torch(name):
    torch = pytest.importorskip("torch")
    g = PROBLEMS[name]
    x, w, dy, bias = operands(g)
    (top, bottom), (left, right) = g.padding
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, bias))
    ty = torch.nn.functional.conv2d(torch.nn.functional.pad(tx, (left, right, top, bottom)), tw, tb, g.stride, 0, g.dilation, g.groups)
    assert tuple(ty.shape) == g.y_shape
    dx, dw = torch.autograd.grad(ty, (tx, tw), torch.tensor(dy))
    y, _, got_dx, got_dw = passes(get("direct"), g, x, w, dy, bias).values()
    for got, wanted in ((y, ty.detach()), (got_dx, dx), (got_dw, dw)):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("algorithm", FAST)
def test_equals_the_twin(algorithm, name, layout):
    g = PROBLEMS[name]
    x, w, dy, bias = operands(g)
    wanted = passes(get("direct"), g, x, w, dy, bias)
    before = [a.copy() for a in (x, w, dy, bias)]
    got = passes(get(algorithm), g, *(LAYOUTS[layout](a) for a in (x, w, dy)), bias)
    assert_close(got, wanted, 1e-13)
    for a, b in zip((x, w, dy, bias), before, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="an input was changed")


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("dtype, rtol", [(np.float32, 2e-6), (np.float16, 2e-3)])
def test_other_types(algorithm, dtype, rtol):
    for g in PROBLEMS.values():
        if not get(algorithm).supports(g, dtype):
            continue
        x, w, dy, bias = operands(g, dtype)
        got = passes(get(algorithm), g, x, w, dy, bias)
        wanted = passes(get("direct"), g, *(a.astype(np.float64) for a in (x, w, dy, bias)))
        assert {a.dtype for a in got.values()} == {np.dtype(dtype)}
        assert_close(got, wanted, rtol)


@pytest.mark.parametrize("cap", [1, 1000, 20_000])
@pytest.mark.parametrize("name", ["vgg", "stride and dilation", "groups", "padding beyond the filter", "1x1"])
def test_im2col_in_tiles_of_any_size(monkeypatch, name, cap):
    monkeypatch.setattr(im2col, "CAP", cap)
    monkeypatch.setattr(im2col, "FEWEST_ROWS", 1)
    g = PROBLEMS[name]
    x, w, dy, bias = operands(g)
    assert_close(passes(get("im2col"), g, x, w, dy, bias), passes(get("direct"), g, x, w, dy, bias), 1e-13)


@pytest.mark.parametrize("algorithm", FAST)
def test_out_is_filled_and_returned(algorithm):
    g = PROBLEMS["groups"]
    x, w, dy, bias = operands(g)
    a = get(algorithm)
    for shape, compute in (
        (g.y_shape, lambda out=None: a.forward(backend, g, x, w, bias, out=out)),
        (g.x_shape, lambda out=None: a.grad_input(backend, g, dy, w, out=out)),
        (g.w_shape, lambda out=None: a.grad_weight(backend, g, dy, x, out=out)),
    ):
        out = np.full(shape, np.nan)
        assert compute(out) is out
        np.testing.assert_array_equal(out, compute())


@pytest.mark.parametrize("algorithm", FAST)
def test_same_bits_on_any_number_of_threads(monkeypatch, algorithm):
    monkeypatch.setattr(im2col, "CAP", 1 << 17)  # several tiles; a single one is left to BLAS and its own threads
    problems = Problem(5, 8, 30, 30, 16, 3, 3, (1, 1), ONE), Problem(5, 8, 31, 31, 16, 3, 3, (2, 2), ONE)
    assert all(len(im2col.tiles(g, 4)) > 2 for g in problems)
    before = get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            results.append([a.tobytes() for p in problems for a in passes(get(algorithm), p, *operands(p, np.float32)).values()])
    finally:
        set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_im2col_never_builds_the_whole_matrix():
    g = Problem(64, 64, 224, 224, 64, 3, 3, (1, 1), ONE)  # conv1_2 of VGG-16: 7 GiB of columns
    assert get("im2col").workspace(g, np.float32) <= 2 * im2col.CAP
    pieces = im2col.tiles(g, 4)
    covered = sum((n1 - n0) * (p1 - p0) for n0, n1, p0, p1 in pieces)
    assert covered == g.N * g.P


def test_workspace_is_what_is_used():
    g = Problem(3, 8, 20, 20, 8, 3, 3, (1, 1), ONE)
    fresh = type(backend)(CPU)
    x, w, _, bias = operands(g, np.float32)
    get("im2col").forward(fresh, g, x, w, bias)
    assert fresh._scratch.__dict__["im2col.columns"].nbytes <= get("im2col").workspace(g, np.float32)


def test_names():
    with pytest.raises(ValueError, match="no algorithm 'fast'.*direct.*im2col"):
        choose(PROBLEMS["vgg"], np.float32, "fast")
    with pytest.raises(ValueError, match="taken"):
        register(type("Again", (Algorithm,), {"name": "im2col"}))
    assert choose(PROBLEMS["vgg"], np.float32).name == "im2col"


def test_macs():
    assert Problem(1, 64, 224, 224, 64, 3, 3, (1, 1), ONE).macs == 224 * 224 * 64 * 64 * 9
