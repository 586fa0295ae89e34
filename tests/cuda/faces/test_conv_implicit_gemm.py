"""Implicit GEMM against NumPy in float64: every version, pass and type, splits, what follows the sum, the launch rule, bad arguments."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda.emulator import order, sanitize
from scratchvgg.cuda.faces import conv_examples as cases
from scratchvgg.cuda.faces import conv_implicit_gemm as face
from scratchvgg.cuda.faces.conv_implicit_gemm import PASSES, TILES, Plan, fitting, plan
from scratchvgg.cuda.launch_size import accumulator

backend = get_backend(Device("emulator"))
FACES = {"forward": face.forward, "grad_input": face.grad_input, "grad_weight": face.grad_weight}
SHAPES = cases.SMALL | {
    "beyond": cases.Shape(1, 4, 3, 3, 4, 2, 2, padding=((3, 3), (2, 2))),
    "stride 3, dilation 2": cases.Shape(2, 4, 17, 22, 20, stride=(3, 2), dilation=(2, 3)),
    "depthwise": cases.Shape(1, 4, 5, 4, 8, stride=(2, 1), groups=4),
    "deep": cases.Shape(1, 72, 7, 6, 4),
    "several tiles": cases.Shape(1, 24, 13, 12, 132),
    "ten classes": cases.Shape(2, 8, 4, 4, 10, 4, 4, padding=((0, 0), (0, 0))),
    "one": cases.Shape(1, 1, 1, 1, 1, 1, 1, padding=((0, 0), (0, 0))),
}


def check(g, which, dtype, how=None, seed=0):
    a, b, out = cases.operands(backend, np.random.default_rng(seed), g, which, dtype)
    if how is not None and how.version in ("v1", "v2"):
        face.plain(backend, g, which, how.version, a, b, out)
    else:
        assert FACES[which](backend, g, a, b, out, plan=how) is out
    error = np.abs(np.asarray(out, np.float64) - cases.reference(g, which, a, b)).max()
    assert error <= 8 * cases.TOLERANCE[dtype] * cases.reference(g, which, np.abs(np.asarray(a, np.float64)), np.abs(np.asarray(b, np.float64))).max()
    return out


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", SHAPES)
def test_every_version_is_numpys(name, which):
    for dtype in ("float32", "float64"):
        for version in ("v1", "v2", *fitting(SHAPES[name], which, dtype)):
            check(SHAPES[name], which, dtype, Plan(version, 1, 0.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("which", PASSES)
def test_narrow_types(which, dtype):
    for name in ("vgg", "first", "odd", "several tiles"):
        for version in fitting(SHAPES[name], which, dtype):
            check(SHAPES[name], which, dtype, Plan(version, 1, 0.0))


@pytest.mark.parametrize("dtype", TILES)
@pytest.mark.parametrize("which", PASSES)
def test_splits_share_the_depth(which, dtype):
    """As many as there are slices, more, and such that the last are empty."""
    for name in ("vgg", "odd"):
        for splits in (2, 5, 40):
            check(SHAPES[name], which, dtype, Plan(fitting(SHAPES[name], which, dtype)[0], splits, 0.0))


@pytest.mark.parametrize("which", PASSES)
def test_any_order_of_threads(which):
    how = Plan("small", 2, 0.0)
    plain = check(SHAPES["vgg"], which, "float32", how)
    for way in ("reverse", 4):
        with order(way):
            np.testing.assert_array_equal(check(SHAPES["vgg"], which, "float32", how), plain)


@pytest.mark.parametrize("which", PASSES)
def test_the_sanitizer_finds_nothing(which):
    with sanitize():
        check(cases.Shape(1, 4, 3, 4, 8), which, "float32", Plan("small", 2, 0.0))
        check(cases.Shape(1, 3, 4, 3, 5, stride=(2, 1)), which, "float64", Plan("general", 1, 0.0))


def after(g, sums, scale, bias, relu, pool):
    """What follows the sum, step by step, and the winners."""
    y = sums if scale is None else sums * scale
    y = y if bias is None else y + bias
    winners = None
    if pool:
        p, q = g.P // 2, g.Q // 2
        windows = y[:, : 2 * p, : 2 * q].reshape(g.N, p, 2, q, 2, g.K).transpose(0, 1, 3, 5, 2, 4).reshape(g.N, p, q, g.K, 4)
        y, winners = windows.max(-1), windows.argmax(-1)
    return np.maximum(y, 0) if relu else y, winners


@pytest.mark.parametrize("dtype", TILES)
@pytest.mark.parametrize("name", ["vgg", "odd", "groups", "several tiles"])
def test_what_follows_the_sum(name, dtype):
    """Small whole numbers, so that every type adds them up exactly and ties are ties."""
    g, rng, kind = SHAPES[name], np.random.default_rng(3), cases.dtype_of(dtype)
    x, w = (backend.asarray(rng.integers(-1, 2, g.shapes[which]).astype(kind)) for which in "xw")
    vectors = [backend.asarray(rng.integers(-2, 3, g.K).astype(accumulator(kind))) for _ in range(2)]
    sums = cases.reference(g, "forward", x, w)
    for number, version in enumerate(fitting(g, "forward", dtype)):
        for relu, pool, scale, bias in ((True, False, None, 1), (True, True, 0, 1), (False, True, None, None), (False, False, 0, None)):
            scale, bias = (None if i is None else vectors[i] for i in (scale, bias))
            expected, places = after(g, sums, scale, bias, relu, pool)
            y, winners = backend.empty(expected.shape, dtype), backend.empty(expected.shape, "uint8") if pool else None
            how = Plan(version, 1 + number % 2 * 2, 0.0)
            face.forward(backend, g, x, w, y, scale=scale, bias=bias, relu=relu, pool=pool, winners=winners, plan=how)
            np.testing.assert_array_equal(np.asarray(y, np.float64), expected)
            if pool:
                np.testing.assert_array_equal(winners, places)


@pytest.mark.parametrize("splits", [1, 2])
def test_nan_and_ties(splits):
    """A NaN comes through ReLU and pool, the last of a window wins; of equals the first."""
    g = cases.Shape(1, 4, 4, 4, 4, 1, 1, padding=((0, 0), (0, 0)))
    x, w, _ = cases.operands(backend, np.random.default_rng(0), g, "forward", "float32")
    x[...], w[...] = 1, 1
    x[0, 0, 1], x[0, 1, 0], x[0, 3, 3] = np.nan, np.nan, -5
    y, winners = backend.empty((1, 2, 2, 4), "float32"), backend.empty((1, 2, 2, 4), "uint8")
    face.forward(backend, g, x, w, y, relu=True, pool=True, winners=winners, plan=Plan("small", splits, 0.0))
    np.testing.assert_array_equal(y[0, :, :, 0], [[np.nan, 4], [4, 4]])
    np.testing.assert_array_equal(winners[0, :, :, 0], [[2, 0], [0, 0]])


def test_arrays_at_odd_places_take_the_general_version():
    g = SHAPES["vgg"]
    held = backend.empty((int(np.prod(g.shapes["w"])) + 1,), "float32")
    for which in PASSES:
        a, b, out = cases.operands(backend, np.random.default_rng(0), g, which, "float32")
        if b.shape == g.shapes["w"]:
            held[1:] = b.ravel()
            b = held[1:].reshape(b.shape)
        FACES[which](backend, g, a, b, out)
        np.testing.assert_allclose(out, cases.reference(g, which, a, b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", cases.VGG)
def test_vgg_gets_the_fast_versions(name):
    g = cases.VGG[name]
    for which in PASSES:
        how = plan(g, which, "float32")
        assert (how.version == "general") == (g.C == 3)
        rows, columns, depth = face.sides(g, which)
        assert how.splits * 256 <= depth or how.splits == 1
        assert face.workspace(g, which, "float32") == (4 * how.splits * rows * columns if how.splits > 1 else 0) <= 128 << 20
    assert plan(g, "grad_weight", "float32").splits > 1  # few results, each a sum over all pixels
    if g.K >= 256:
        assert plan(g, "forward", "float32").version == "large"


def test_small_batches_of_small_layers_are_split():
    how = plan(cases.Shape(1, 512, 14, 14, 512), "forward", "float32")
    assert how.splits > 1


def test_nothing_to_do():
    g = cases.Shape(0, 4, 5, 5, 4)
    for which in PASSES:
        a, b, out = cases.operands(backend, np.random.default_rng(0), g, which, "float32")
        FACES[which](backend, g, a, b, out)
    assert not out.any()


def test_errors_name_the_array():
    g = SHAPES["vgg"]
    x, w, y = cases.operands(backend, np.random.default_rng(1), g, "forward", "float32")
    with pytest.raises(ValueError, match=r"y has shape \(2, 6, 5, 12\), expected \(2, 3, 2, 12\)"):
        face.forward(backend, g, x, w, y, pool=True)
    with pytest.raises(TypeError, match="bias is float64, expected float32"):
        face.forward(backend, g, x, w, y, bias=np.zeros(g.K))
    with pytest.raises(ValueError, match=r"scale has shape \(3,\), expected \(12,\)"):
        face.forward(backend, g, x, w, y, scale=np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="winners is float32, expected uint8"):
        face.forward(backend, g, x, w, y[:, :3, :2].copy(), pool=True, winners=y[:, :3, :2].copy())
    with pytest.raises(TypeError, match="w is float16, expected float32"):
        face.grad_input(backend, g, y, w.astype(np.float16), x)
    with pytest.raises(ValueError, match=r"dw has shape .* expected \(12, 3, 3, 8\)"):
        face.grad_weight(backend, g, y, x, w[:3])
    with pytest.raises(ValueError, match=r"out has shape \(5, 12\), expected \(60, 12\)"):
        face.finish(backend, np.zeros((2, 60, 12), np.float32), np.zeros((5, 12), np.float32))
    with pytest.raises(TypeError, match="x is float16; there are kernels for float32, float64"):
        face.plain(backend, g, "forward", "v1", *(a.astype(np.float16) for a in (x, w, y)))
