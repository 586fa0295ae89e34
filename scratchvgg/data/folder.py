"""Pictures in folders, one folder for each class, decoded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .errors import DataError
from .images import EXTENSIONS, check_scaled, read_picture, to_array
from .presets import IMAGENET_MEAN, IMAGENET_STD


class ImageFolder(Dataset):
    """``root/class/**/picture``: the classes are the subfolders in sorted order, the pictures their files in sorted order.

    Args:
        root: the folder of class folders. Names that begin with a dot are passed over.
        size: ``None`` keeps each picture's size; an integer scales the shorter side to it and takes the central square;
            a pair (height, width) scales the picture to cover that and takes the centre.
        transform: called with each uint8 image (3, H, W) that ``[i]`` returns.

    Attributes:
        samples: list of (path, label). labels: int64 (N,). classes: names. class_to_idx: name to label.
        mean, std: ImageNet's, which torchvision's weights expect.

    Raises:
        DataError: if the folder is missing or has no classes, if a class has no picture, or (when it is read) if a
            picture cannot be decoded.
    """

    name = "folder"
    mean = IMAGENET_MEAN
    std = IMAGENET_STD

    def __init__(self, root, size: int | tuple[int, int] | None = None, transform: Callable | None = None):
        self.root, self.size, self.transform = Path(root), _pair(size), transform
        if not self.root.is_dir():
            raise DataError(f"{self.root.absolute()}: there is no such folder")
        self.classes = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not self.classes:
            raise DataError(f"{self.root.absolute()}: expected a subfolder for each class, found none")
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples: list[tuple[str, int]] = []
        for name, label in self.class_to_idx.items():
            pictures = _pictures(self.root / name)
            if not pictures:
                raise DataError(f"{self.root / name}: no pictures ({', '.join(EXTENSIONS)}) in this class")
            self.samples += [(path, label) for path in pictures]
        self.labels = np.array([label for _, label in self.samples], np.int64)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        image = read_image(path, self.size)
        return (image if self.transform is None else self.transform(image)), label

    def __repr__(self):
        return f"ImageFolder(root={str(self.root)!r}, classes={len(self.classes)}, size={len(self)})"


def read_image(path, size: int | tuple[int, int] | None = None) -> np.ndarray:
    """A picture file as uint8 RGB (3, H, W), turned upright as its EXIF says.

    Grey, palette and 16-bit pictures become RGB; an alpha channel is dropped, as in torchvision. ``size`` as for
    :class:`ImageFolder`; scaling is bilinear with antialias.

    Raises:
        DataError: naming the file, if it is missing, not a picture, cut short, or absurdly large.
    """
    picture = read_picture(path)
    return to_array(picture if size is None else fit(picture, *_pair(size), path))


def fit(picture, height: int, width: int, name="a picture"):
    """A Pillow picture scaled to cover ``height`` × ``width``, of which the centre is cut.

    Raises:
        DataError: beginning with ``name``, if a long, thin picture would become too large.
    """
    from PIL.Image import Resampling

    scale = max(width / picture.width, height / picture.height)
    wide, high = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    check_scaled(picture.size, (wide, high), name)
    left, top = (wide - width) // 2, (high - height) // 2
    return picture.resize((wide, high), Resampling.BILINEAR).crop((left, top, left + width, top + height))


def _pair(size) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise ValueError(f"size must be a positive integer or a pair (height, width) of them, got {size!r}")
    return pair


def _pictures(folder: Path) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        pictures = (name for name in sorted(files) if name.lower().endswith(EXTENSIONS) and not name.startswith("."))
        found += [os.path.join(place, name) for name in pictures]
    return found
