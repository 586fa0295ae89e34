"""Augmentation and normalisation of whole batches.

A transform is called as ``transform(images, info)`` with uint8 images (N, C, H, W) and a :class:`BatchInfo` (or a bare
``Generator``; without one the random transforms draw from the default generator). It returns a new array and never
writes into the one it was given. Every draw is the same for a batch of the same seed, epoch and number.

N images, C channels, H W their size, c the cropped size, p padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..array import Generator, default_generator
from .batch_info import BatchInfo

_PADDING = ("reflect", "constant")


def _generator(info) -> Generator:
    if info is None:
        return default_generator
    return info.rng if isinstance(info, BatchInfo) else info


def _check(images: np.ndarray, name: str) -> np.ndarray:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        came = f"{images.dtype} of shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"{name}: expected a uint8 array (N, C, H, W), got {came}")
    return images


def _amount(value, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")
    return int(value)


class _Transform:
    """Shows the arguments it was made with."""

    def __repr__(self):
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({shown})"


class Compose(_Transform):
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, images, info=None):
        for transform in self.transforms:
            images = transform(images, info)
        return images

    def __repr__(self):
        lines = "".join(f"\n    {transform!r}" for transform in self.transforms)
        return f"Compose({lines}\n)"


class RandomCrop(_Transform):
    """Pad every image, then cut a window at a random place, another for each image.

    Args:
        size: c, side of the window.
        padding: p, pixels added on each side.
        mode: ``"reflect"`` (the border pixel is not repeated) or ``"constant"`` (black).

    Raises:
        ValueError: for unusable arguments, or images smaller than the window needs.
    """

    def __init__(self, size: int, padding: int = 4, mode: str = "reflect"):
        self.size, self.padding = _amount(size, "RandomCrop: size", 1), _amount(padding, "RandomCrop: padding", 0)
        self.mode = _mode(mode, "RandomCrop")

    def __call__(self, images, info=None):
        return _shifted(_check(images, "RandomCrop"), (self.size, self.size), self.padding, self.mode, info)


class RandomTranslate(_Transform):
    """Shift every image by up to ``pixels`` in each direction; the size stays. ``mode`` as in :class:`RandomCrop`."""

    def __init__(self, pixels: int, mode: str = "reflect"):
        self.pixels, self.mode = _amount(pixels, "RandomTranslate: pixels", 0), _mode(mode, "RandomTranslate")

    def __call__(self, images, info=None):
        return _shifted(_check(images, "RandomTranslate"), images.shape[2:], self.pixels, self.mode, info)


def _mode(mode: str, name: str) -> str:
    if mode not in _PADDING:
        raise ValueError(f"{name}: mode must be one of {', '.join(_PADDING)}, got {mode!r}")
    return mode


def _shifted(images, size, padding: int, mode: str, info):
    """Windows of ``size`` at random places of the padded images."""
    n, _, height, width = images.shape
    if mode == "reflect" and padding >= min(height, width):
        raise ValueError(f"reflection by {padding} needs images larger than that, got {height}×{width}")
    if size[0] > height + 2 * padding or size[1] > width + 2 * padding:
        raise ValueError(f"a window of {size[0]}×{size[1]} does not fit into {height}×{width} with {padding} pixels of padding")
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode=mode)
    rng = _generator(info)
    top = rng.integers(0, height + 2 * padding - size[0] + 1, (n,))
    left = rng.integers(0, width + 2 * padding - size[1] + 1, (n,))
    windows = sliding_window_view(padded, size, axis=(2, 3))  # (N, C, places, places, c, c), a view
    return windows[np.arange(n), :, top, left]


class RandomHorizontalFlip(_Transform):
    """Mirror each image with probability ``p``."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must lie in [0, 1], got {p!r}")
        self.p = p

    def __call__(self, images, info=None):
        return _flipped(_check(images, "RandomHorizontalFlip"), _generator(info).uniform((len(images),)) < self.p)


class AlternatingFlip(_Transform):
    """Mirror a random half of the images in even epochs and the other half in odd ones.

    Two consecutive epochs show every image both ways, where independent flips repeat half of them
    (K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3.6).

    Raises:
        TypeError: if called without the :class:`BatchInfo` that says which images and which epoch these are.
    """

    def __call__(self, images, info=None):
        if not isinstance(info, BatchInfo):
            raise TypeError(f"AlternatingFlip: expected a BatchInfo (a DataLoader gives one), got {type(info).__name__}")
        chosen = (info.words_of_images() & np.uint32(1)) != info.epoch % 2
        return _flipped(_check(images, "AlternatingFlip"), chosen)


def _flipped(images, chosen):
    out = images.copy()
    out[chosen] = images[chosen, :, :, ::-1]
    return out


class Cutout(_Transform):
    """Cover a square of ``size`` pixels around a random pixel of each image; at the border part of it falls outside.

    T. DeVries, G. Taylor, "Improved regularization of convolutional neural networks with Cutout", arXiv 1708.04552.

    Args:
        size: side of the square.
        fill: grey level of the square, 0 to 255 (the middle by default, about 0 once normalised).
    """

    def __init__(self, size: int, fill: int = 128):
        self.size, self.fill = _amount(size, "Cutout: size", 1), _amount(fill, "Cutout: fill", 0)
        if fill > 255:
            raise ValueError(f"Cutout: fill must be 255 or less, got {fill}")

    def __call__(self, images, info=None):
        n, _, height, width = _check(images, "Cutout").shape
        rng = _generator(info)
        rows, columns = (self._covered(rng.integers(0, side, (n, 1)), side) for side in (height, width))
        out = images.copy()
        np.copyto(out, np.uint8(self.fill), where=(rows[:, :, None] & columns[:, None, :])[:, None])
        return out

    def _covered(self, centre, side: int):
        offset = np.arange(side) - (centre - self.size // 2)  # (N, side): place in the square
        return (offset >= 0) & (offset < self.size)


class ColorJitter(_Transform):
    """Scale brightness, contrast and colourfulness of each image by random factors from [max(0, 1 − x), 1 + x], in that order.

    Contrast is taken about the image's mean grey, saturation about each pixel's grey (0.299 R + 0.587 G + 0.114 B);
    values are cut to 0…255 after each step, as in torchvision, and rounded to whole levels at the end.
    """

    def __init__(self, brightness: float = 0, contrast: float = 0, saturation: float = 0):
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"ColorJitter: {name} must be 0 or more, got {value!r}")

    def __call__(self, images, info=None):
        if _check(images, "ColorJitter").shape[1] != 3:
            raise ValueError(f"ColorJitter: expected images of 3 channels, got {images.shape[1]}")
        rng, pixels = _generator(info), images.astype(np.float32)
        if self.brightness:
            pixels *= self._factors(rng, self.brightness, len(images))
            np.clip(pixels, 0, 255, out=pixels)
        if self.contrast:
            pixels = _blend(pixels, _grey(pixels).mean((2, 3), keepdims=True), self._factors(rng, self.contrast, len(images)))
        if self.saturation:
            pixels = _blend(pixels, _grey(pixels), self._factors(rng, self.saturation, len(images)))
        return np.rint(pixels, out=pixels).astype(np.uint8)

    def _factors(self, rng, amount: float, n: int):
        low, high = np.float32(max(0.0, 1.0 - amount)), np.float32(1 + amount)
        return rng.uniform((n, 1, 1, 1)) * (high - low) + low


def _grey(pixels):
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)


def _blend(pixels, centre, factor):
    """``centre`` + factor · (pixels − centre), cut to 0…255; overwrites ``pixels``."""
    pixels -= centre
    pixels *= factor
    pixels += centre
    return np.clip(pixels, 0, 255, out=pixels)


class Normalize(_Transform):
    """uint8 to float32: ((x / 255) − mean) / std for each channel, as torchvision's ToTensor and Normalize together.

    A byte has 256 values, so it is a look-up. The result has shape (N, C, H, W) over channels-last memory, which the
    convolutions like best.

    Args:
        mean, std: one number a channel, in 0…1.

    Raises:
        ValueError: if their lengths differ or a std is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"Normalize: expected mean and std of equal length, got {len(self.mean)} and {len(self.std)}")
        if not min(self.std) > 0:
            raise ValueError(f"Normalize: std must be positive, got {self.std}")
        level = np.arange(256, dtype=np.float32) / np.float32(255)
        self._tables = [(level - np.float32(m)) / np.float32(s) for m, s in zip(self.mean, self.std, strict=True)]

    def __call__(self, images, info=None):
        n, channels, height, width = _check(images, "Normalize").shape
        if channels != len(self._tables):
            raise ValueError(f"Normalize: expected images of {len(self._tables)} channels, got {channels}")
        out = np.empty((n, height, width, channels), np.float32).transpose(0, 3, 1, 2)
        for channel, table in enumerate(self._tables):
            out[:, channel] = table[images[:, channel]]
        return out


class ToFloat(_Transform):
    """uint8 to float32 in 0…1; shape (N, C, H, W) over channels-last memory."""

    def __call__(self, images, info=None):
        n, channels, height, width = _check(images, "ToFloat").shape
        out = np.empty((n, height, width, channels), np.float32).transpose(0, 3, 1, 2)
        np.divide(images, np.float32(255), out=out)
        return out


class RGBShift(_Transform):
    """Add to all pixels of an image one random colour: Σ αᵢ λᵢ pᵢ with αᵢ ~ N(0, ``amount``), drawn once an image.

    λᵢ and pᵢ are eigenvalues and eigenvectors of the covariance of the training set's RGB values (:func:`rgb_components`), so the shift goes
    where the colours of natural pictures vary: mostly along brightness. A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with
    deep convolutional neural networks", NIPS 2012, section 4.1; amount 0.1 there. This one works on normalised float32 images, behind
    :class:`Normalize`: nothing is rounded or cut off.

    Args:
        eigenvalues: (3,), of colours in 0…1.
        eigenvectors: (3, 3), one a column.
        std: what :class:`Normalize` divides by.
        amount: standard deviation of α.

    Raises:
        ValueError: for arrays of another shape, or a negative amount.
    """

    def __init__(self, eigenvalues, eigenvectors, std: Sequence[float], amount: float = 0.1):
        self.eigenvalues, self.eigenvectors = np.asarray(eigenvalues, np.float64), np.asarray(eigenvectors, np.float64)
        self.std, self.amount = tuple(map(float, std)), float(amount)
        if self.eigenvalues.shape != (3,) or self.eigenvectors.shape != (3, 3) or len(self.std) != 3:
            raise ValueError(f"RGBShift: expected eigenvalues (3,), eigenvectors (3, 3) and three numbers std, got "
                             f"{self.eigenvalues.shape}, {self.eigenvectors.shape} and {len(self.std)}")
        if not self.amount >= 0:
            raise ValueError(f"RGBShift: amount must be 0 or more, got {amount!r}")

    def __call__(self, images, info=None):
        if not isinstance(images, np.ndarray) or images.dtype != np.float32 or images.ndim != 4 or images.shape[1] != 3:
            raise TypeError(f"RGBShift: expected normalised float32 images (N, 3, H, W), got {getattr(images, 'dtype', type(images).__name__)} "
                            f"of shape {np.shape(images)}")
        draws = _generator(info).normal((len(images), 3)).astype(np.float64) * self.amount  # α
        # a sum written out: the same bits whatever the BLAS
        colours = sum((draws[:, i, None] * self.eigenvalues[i]) * self.eigenvectors[:, i] for i in range(3)) / np.asarray(self.std)
        return images + colours.astype(np.float32)[:, :, None, None]


def rgb_components(batches: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the colours of uint8 images: (eigenvalues (3,), eigenvectors (3, 3), one a column), float64, largest first.

    They are those of the covariance of RGB values in 0…1. The sums are exact integers, so the order of the images does not matter; the sign of
    a vector is chosen so that its components sum up to 0 or more.

    Args:
        batches: uint8 arrays (N, 3, H, W).

    Raises:
        ValueError: without a pixel. TypeError: for other arrays.
    """
    count, total, products = 0, np.zeros(3, np.int64), np.zeros((3, 3), np.int64)
    for images in batches:
        colours = _check(images, "rgb_components").transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
        count += colours.shape[1]
        total += colours.sum(1).astype(np.int64)  # float64 sums of integers below 2⁵³ are exact
        products += np.array([[np.dot(a, b) for b in colours] for a in colours]).astype(np.int64)
    if not count:
        raise ValueError("rgb_components: expected at least one image, got none")
    mean = total / count
    values, vectors = np.linalg.eigh((products / count - np.outer(mean, mean)) / 255.0**2)
    vectors = vectors * np.where(vectors.sum(0) < 0, -1.0, 1.0)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]
