"""Convolution on tensor cores against NumPy in float64: versions, passes, types, splits, what follows the sum, launch rule, bad arguments."""

import numpy as np
import pytest

pytest.importorskip("ml_dtypes")

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import registry
from scratchvgg.cuda.emulator import choose, order, sanitize
from scratchvgg.cuda.faces import conv_examples as cases
from scratchvgg.cuda.faces import conv_tensor_core as face
from scratchvgg.cuda.faces.conv_implicit_gemm import PASSES, Plan
from scratchvgg.cuda.faces.conv_tensor_core import SUFFIX, TILES, fitting, plan

backend = get_backend(Device("emulator"))
FACES = {"forward": face.forward, "grad_input": face.grad_input, "grad_weight": face.grad_weight}
NONE = ((0, 0), (0, 0))
SHAPES = face.SMALL | {
    "several slices and tiles": cases.Shape(1, 40, 9, 8, 72),
    "1x1": cases.Shape(2, 16, 5, 6, 24, 1, 1, padding=NONE),
    "1x1, stride": cases.Shape(1, 24, 5, 6, 8, 1, 1, (2, 2), NONE),
    "stride 3, dilation 2": cases.Shape(2, 8, 17, 12, 16, stride=(3, 2), dilation=(2, 3)),
    "beyond": cases.Shape(1, 8, 3, 3, 8, 2, 2, padding=((3, 3), (2, 2))),
    "16x2": cases.Shape(1, 8, 17, 3, 8, 16, 2, padding=NONE),
    "2x16": cases.Shape(1, 8, 3, 17, 8, 2, 16, padding=NONE),
    "many images in a tile": cases.Shape(70, 8, 2, 3, 8, 2, 3, padding=NONE),
    "first, 7x7": cases.Shape(1, 3, 9, 8, 16, 7, 7, (2, 2), ((3, 3), (3, 3))),
    "one pixel, one channel": cases.Shape(1, 1, 1, 1, 8, 1, 1, padding=NONE),
}
ROUNDING = {"float32": 3e-7, "float16": 6e-4, "bfloat16": 4.5e-3}


def operands(g, which, dtype, seed=0):
    a, b, out = cases.operands(backend, np.random.default_rng(seed), g, which, dtype)
    return face.representable(backend, a), face.representable(backend, b), out


def check(g, which, dtype, how, seed=0):
    a, b, out = operands(g, which, dtype, seed)
    out[...] = np.nan
    if how.version == "v1":
        face.plain(backend, g, which, a, b, out)
    else:
        assert FACES[which](backend, g, a, b, out, plan=how) is out
    close(g, which, a, b, out)
    return out


def close(g, which, a, b, out):
    wanted = cases.reference(g, which, a, b)
    size = cases.reference(g, which, *(np.abs(np.asarray(m, np.float64)) for m in (a, b)))
    error = np.abs(np.asarray(out, np.float64) - wanted)
    rounding = ROUNDING[out.dtype.name]
    assert (error <= rounding * np.abs(wanted) + 1e-6 * size.max()).all(), f"{which} of {g}: {error.max()}"


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", SHAPES)
def test_every_version_is_numpys(name, which):
    versions = fitting(SHAPES[name], which, "bfloat16")
    assert versions
    for version in ("v1", *versions):
        check(SHAPES[name], which, "bfloat16", Plan(version, 1, 0.0))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("which", PASSES)
def test_other_types(which, dtype):
    for name in ("odd", "first", "several slices and tiles"):
        for version in ("v1", *fitting(SHAPES[name], which, dtype)):
            check(SHAPES[name], which, dtype, Plan(version, 1, 0.0))


def test_the_second_rung():
    for name in ("words", "several slices and tiles"):
        check(SHAPES[name], "forward", "bfloat16", Plan("v2", 1, 0.0))


def test_filters_of_any_number_in_the_forward_pass():
    for g in (cases.Shape(1, 8, 4, 5, 10), cases.Shape(1, 8, 4, 4, 5, 4, 4, padding=NONE), cases.Shape(1, 3, 5, 4, 7)):
        for dtype in SUFFIX:
            for version in fitting(g, "forward", dtype):
                check(g, "forward", dtype, Plan(version, 1, 0.0))
        assert not fitting(g, "grad_input", "bfloat16") and not fitting(g, "grad_weight", "bfloat16")


@pytest.mark.parametrize("which", PASSES)
def test_splits_share_the_depth(which):
    """As many as there are slices, more, and such that the last are empty."""
    for name, splits in (("words", 2), ("words", 40), ("odd", 5), ("first", 3)):
        check(SHAPES[name], which, "bfloat16", Plan(fitting(SHAPES[name], which, "bfloat16")[-1], splits, 0.0))


@pytest.mark.parametrize("way", ["reverse", 4, "early copies"])
def test_any_order_of_threads(way):
    """And whenever the copies of the ring arrive: the same bits."""
    for which in PASSES:
        for name in ("words", "first"):
            how = Plan(fitting(SHAPES[name], which, "bfloat16")[-1], 2, 0.0)
            usual = check(SHAPES[name], which, "bfloat16", how)
            with choose(copies="early") if way == "early copies" else order(way):
                np.testing.assert_array_equal(check(SHAPES[name], which, "bfloat16", how), usual)


@pytest.mark.parametrize("which", PASSES)
def test_the_sanitizer_finds_nothing(which):
    with sanitize():
        check(cases.Shape(1, 8, 3, 4, 8), which, "bfloat16", Plan("64x64", 1, 0.0))
        check(cases.Shape(1, 3, 4, 3, 8), which, "bfloat16", Plan("any", 2, 0.0))


def test_gradients_of_filters_in_float32():
    """Sums that no 16-bit type has rounded, for fp32 master weights: one split and several."""
    for name in ("words", "first"):
        g = SHAPES[name]
        a, b, out = operands(g, "grad_weight", "bfloat16")
        for splits in (1, 3):
            exact = backend.empty(out.shape, "float32")
            face.grad_weight(backend, g, a, b, exact, plan=Plan(fitting(g, "grad_weight", "bfloat16")[-1], splits, 0.0))
            close(g, "grad_weight", a, b, exact)
        face.grad_weight(backend, g, a, b, exact)
        close(g, "grad_weight", a, b, exact)


@pytest.mark.parametrize("dtype", SUFFIX)
@pytest.mark.parametrize("name", ["words", "odd", "first"])
def test_what_follows_the_sum(name, dtype):
    """Small whole numbers, so that every type adds them up exactly and ties are ties."""
    g, rng, kind = SHAPES[name], np.random.default_rng(3), cases.dtype_of(dtype)
    x, w = (backend.asarray(rng.integers(-1, 2, g.shapes[which]).astype(kind)) for which in "xw")
    scale, bias = (backend.asarray(rng.integers(-2, 3, g.K).astype(np.float32)) for _ in range(2))
    sums = cases.reference(g, "forward", x, w)
    for version in fitting(g, "forward", dtype):
        for splits, relu, pool, first, second in (
            (1, True, False, None, bias), (1, True, True, scale, bias), (3, True, True, scale, bias), (1, False, True, None, None),
        ):  # fmt: skip
            linear = sums * (1 if first is None else first) + (0 if second is None else second)
            if pool:
                p, q = g.P // 2, g.Q // 2
                windows = linear[:, : 2 * p, : 2 * q].reshape(g.N, p, 2, q, 2, g.K).transpose(0, 1, 3, 5, 2, 4).reshape(g.N, p, q, g.K, 4)
                linear, places = windows.max(-1), windows.argmax(-1)
            y = backend.empty(linear.shape, dtype)
            winners = backend.empty(linear.shape, "uint8") if pool else None
            face.forward(backend, g, x, w, y, scale=first, bias=second, relu=relu, pool=pool, winners=winners, plan=Plan(version, splits, 0.0))
            np.testing.assert_array_equal(np.asarray(y, np.float64), np.maximum(linear, 0) if relu else linear)
            if pool:
                np.testing.assert_array_equal(winners, places)


def test_nan_passes_relu_and_wins_the_pool():
    g = cases.Shape(1, 8, 4, 4, 8, 1, 1, padding=NONE)
    x, w, _ = operands(g, "forward", "bfloat16")
    x[...], w[...] = 1, 1
    x[0, 0, 1], x[0, 1, 0], x[0, 3, 3] = np.nan, np.nan, -5
    for splits in (1, 2):
        y, winners = backend.empty((1, 2, 2, 8), "bfloat16"), backend.empty((1, 2, 2, 8), "uint8")
        face.forward(backend, g, x, w, y, relu=True, pool=True, winners=winners, plan=Plan("64x64", splits, 0.0))
        np.testing.assert_array_equal(np.asarray(y[0, :, :, 0], np.float64), [[np.nan, 8], [8, 8]])
        np.testing.assert_array_equal(winners[0, :, :, 0], [[2, 0], [0, 0]])


def test_tf32_rounds_what_it_multiplies():
    """Numbers between TF32's go to the nearest: the error of a product is that of ten bits, and never that of cutting."""
    g = cases.Shape(1, 4, 3, 3, 4, 1, 1, padding=NONE)
    x, w, y = cases.operands(backend, np.random.default_rng(0), g, "forward", "float32")
    face.forward(backend, g, x, w, y)
    nearest = [((m.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32) for m in (x, w)]
    np.testing.assert_allclose(y, cases.reference(g, "forward", *nearest), rtol=1e-5, atol=1e-6)
    assert np.abs(y - cases.reference(g, "forward", x, w)).max() > 1e-5


@pytest.mark.parametrize("dtype", SUFFIX)
@pytest.mark.parametrize("name", cases.VGG)
def test_the_launch_rule_for_vgg(name, dtype):
    g = cases.VGG[name]
    for which in PASSES:
        how = plan(g, which, dtype)
        assert (how.version == "any") == (g.C == 3)
        assert how.splits * 256 <= face.sides(g, which)[2] or how.splits == 1
        assert face.workspace(g, which, dtype) <= 128 << 20
        assert TILES[which][how.version].shared <= 99 << 10  # two blocks fit into the shared memory of Hopper, one into that of any
    assert plan(g, "grad_weight", dtype).splits > 1
    if g.C >= 128:
        large = "128x64" if dtype == "float32" else "128x128"
        assert [plan(g, which, dtype).version for which in PASSES] == [large, large, "128x128"]


def test_what_tensor_cores_cannot_do():
    cannot = {
        "groups": cases.Shape(1, 8, 5, 6, 8, groups=2), "17 rows": cases.Shape(1, 8, 17, 17, 8, 17, 1), "odd K": cases.Shape(1, 8, 5, 6, 12),
    }  # fmt: skip
    for g in cannot.values():
        assert not fitting(g, "grad_weight", "bfloat16")
        with pytest.raises(ValueError, match="tensor cores take one group"):
            plan(g, "grad_weight", "bfloat16")
    assert not fitting(SHAPES["words"], "forward", "float64")
    assert not fitting(cases.Shape(8, 2048, 1024, 1024, 8, 1024, 1024, padding=NONE), "forward", "bfloat16")  # images beyond 32 bits
    with pytest.raises(ValueError, match="one group"):
        face.plain(backend, cannot["groups"], "forward", *operands(cannot["groups"], "forward", "bfloat16"))


def test_bad_arrays():
    g = SHAPES["words"]
    x, w, y = operands(g, "forward", "bfloat16")
    with pytest.raises(ValueError, match="x has shape"):
        face.forward(backend, g, x[:1], w, y)
    with pytest.raises(TypeError, match="w is float32"):
        face.forward(backend, g, x, w.astype(np.float32), y)
    with pytest.raises(TypeError, match="float64"):
        face.forward(backend, g, x.astype(float), w.astype(float), y.astype(float))
    with pytest.raises(TypeError, match="bias is bfloat16, expected float32"):
        face.forward(backend, g, x, w, y, bias=w[:, 0, 0, 0].copy())
    with pytest.raises(ValueError, match="winners has shape"):
        face.forward(backend, g, x, w, y, winners=backend.empty((1, 1, 1, 1), "uint8"))
    with pytest.raises(TypeError, match="dw is float16"):
        face.grad_weight(backend, g, y, x, w.astype(np.float16))
    held = backend.empty((x.size + 1,), "bfloat16")[1:].reshape(x.shape)
    with pytest.raises(ValueError, match="x must begin at a multiple of 16 bytes"):
        face.forward(backend, g, held, w, y)


def test_no_images_and_no_outputs():
    none = cases.Shape(0, 8, 4, 4, 8)
    for which in PASSES:
        a, b, out = operands(none, which, "bfloat16")
        out[...] = 1
        FACES[which](backend, none, a, b, out)
        assert not np.asarray(out, np.float32).any()


@pytest.mark.parametrize("kernel", ["conv_tensor_core", "conv_tensor_core_grad_weight", "conv_tensor_core_any"])
def test_examples(kernel):
    for _, example in registry.examples(backend, "small", kernel):
        assert registry.get(example.entry).name == (kernel if "_v1_" not in example.entry else "conv_tensor_core")
        got = example.run()
        for name, wanted in example.expected().items():
            error = np.sqrt(np.mean((np.asarray(got[name], np.float64) - wanted) ** 2) / np.mean(np.square(wanted, dtype=np.float64)))
            assert error <= example.tolerance, f"{example.title}: {name} {error}"
