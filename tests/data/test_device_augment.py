"""Batches made on the device: the CPU's images, bit for bit, and the CPU's order."""

import numpy as np
import pytest

from scratchvgg.array import Device, Generator, get_backend
from scratchvgg.data import ArrayDataset, DataLoader, DeviceAugmentation, DeviceLoader, Subset, TensorDataset
from scratchvgg.data.transforms import (
    AlternatingFlip,
    ColorJitter,
    Compose,
    Cutout,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTranslate,
    ToFloat,
)

NORMALIZE = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
PIPELINES = {
    "normalise": [NORMALIZE],
    "to float": [ToFloat()],
    "crop, reflected": [RandomCrop(8, 3), NORMALIZE],
    "smaller crop, black": [RandomCrop(5, 2, "constant"), NORMALIZE],
    "larger crop": [RandomCrop(11, 3), ToFloat()],
    "shift": [RandomTranslate(2), NORMALIZE],
    "flip": [RandomHorizontalFlip(0.3), NORMALIZE],
    "alternating flip": [AlternatingFlip(), NORMALIZE],
    "cutout": [Cutout(3), NORMALIZE],
    "everything": [Compose([RandomCrop(8, 2), RandomHorizontalFlip()]), Cutout(4, 7), NORMALIZE],
    "airbench": [RandomTranslate(2), AlternatingFlip(), Cutout(5), NORMALIZE],
}


def dataset(count=23, height=8, width=8):
    rng = np.random.default_rng(3)
    return ArrayDataset(rng.integers(0, 256, (count, 3, height, width), np.uint8), rng.integers(0, 10, count), list("0123456789"))


def equal(first, second):
    first, second = [[tuple(part.cpu().numpy() for part in batch) for batch in loader] for loader in (first, second)]
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
def test_the_loaders_batches(steps):
    options = {"batch_size": 9, "shuffle": True, "seed": 12, "transform": Compose(steps)}
    ours, theirs = DeviceLoader(dataset(), device="emulator", **options), DataLoader(dataset(), **options)
    for _ in range(2):  # epochs
        equal(ours, theirs)


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_16_bit_images_are_the_float32_ones_rounded(dtype):
    options = {"batch_size": 10, "seed": 1, "transform": Compose(PIPELINES["everything"]), "dtype": dtype}
    equal(DeviceLoader(dataset(), device="emulator", **options), DataLoader(dataset(), **options))


def test_images_that_are_not_square_and_part_of_a_data_set():
    part = Subset(dataset(30, 6, 9), [4, 1, 29, 7, 7, 2])
    options = {"batch_size": 4, "seed": 8, "transform": Compose([RandomTranslate(2), RandomHorizontalFlip(), NORMALIZE]), "drop_last": True}
    equal(DeviceLoader(part, device="emulator", **options), DataLoader(part, **options))


def test_an_epoch_that_begins_in_the_middle():
    options = {"batch_size": 5, "shuffle": True, "seed": 4, "transform": Compose(PIPELINES["crop, reflected"])}
    ours, theirs = DeviceLoader(dataset(), device="emulator", **options), DataLoader(dataset(), **options)
    equal(ours.iterate(2), theirs.iterate(2))
    assert len(ours) == len(theirs) == 5 and ours.epoch == 1


def test_batches_are_channels_last_on_the_device():
    image, label = next(iter(DeviceLoader(dataset(), 4, device="emulator", transform=NORMALIZE)))
    assert str(image.device) == str(label.device) == "emulator:0"
    assert image.shape == (4, 3, 8, 8) and image.array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_bare_generator_uses_up_the_same_words():
    images, order = dataset().images, np.arange(6)
    transform, generators = Compose(PIPELINES["everything"]), (Generator(9, 2, 5), Generator(9, 2, 5))
    expected = transform(images[order], generators[0])
    given = DeviceAugmentation(transform, "emulator")(np.ascontiguousarray(images.transpose(0, 2, 3, 1)), order, generators[1])
    np.testing.assert_array_equal(given, expected)
    assert generators[0].get_state() == generators[1].get_state()


@pytest.mark.parametrize("steps", [
    [RandomCrop(8)], [NORMALIZE, RandomCrop(8)], [Cutout(3), RandomCrop(8), NORMALIZE], [ColorJitter(0.1), NORMALIZE],
    [RandomCrop(8), RandomTranslate(1), NORMALIZE], [],
], ids=("no normalisation", "after normalisation", "another order", "jitter", "two crops", "nothing"))
def test_transforms_that_stay_on_the_cpu(steps):
    with pytest.raises(ValueError, match="transform: on a device it must be"):
        DeviceAugmentation(Compose(steps), "emulator")


def test_other_errors():
    with pytest.raises(RuntimeError, match="runs them, got cpu"):
        DeviceAugmentation(NORMALIZE, "cpu")
    with pytest.raises(TypeError, match="BatchInfo"):
        DeviceAugmentation(Compose([AlternatingFlip(), NORMALIZE]), "emulator")(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2), Generator(0))
    with pytest.raises(TypeError, match="uint8"):
        next(iter(DeviceLoader(TensorDataset(np.zeros((3, 3, 4, 4), np.float32)), device="emulator", transform=NORMALIZE)))
    for crop in (RandomCrop(9, 0), RandomCrop(8, 8)):
        with pytest.raises(ValueError, match="do not fit"):
            next(iter(DeviceLoader(dataset(), device="emulator", transform=Compose([crop, NORMALIZE]))))


def test_one_kernel_a_batch(monkeypatch):
    loader = DeviceLoader(dataset(), 5, True, seed=1, device="emulator", transform=Compose(PIPELINES["airbench"]))
    backend, launched = get_backend(Device("emulator")), []
    real = backend.launch
    monkeypatch.setattr(backend, "launch", lambda kernel, *rest, **options: launched.append(kernel) or real(kernel, *rest, **options))
    assert len(list(loader)) == 5
    assert launched == ["augment_f32"] * 5
