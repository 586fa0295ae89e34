"""The preset's bits are torchvision's."""

import dataclasses

import numpy as np
import pytest

from scratchvgg.data import IMAGENET_MEAN, IMAGENET_STD, DataError, ImageClassification
from scratchvgg.data.transforms import Normalize
from tests.torchvision_reference import torchvision

Image = pytest.importorskip("PIL.Image")
FEATURES_MEAN, FEATURES_STD = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3  # of VGG16_Weights.IMAGENET1K_FEATURES


def picture(width, height):
    return Image.fromarray(np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("numbers", [(IMAGENET_MEAN, IMAGENET_STD), (FEATURES_MEAN, FEATURES_STD)], ids=["default", "features"])
@pytest.mark.parametrize(("crop", "resize"), [(224, 256), (32, 36), (33, 33), (40, 20)])
def test_bits_are_torchvisions(numbers, crop, resize):
    theirs = torchvision().transforms._presets.ImageClassification(crop_size=crop, resize_size=resize, mean=numbers[0], std=numbers[1])
    ours = ImageClassification(crop, resize, *numbers)
    for sides in ((500, 375), (375, 500), (64, 64), (31, 97), (300, 257)):
        image = picture(*sides)
        result = ours(image)
        assert result.dtype == np.float32 and result.shape == (3, crop, crop)
        assert np.array_equal(result, theirs(image).numpy()), sides
        assert np.array_equal(ours(np.asarray(image).transpose(2, 0, 1)), result)


def test_every_value_is_normalised_as_torch_does_it():
    torch = pytest.importorskip("torch")
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, 0)
    for mean, std in ((IMAGENET_MEAN, IMAGENET_STD), (FEATURES_MEAN, FEATURES_STD)):
        unit = torch.from_numpy(images).to(torch.float32).div(255)
        expected = unit.sub(torch.tensor(mean).view(3, 1, 1)).div(torch.tensor(std).view(3, 1, 1)).numpy()
        ours = ImageClassification(mean=mean, std=std).normalize(images)
        assert ours.dtype == np.float32 and np.array_equal(ours, expected)
        assert np.array_equal(ours[None], Normalize(mean, std)(images[None]))
        assert np.array_equal(ImageClassification(mean=mean, std=std).normalize(np.stack([[images] * 2] * 3)), np.stack([[ours] * 2] * 3))


def test_known_values():
    red = ImageClassification(4, 4)(Image.new("RGB", (9, 7), (255, 0, 124)))
    expected = (np.float32([1, 0, np.float32(124) / np.float32(255)]) - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    assert np.array_equal(red, np.broadcast_to(expected[:, None, None], (3, 4, 4)))


def test_takes_paths_and_pictures_of_any_mode(tmp_path):
    preset, grey = ImageClassification(5, 6), picture(20, 10).convert("L")
    grey.save(tmp_path / "x.png")
    expected = preset(grey.convert("RGB"))
    for source in (grey, tmp_path / "x.png", str(tmp_path / "x.png")):
        assert np.array_equal(preset(source), expected)
    crop = preset.crop(grey)
    assert crop.dtype == np.uint8 and crop.shape == (3, 5, 5) and np.array_equal(preset.normalize(crop), expected)
    with pytest.raises(DataError, match=r"y\.png: there is no such file"):
        preset(tmp_path / "y.png")


def test_images_are_not_changed():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), np.uint8)
    kept = images.copy()
    ImageClassification(4, 4).normalize(images)
    ImageClassification(4, 4)(images[0])
    assert np.array_equal(images, kept)


@pytest.mark.parametrize(("shape", "dtype"), [((3, 4, 4), np.float32), ((4, 4, 3), np.uint8), ((4, 4), np.uint8)], ids=str)
def test_other_arrays_are_refused(shape, dtype):
    for call in (ImageClassification().normalize, ImageClassification()):
        with pytest.raises(ValueError, match=r"expected uint8 \(.*3, H, W\), got"):
            call(np.zeros(shape, dtype))


@pytest.mark.parametrize("options", [
    {"crop_size": 0}, {"resize_size": 2.5}, {"crop_size": True}, {"mean": (0, 0)}, {"std": (1, 1, 0)},
    {"std": (1, 1, float("inf"))}, {"mean": (0, 0, float("nan"))},
], ids=str)
def test_unusable_settings_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ImageClassification(**options)


def test_presets_are_values():
    same = ImageClassification(224, 256, list(IMAGENET_MEAN), np.array(IMAGENET_STD))
    assert ImageClassification() == same and hash(ImageClassification()) == hash(same)
    assert ImageClassification() != ImageClassification(resize_size=384)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ImageClassification().crop_size = 3
    assert repr(ImageClassification(32, 36)).startswith("ImageClassification(crop_size=32, resize_size=36, mean=(0.485, ")
