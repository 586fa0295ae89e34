"""How a picture becomes the input of a net: the preprocessing that belongs to a set of weights and travels with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .images import center_crop, read_picture, resize_shorter, to_array, to_picture, to_rgb

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # R, G, B of pixels in 0…1; torchvision's and timm's weights
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageClassification:
    """Shorter side to ``resize_size``, the central square of ``crop_size``, pixels to 0…1, minus ``mean``, over ``std``.

    The bits are those of torchvision's preset of the same name on a Pillow picture; an array is scaled as the picture it shows.

    Args:
        crop_size: height and width of the net's input, in pixels.
        resize_size: the shorter side before the crop, in pixels.
        mean, std: of R, G and B, for pixels in 0…1.

    Raises:
        ValueError: for sizes that are no positive integers, or means and deviations that are not three numbers (std above 0).
    """

    crop_size: int = 224
    resize_size: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self):
        for name in ("crop_size", "resize_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        for name, least in (("mean", -np.inf), ("std", 0.0)):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (3,) or not (np.isfinite(values) & (values > least)).all():
                raise ValueError(f"{name}: expected three numbers{' above 0' if least == 0 else ''}, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(values.tolist()))

    def __call__(self, picture) -> np.ndarray:
        """float32 (3, crop_size, crop_size) from a Pillow picture, a path, or pixels uint8 (3, H, W).

        Raises:
            DataError: if the file cannot be read as a picture. ValueError: for an array of another shape or type.
        """
        return self.normalize(self.crop(picture))

    def crop(self, picture) -> np.ndarray:
        """The pixels before they are normalised: uint8 (3, crop_size, crop_size); takes and raises what a call does."""
        if isinstance(picture, np.ndarray):
            picture = to_picture(picture)
        elif not hasattr(picture, "resize"):
            picture = read_picture(picture)
        elif picture.mode != "RGB":
            picture = to_rgb(picture)
        return to_array(center_crop(resize_shorter(picture, self.resize_size), self.crop_size))

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """(images / 255 − mean) / std in float32, each step rounded as torchvision rounds it.

        Args:
            images: uint8 (..., 3, H, W).

        Raises:
            ValueError: for another shape or type.
        """
        if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-3] != 3:
            raise ValueError(f"images: expected uint8 (..., 3, H, W), got {images.dtype} {images.shape}")
        pixels = images.astype(np.float32)
        pixels /= np.float32(255)
        pixels -= np.float32(self.mean).reshape(3, 1, 1)
        pixels /= np.float32(self.std).reshape(3, 1, 1)
        return pixels
