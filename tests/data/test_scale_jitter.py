"""Training crops at a random scale: where the windows lie, how S is spread, and that memory and threads change no bit."""

import itertools

import numpy as np
import pytest

from scratchvgg.array import Generator, get_num_threads, set_num_threads
from scratchvgg.data import DataError, DataLoader, ImageFolder, Subset, transforms
from scratchvgg.data.batch_info import BatchInfo
from scratchvgg.data.dataset import Dataset
from scratchvgg.data.images import center_crop, resize_shorter, to_array, to_picture
from scratchvgg.data.scale_jitter import CenterCrops, ScaleJitter

Image = pytest.importorskip("PIL.Image")
SIZES = [(20, 20), (30, 18), (17, 40), (64, 50), (12, 16)]  # H, W


class Pictures(Dataset):
    """Noise of several sizes; picture i has label i. Counts how often it is asked."""

    classes, mean, std = list("abcde"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    labels = np.arange(5)

    def __init__(self):
        rng, self.reads = np.random.default_rng(4), 0
        self.images = [rng.integers(0, 256, (3, *size), np.uint8) for size in SIZES]

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.reads += 1
        return self.images[index], index


def info(epoch=0, batch=0, count=5):
    return BatchInfo.of(7, epoch, batch, np.arange(count))


def test_fixed_scale_windows_are_windows_of_the_scaled_picture():
    pictures = Pictures()
    windows, labels = ScaleJitter(pictures, 12, 16, 16).random_batch(np.arange(5), info())
    assert windows.shape == (5, 3, 12, 12) and windows.dtype == np.uint8 and labels.tolist() == [0, 1, 2, 3, 4]
    for window, image in zip(windows, pictures.images, strict=True):
        scaled = to_array(resize_shorter(to_picture(image), 16))
        places = itertools.product(range(scaled.shape[1] - 11), range(scaled.shape[2] - 11))
        assert any(np.array_equal(window, scaled[:, top : top + 12, left : left + 12]) for top, left in places)


def test_every_place_and_scale_is_drawn():
    """A picture that shows its own coordinates: its windows say where they were cut and how it was scaled."""
    class Ramp(Pictures):
        def __getitem__(self, index):
            return np.stack(np.broadcast_arrays(np.arange(40)[:, None], np.arange(40), 0)).astype(np.uint8), index

    places = set()
    dataset = ScaleJitter(Ramp(), 38, 40, 40)
    for batch in range(40):
        windows, _ = dataset.random_batch(np.arange(5), info(batch=batch))
        places |= {(int(w[0, 0, 0]), int(w[1, 0, 0])) for w in windows}
    assert places == set(itertools.product(range(3), range(3)))

    seen, largest = set(), ScaleJitter(Ramp(), 4, 4, 9)
    at_nine = resize_shorter(to_picture(Ramp()[0][0]), 9)
    expected = {scale: to_array(at_nine.resize((scale, scale), Image.Resampling.BILINEAR)) for scale in range(4, 10)}
    for batch in range(30):
        for window in largest.random_batch(np.arange(5), info(batch=batch))[0]:
            seen |= {scale for scale, whole in expected.items()
                     if any(np.array_equal(window, whole[:, t : t + 4, s : s + 4]) for t in range(scale - 3) for s in range(scale - 3))}
    assert seen == set(range(4, 10))


def test_draws_depend_on_seed_epoch_and_batch_only():
    dataset = ScaleJitter(Pictures(), 12, 14, 30)
    first = dataset.random_batch(np.arange(5), info())[0]
    assert np.array_equal(first, dataset.random_batch(np.arange(5), info())[0])
    assert not np.array_equal(first, dataset.random_batch(np.arange(5), info(epoch=1))[0])
    assert not np.array_equal(first, dataset.random_batch(np.arange(5), info(batch=1))[0])


@pytest.mark.parametrize("memory", [0, 5000, 1 << 20])
def test_memory_changes_reads_and_no_bit(memory):
    pictures = Pictures()
    dataset = ScaleJitter(pictures, 12, 14, 18, memory=memory)
    got = [dataset.random_batch(np.arange(5), info(epoch))[0] for epoch in range(3)]
    whole = ScaleJitter(Pictures(), 12, 14, 18)
    assert all(np.array_equal(a, whole.random_batch(np.arange(5), info(epoch))[0]) for epoch, a in enumerate(got))
    assert {0: pictures.reads == 15, 5000: 5 < pictures.reads < 15, 1 << 20: pictures.reads == 5}[memory]
    assert sum(image.nbytes for image, _ in dataset._kept.values()) <= memory


def test_threads_change_no_bit():
    before, got = get_num_threads(), []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            dataset = ScaleJitter(Pictures(), 12, 14, 30, memory=4000)
            got.append([dataset.random_batch(np.arange(5).repeat(4), info(epoch, count=20)) for epoch in range(2)])
            assert sum(image.nbytes for image, _ in dataset._kept.values()) <= 4000
    finally:
        set_num_threads(before)
    assert all(np.array_equal(a, b) for one, other in zip(*got, strict=True) for a, b in zip(one, other, strict=True))


def test_a_broken_picture_is_named_by_the_loader(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "a" / "whole.png")
    (tmp_path / "a" / "broken.png").write_bytes((tmp_path / "a" / "whole.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"broken\.png"):
        list(DataLoader(ScaleJitter(ImageFolder(tmp_path), 12, 14, 30), 2, seed=0))


def test_loader_resumes_in_the_middle_and_prefetching_changes_nothing():
    def loader(prefetch):
        dataset = ScaleJitter(Pictures(), 12, 14, 30)
        return DataLoader(dataset, 2, shuffle=True, seed=3, prefetch=prefetch, transform=transforms.RandomHorizontalFlip())

    ahead, plain = loader(2), loader(0)
    whole = [[part.numpy() for part in batch] for epoch in range(2) for batch in ahead]
    assert all(np.array_equal(a, b.numpy()) for batch, other in zip(whole, itertools.chain(plain, plain), strict=True)
               for a, b in zip(batch, other, strict=True))
    resumed = loader(2)
    resumed.set_epoch(1)
    images, labels = next(resumed.iterate(1))
    assert np.array_equal(images.numpy(), whole[4][0]) and np.array_equal(labels.numpy(), whole[4][1])


def test_centre_crops(tmp_path):
    pictures = Pictures()
    dataset = CenterCrops(pictures, 12, 14)
    for i, image in enumerate(pictures.images):
        crop, label = dataset[i]
        assert np.array_equal(crop, to_array(center_crop(resize_shorter(to_picture(image), 14), 12))) and label == i
    images, labels = dataset.batch(np.array([3, 1]))
    assert np.array_equal(images[1], dataset[1][0]) and labels.tolist() == [3, 1]
    jittered = ScaleJitter(pictures, 12, 14, 30)
    assert np.array_equal(jittered[2][0], CenterCrops(pictures, 12, 22, largest=30)[2][0])


def test_picture_folders_and_parts_of_them(tmp_path):
    for place, image in enumerate(Pictures().images):
        (tmp_path / f"class{place % 2}").mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"class{place % 2}" / f"{place}.png")
    folder = ImageFolder(tmp_path)
    dataset = ScaleJitter(Subset(folder, [4, 0, 2]), 12, 14, 18)
    assert dataset.classes == ["class0", "class1"] and dataset.mean == folder.mean and dataset.labels.tolist() == [1, 0, 0] and len(dataset) == 3
    assert dataset.random_batch(np.array([0, 2]), info(count=2))[1].tolist() == [1, 0]


@pytest.mark.parametrize("arguments", [(12, 10, 20), (12, 20, 16), (0, 4, 8)])
def test_impossible_scales(arguments):
    with pytest.raises(ValueError, match="crop ≤ smallest ≤ largest"):
        ScaleJitter(Pictures(), *arguments)


def test_a_window_larger_than_the_picture():
    with pytest.raises(ValueError, match="1 to the scale of the pictures, 8, got 9"):
        CenterCrops(Pictures(), 9, 8)


# ---- the colour shift ------------------------------------------------------------------------------------------------


def noise(n=6):
    rng = np.random.default_rng(1)
    return (rng.normal(0, 1, (n, 3, 9, 7)) * [[[[40]], [[30]], [[10]]]] + rng.normal(0, 40, (n, 1, 9, 7)) + 128).clip(0, 255).astype(np.uint8)


def test_components_are_those_of_the_covariance():
    images = noise()
    values, vectors = transforms.rgb_components([images[:2], images[2:]])
    covariance = np.cov(images.transpose(1, 0, 2, 3).reshape(3, -1) / 255.0, bias=True)
    assert np.allclose(vectors * values @ vectors.T, covariance, rtol=1e-12, atol=1e-15)
    assert np.allclose(vectors.T @ vectors, np.eye(3)) and (np.diff(values) <= 0).all() and (vectors.sum(0) >= 0).all()
    again = transforms.rgb_components([images[3:], images[:3]])
    assert all(np.array_equal(a, b) for a, b in zip(again, (values, vectors), strict=True))
    with pytest.raises(ValueError, match="at least one image"):
        transforms.rgb_components([])


def test_the_shift_is_one_colour_an_image_and_has_the_right_spread():
    values, vectors = transforms.rgb_components([noise()])
    std = (0.2, 0.25, 0.3)
    shift = transforms.RGBShift(values, vectors, std, 0.1)
    images = transforms.Normalize((0.5, 0.5, 0.5), std)(noise())
    before, rng = images.copy(), Generator(5)
    difference = shift(images, rng) - images
    assert np.array_equal(images, before)
    assert np.ptp(difference, axis=(2, 3)).max() < 1e-5
    alphas = Generator(5).normal((6, 3)).astype(np.float64) * 0.1
    assert np.allclose(difference.mean((2, 3)) * std, (alphas * values) @ vectors.T, atol=1e-6)
    many = shift(np.zeros((20000, 3, 1, 1), np.float32), rng)[:, :, 0, 0] * std @ vectors
    assert np.allclose(many.std(0), 0.1 * values, rtol=0.03) and np.allclose(many.mean(0), 0, atol=0.004 * values.max())


def test_shift_refuses_what_it_cannot_shift():
    values, vectors = transforms.rgb_components([noise()])
    with pytest.raises(TypeError, match="normalised float32"):
        transforms.RGBShift(values, vectors, (1, 1, 1))(noise())
    with pytest.raises(ValueError, match="expected eigenvalues"):
        transforms.RGBShift(values, vectors[:2], (1, 1, 1))
    with pytest.raises(ValueError, match="amount must be 0 or more"):
        transforms.RGBShift(values, vectors, (1, 1, 1), -1)
