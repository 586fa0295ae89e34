"""The paper's protocols against their slow specification: Pillow, NumPy slices, the plain net on one crop at a time."""

import numpy as np
import pytest
from PIL import Image

import scratchvgg as sv
from scratchvgg.data.images import center_crop, five_crop, resize_shorter, ten_crop, to_array
from scratchvgg.data.presets import ImageClassification
from scratchvgg.evaluate import PHOTO_PROTOCOLS, cost, fuse, posteriors
from scratchvgg.evaluate.protocols import AVERAGES, FUSED, check
from scratchvgg.models import small_vgg
from tests.harness import DEVICES

from .nets import Unpadded, draw, narrow_vgg

ELSEWHERE = [pytest.param(d, marks=[pytest.mark.gpu] if d == "cuda" else []) for d in DEVICES if d != "cpu"]
PRESET = ImageClassification(crop_size=8, resize_size=10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
SIZES = [(20, 31), (31, 20), (17, 17), (20, 31), (13, 40)]  # height, width; two of a size


def pictures(sizes=SIZES):
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


@pytest.fixture
def net():
    return Unpadded().double().train()


# ---- the specification -----------------------------------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def scores_of(net, crop):
    """Of one crop, uint8 (3, 8, 8), in float64."""
    x = (crop.astype(np.float32) / np.float32(255) - np.float32(PRESET.mean).reshape(3, 1, 1)) / np.float32(PRESET.std).reshape(3, 1, 1)
    with sv.no_grad():
        return net(sv.tensor(x[None].astype(np.float64))).numpy()[0]


def spread(length, count=5):
    """Evenly spaced starts of crops of 8, both borders included."""
    return [int(i * (length - 8) / (count - 1) + 0.5) for i in range(count)]


def slow_crops(protocol, picture):
    if protocol == "center":
        return [to_array(center_crop(picture, 8))]
    if protocol in ("five", "ten"):
        return [to_array(crop) for crop in {"five": five_crop, "ten": ten_crop}[protocol](picture, 8)]
    array = to_array(picture)
    crops = [array[:, i : i + 8, j : j + 8] for i in spread(array.shape[1]) for j in spread(array.shape[2])]
    return crops + [crop[:, :, ::-1] for crop in crops]


def slow(net, picture, protocol, scale, average="scores", flip=True):
    """Posteriors of one picture: see the module's first lines."""
    net.eval()
    picture = resize_shorter(picture, scale)
    if protocol != "dense":
        crops = slow_crops(protocol, picture)
        crops = crops if flip or protocol != "multicrop" else crops[:25]
        return np.mean([softmax(scores_of(net, crop)) for crop in crops], axis=0)
    sides = []
    for array in (to_array(picture), to_array(picture)[:, :, ::-1])[: 1 + flip]:
        _, h, w = array.shape
        scores = [scores_of(net, array[:, i : i + 8, j : j + 8]) for i in range(0, h - 7, 2) for j in range(0, w - 7, 2)]
        sides.append(softmax(np.mean(scores, axis=0)) if average == "scores" else np.mean([softmax(s) for s in scores], axis=0))
    return np.mean(sides, axis=0)


@pytest.mark.parametrize("scale", [8, 9, 13])
@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_every_protocol_is_its_specification(net, protocol, scale):
    found = posteriors(net, pictures(), protocol, scale, PRESET, batch_size=7)
    expected = [slow(net, picture, protocol, scale) for picture in pictures()]
    assert found.dtype == np.float64 and found.shape == (5, 5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("average", AVERAGES)
def test_averages_of_the_map_and_flips(net, average, flip):
    found = posteriors(net, pictures(), "dense", 11, PRESET, average=average, flip=flip)
    np.testing.assert_allclose(found, [slow(net, p, "dense", 11, average, flip) for p in pictures()], rtol=0, atol=1e-12)
    grid = posteriors(net, pictures(), "multicrop", 11, PRESET, flip=flip)
    np.testing.assert_allclose(grid, [slow(net, p, "multicrop", 11, flip=flip) for p in pictures()], rtol=0, atol=1e-12)


def test_the_two_averages_differ(net):
    a, b = (posteriors(net, pictures(), "dense", 13, PRESET, average=average) for average in AVERAGES)
    assert np.abs(a - b).max() > 1e-4


@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_several_scales_are_the_mean_of_their_posteriors(net, protocol):
    each = [posteriors(net, pictures(), protocol, q, PRESET) for q in (8, 10, 13)]
    np.testing.assert_array_equal(posteriors(net, pictures(), protocol, (8, 10, 13), PRESET), np.mean(each, axis=0))


def test_fusion():
    rng = np.random.default_rng(0)
    parts = rng.random((3, 4, 5))
    np.testing.assert_allclose(fuse(list(parts)), (parts[0] + parts[1] + parts[2]) / 3, rtol=1e-15)
    assert fuse([parts[0].astype("f4")]).dtype == np.float64
    for wrong in ([], [parts[0], parts[1][:2]]):
        with pytest.raises(ValueError, match="arrays of one shape"):
            fuse(wrong)
    assert set(FUSED["both"]) <= set(PHOTO_PROTOCOLS)


# ---- how they run ----------------------------------------------------------------------------------------------------


class Watch:
    """The shapes of all batches that reach the net's features."""

    def __init__(self, net):
        self.shapes = []
        net.features.register_forward_pre_hook(lambda module, args: self.shapes.append(tuple(args[0].shape)))

    @property
    def images(self):
        return sum(shape[0] for shape in self.shapes)


@pytest.mark.parametrize("batch_size", [1, 3, 16, 1000])
@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_batches_are_bounded_and_do_not_matter(net, protocol, batch_size):
    watch = Watch(net)
    found = posteriors(net, pictures(), protocol, 11, PRESET, batch_size=batch_size)
    assert all(n == 1 or n * h * w <= batch_size * 64 for n, _, h, w in watch.shapes)
    np.testing.assert_allclose(found, posteriors(net, pictures(), protocol, 11, PRESET), rtol=0, atol=1e-12)


def test_pictures_of_a_size_run_together(net):
    watch = Watch(net)
    posteriors(net, pictures(), "dense", 11, PRESET, batch_size=100)
    assert sorted(watch.shapes) == sorted(2 * [(2, 3, 11, 17), (1, 3, 17, 11), (1, 3, 11, 11), (1, 3, 11, 33)])


def test_crops_that_coincide_run_once(net):
    watch = Watch(net)
    posteriors(net, pictures(), "multicrop", 8, PRESET)
    wide = [min(5, len(set(spread(max(8 * max(s) // min(s), 8))))) for s in SIZES]
    assert watch.images == sum(2 * n for n in wide) < 5 * 50


@pytest.mark.parametrize("scales", [8, (9, 13), (8, 10, 24)])
@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_cost_counts_what_runs(net, protocol, scales):
    for picture, size in zip(pictures(), SIZES, strict=True):
        watch = Watch(net)
        posteriors(net, [picture], protocol, scales, PRESET)
        pixels = sum(n * h * w for n, _, h, w in watch.shapes)
        assert cost(protocol, size, scales, crop=8) == pytest.approx(pixels / 64)
        net.features._forward_pre_hooks.clear()


def test_costs_of_the_paper():
    assert cost("multicrop", (375, 500), (256, 384, 512)) == 150 and cost("center", (375, 500), 256) == 1
    assert cost("dense", (500, 500), 448) == 8 and cost("dense", (500, 500), 448, flip=False) == 4
    assert cost("multicrop", (500, 500), 224) == 2 and cost("multicrop", (500, 500), 256, flip=False) == 25


@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_modes_return(net, protocol):
    net.features.eval()
    posteriors(net, pictures(), protocol, 11, PRESET)
    assert net.training and net.classifier.training and not net.features.training


@pytest.mark.parametrize("device", ELSEWHERE)
@pytest.mark.parametrize("protocol", ["ten", "dense"])
def test_devices(net, device, protocol):
    net.float()
    expected = posteriors(net, pictures(), protocol, 11, PRESET)
    net.to(device)
    np.testing.assert_allclose(posteriors(net, pictures(), protocol, 11, PRESET), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("protocol", PHOTO_PROTOCOLS)
def test_16_bits(net, protocol, dtype):
    expected = posteriors(net, pictures(), protocol, 11, PRESET)
    found = posteriors(net.to(dtype=dtype), pictures(), protocol, 11, PRESET)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=0.03)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_small_vggs_take_the_features_of_the_crop_as_their_window():
    net = draw(small_vgg((6, "M", 8, "M"), num_classes=4), 0).eval()
    whole = pictures([(8, 8)])
    np.testing.assert_allclose(posteriors(net, whole, "dense", 8, PRESET, flip=False), posteriors(net, whole, "center", 8, PRESET), atol=1e-6)
    assert np.abs(posteriors(net, whole, "dense", 16, PRESET, flip=False) - posteriors(net, whole, "center", 16, PRESET)).max() > 1e-4
    np.testing.assert_allclose(
        posteriors(net, whole, "dense", 16, PRESET, crop=16, flip=False), posteriors(net, whole, "center", 16, PRESET, crop=16), atol=1e-6)


def test_the_paper_s_crop_on_a_narrow_vgg():
    """224 pixels, Q = 256: dense has 2×2 places, whose scores come close to those of crops but for the padding."""
    net, preset = narrow_vgg("A"), ImageClassification()
    photographs = pictures([(60, 60), (60, 75)])
    dense, grid = (posteriors(net, photographs, p, 256, preset) for p in ("dense", "multicrop"))
    assert dense.shape == grid.shape == (2, 7)
    np.testing.assert_allclose([dense.sum(1), grid.sum(1)], 1)
    single = posteriors(net, photographs[:1], "dense", 224, preset, flip=False)
    np.testing.assert_allclose(single, posteriors(net, photographs[:1], "center", 224, preset), rtol=1e-6)


# ---- what they refuse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "message"), [
    ({"protocol": "both"}, "protocol: expected one of center, five, ten, multicrop, dense, got 'both'"),
    ({"average": "max"}, "average: expected one of scores, softmax, got 'max'"),
    ({"scale": 7}, r"none smaller than the crop of 8 pixels, got \[7\]"),
    ({"scale": (9, 7)}, r"none smaller than the crop of 8 pixels, got \[9, 7\]"),
    ({"scale": ()}, "expected at least one"),
    ({"crop": 0}, "crop and batch_size: expected 1 or more, got 0"),
    ({"batch_size": 0}, "crop and batch_size: expected 1 or more, got 8 and 0"),
    ({"pictures": []}, "there is no picture"),
])  # fmt: skip
def test_bad_input(net, changes, message):
    arguments = {"pictures": pictures(), "protocol": "dense", "scale": 11} | changes
    with pytest.raises(ValueError, match=message):
        posteriors(net, preset=PRESET, **arguments)


def test_check_before_any_picture():
    check("dense", [256, 384], 224)
    with pytest.raises(ValueError, match="none smaller than the crop of 224"):
        check("dense", [192], 224)
    with pytest.raises(ValueError, match="scale"):
        cost("ten", (300, 300), 192)


def test_dense_needs_a_vgg():
    with pytest.raises(TypeError, match="VGG or SmallVGG"):
        posteriors(sv.nn.Sequential(sv.nn.Conv2d(3, 2, 3)), pictures(), "dense", 11, PRESET)
    with pytest.raises(ValueError, match="at least 224x224, got 200x232"):
        posteriors(narrow_vgg(), pictures([(50, 58)]), "dense", 200, ImageClassification(crop_size=192))


def test_descriptions():
    for name, protocol in PHOTO_PROTOCOLS.items():
        assert protocol.name == name and 10 < len(protocol.description) < 90 and "\n" not in protocol.description
