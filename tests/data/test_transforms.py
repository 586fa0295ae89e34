"""Each transform against its plain definition, image by image; draws that depend on the batch alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.array import Generator, manual_seed
from scratchvgg.data import BatchInfo
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

IMAGES = np.random.default_rng(1).integers(0, 256, (64, 3, 12, 16), np.uint8)
SQUARE = np.ascontiguousarray(IMAGES[..., :12])
EVERY = [RandomCrop(8, 2), RandomTranslate(2), RandomHorizontalFlip(), AlternatingFlip(), Cutout(5), ColorJitter(0.4, 0.4, 0.4),
         Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ToFloat(), Compose([RandomCrop(8), Cutout(3), ToFloat()])]
by_name = pytest.mark.parametrize("transform", EVERY, ids=lambda transform: type(transform).__name__)


def info(epoch=0, batch=0, seed=3, first=0, count=64):
    return BatchInfo.of(seed, epoch, batch, np.arange(first, first + count))


def windows_of(image, size, padding, mode):
    """Every window a crop may give."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
    height, width = padded.shape[1] - size[0] + 1, padded.shape[2] - size[1] + 1
    return {(top, left): padded[:, top : top + size[0], left : left + size[1]] for top in range(height) for left in range(width)}


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize(("transform", "size", "padding"), [
    (lambda mode: RandomCrop(9, 3, mode), (9, 9), 3), (lambda mode: RandomCrop(12, 0, mode), (12, 12), 0),
    (lambda mode: RandomTranslate(2, mode), (12, 16), 2),
])
def test_crops_are_windows_of_the_padded_image(transform, size, padding, mode):
    out = transform(mode)(IMAGES, info())
    assert out.shape == (64, 3, *size) and out.dtype == np.uint8
    seen = set()
    for image, window in zip(IMAGES, out, strict=True):
        places = [place for place, known in windows_of(image, size, padding, mode).items() if np.array_equal(known, window)]
        assert places
        seen.add(places[0])
    assert len(seen) > min(len(windows_of(IMAGES[0], size, padding, mode)), 64) // 3


def test_every_place_of_a_crop_is_reached():
    images = np.zeros((4000, 1, 6, 6), np.uint8)
    images[:, 0, 3, 3] = 1
    rows, columns = np.nonzero(RandomTranslate(2, "constant")(images, info(count=4000))[:, 0])[1:]
    counts = np.bincount((rows - 1) * 5 + columns - 1, minlength=25)
    assert len(counts) == 25 and counts.min() > 100 and counts.max() < 230  # 160 expected


def test_flip_mirrors_a_share_of_p():
    for p in (0, 0.25, 1):
        out = RandomHorizontalFlip(p)(np.tile(IMAGES, (20, 1, 1, 1)), info(count=1280)).reshape(20, *IMAGES.shape)
        mirrored = (out == IMAGES[..., ::-1]).all((2, 3, 4))
        assert ((out == IMAGES).all((2, 3, 4)) ^ mirrored).all()
        assert abs(mirrored.mean() - p) < 0.05


def test_alternating_flip_shows_both_sides_in_two_epochs():
    epochs = [AlternatingFlip()(IMAGES, info(epoch)) for epoch in range(4)]
    mirrored = (epochs[0] == IMAGES[..., ::-1]).all((1, 2, 3))
    assert 16 < mirrored.sum() < 48
    assert np.array_equal(epochs[1], epochs[0][..., ::-1])
    assert np.array_equal(epochs[2], epochs[0]) and np.array_equal(epochs[3], epochs[1])


def test_alternating_flip_follows_the_image_not_the_batch():
    whole = AlternatingFlip()(IMAGES, info())
    order = np.random.default_rng(0).permutation(64)
    shuffled = AlternatingFlip()(IMAGES[order], BatchInfo.of(3, 2, 17, order))
    assert np.array_equal(shuffled, whole[order])
    with pytest.raises(TypeError, match="expected a BatchInfo"):
        AlternatingFlip()(IMAGES, Generator(1))


@given(size=st.integers(1, 20), seed=st.integers(0, 1000))
def test_cutout_covers_one_square(size, seed):
    images = np.full((8, 3, 9, 11), 7, np.uint8)
    covered = Cutout(size, fill=200)(images, info(seed=seed)) == 200
    assert (covered == covered[:, :1]).all()
    for mask in covered[:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert rows.any() and np.array_equal(mask, rows[:, None] & columns)
        for line in (rows, columns):
            places = np.flatnonzero(line)
            assert places[-1] - places[0] + 1 == len(places) <= size
            inside = places[0] > 0 and places[-1] < len(line) - 1
            assert len(places) == size if inside else len(places) >= min(size - size // 2, len(line))


def test_color_jitter_is_torchvisions():
    """torchvision's adjust_brightness, adjust_contrast, adjust_saturation are blends clamped to [0, 1]; here written in torch."""
    torch = pytest.importorskip("torch")
    weights = torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)  # torchvision's four digits

    def blend(image, other, factor):
        return (factor * image + (1 - factor) * other).clamp(0, 1)

    draws = Generator(5).uniform((3, len(IMAGES))) * np.float32(0.8) + np.float32(0.6)
    out = ColorJitter(0.4, 0.4, 0.4)(IMAGES, Generator(5))
    for image, ours, (brightness, contrast, saturation) in zip(IMAGES, out, draws.T.tolist(), strict=True):
        theirs = blend(torch.from_numpy(image).float() / 255, torch.zeros(()), brightness)
        theirs = blend(theirs, (weights * theirs).sum(0).mean(), contrast)
        theirs = blend(theirs, (weights * theirs).sum(0, keepdim=True), saturation)
        assert np.abs(ours - theirs.numpy() * 255).max() < 0.6  # we round once, to whole levels


def test_color_jitter_of_nothing_is_nothing():
    assert np.array_equal(ColorJitter()(IMAGES, Generator(0)), IMAGES)


def test_normalize_is_torchvisions_to_the_bit():
    """ToTensor divides by 255, Normalize subtracts and divides in place, all in float32."""
    torch = pytest.importorskip("torch")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (2, 3, 16, 16))
    out = Normalize(mean, std)(ramp)
    assert out.dtype == np.float32 and out.shape == ramp.shape
    theirs = torch.from_numpy(ramp.copy()).float().div(255)
    theirs = theirs.sub_(torch.tensor(mean).view(3, 1, 1)).div_(torch.tensor(std).view(3, 1, 1))
    assert np.array_equal(out, theirs.numpy())
    assert np.array_equal(ToFloat()(ramp), ramp / np.float32(255))


@pytest.mark.parametrize("transform", [Normalize([0.5] * 3, [0.5] * 3), ToFloat()])
def test_the_memory_is_channels_last(transform):
    assert transform(IMAGES).transpose(0, 2, 3, 1).flags.c_contiguous


@by_name
def test_a_batch_is_a_function_of_seed_epoch_and_number(transform):
    first = transform(SQUARE, info(2, 5))
    manual_seed(99)
    assert np.array_equal(transform(SQUARE, info(2, 5)), first)
    others = [info(3, 5), info(2, 6), info(2, 5, seed=4)]
    same = [np.array_equal(transform(SQUARE, other), first) for other in others]
    if isinstance(transform, AlternatingFlip):
        assert same == [False, True, False]
    else:
        assert same == [isinstance(transform, (Normalize, ToFloat))] * 3


@by_name
def test_the_input_is_left_alone(transform):
    before = SQUARE.copy()
    before.flags.writeable = False
    transform(before, info())
    assert np.array_equal(before, SQUARE)


@by_name
def test_an_empty_batch_stays_empty(transform):
    assert len(transform(SQUARE[:0], info(count=0))) == 0


@by_name
@pytest.mark.parametrize("layout", ["channels_last", "reversed"])
def test_any_memory_layout(transform, layout):
    if layout == "channels_last":
        strided = np.ascontiguousarray(SQUARE.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    else:
        strided = np.ascontiguousarray(SQUARE[..., ::-1])[..., ::-1]
    assert np.array_equal(transform(strided, info()), transform(SQUARE, info()))


@by_name
@pytest.mark.parametrize("images", [SQUARE.astype(np.float32), SQUARE[0], [1, 2]], ids=["float", "single", "list"])
def test_what_is_no_batch_of_bytes_is_rejected(transform, images):
    with pytest.raises(TypeError, match="expected a uint8 array"):
        transform(images, info())


@pytest.mark.parametrize("transform", [RandomCrop(8), RandomHorizontalFlip(), Cutout(4)])
def test_without_information_the_default_generator_draws(transform):
    manual_seed(1)
    first, second = transform(SQUARE), transform(SQUARE)
    manual_seed(1)
    assert np.array_equal(transform(SQUARE), first) and not np.array_equal(first, second)


@pytest.mark.parametrize("make", [
    lambda: RandomCrop(0), lambda: RandomCrop(8, -1), lambda: RandomCrop(2.5), lambda: RandomCrop(8, mode="wrap"),
    lambda: RandomTranslate(-1), lambda: RandomHorizontalFlip(1.5), lambda: Cutout(0), lambda: Cutout(3, 256),
    lambda: ColorJitter(-0.1), lambda: Normalize((0.5,), (0.5, 0.5)), lambda: Normalize((0.5,), (0,)), lambda: Normalize((), ()),
    lambda: RandomCrop(8, 12)(SQUARE, info()), lambda: RandomCrop(30, 4)(SQUARE, info()),
    lambda: Normalize([0.5], [0.5])(SQUARE), lambda: ColorJitter(0.1)(SQUARE[:, :1]),
])
def test_unusable_arguments_are_rejected(make):
    with pytest.raises(ValueError):
        make()


def test_repr_shows_the_arguments():
    assert repr(RandomCrop(32)) == "RandomCrop(size=32, padding=4, mode='reflect')"
    assert repr(Compose([AlternatingFlip(), Cutout(8)])) == "Compose(\n    AlternatingFlip()\n    Cutout(size=8, fill=128)\n)"
    assert repr(Normalize([0.5], [0.25])) == "Normalize(mean=(0.5,), std=(0.25,))"
