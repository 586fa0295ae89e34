"""Pictures of any size as crops of one size: how the paper cuts its training images (section 3.1) and the simplest of its tests.

A picture is scaled, keeping its proportions, so that its shorter side is S; from that a window of c × c pixels is cut. S is a training
scale, fixed or drawn anew for every picture and epoch from [Smin, Smax] ("scale jittering"); 224, 256 and 512 in the paper.

Pictures are decoded once, brought down to a shorter side of Smax where they are larger, and kept as bytes while they fit into ``memory``;
what did not fit is decoded again in every epoch. Either way the pixels are the same.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..array import get_num_threads
from ..array.threads import stay_in_place
from .batch_info import BatchInfo
from .dataset import Dataset
from .images import center_crop, resize_shorter, to_array, to_picture

MEMORY = 1 << 30  # bytes of decoded pictures


class CenterCrops(Dataset):
    """Item i is the central window of picture i at scale ``scale``, with its label: what a net is tested on between the epochs.

    Args:
        dataset: items (uint8 (3, H, W) of any size, label).
        crop: c, side of the window.
        scale: Q, the shorter side that every picture is scaled to.
        largest: side that pictures are brought down to when they are decoded (``scale`` by default).
        memory: bytes of decoded pictures to keep.

    Attributes:
        classes, mean, std, labels: of ``dataset``.

    Raises:
        ValueError: for a window larger than the scale. ImportError: without Pillow. DataError: when a picture cannot be read.
    """

    def __init__(self, dataset, crop: int, scale: int, largest: int | None = None, memory: int = MEMORY):
        if not 1 <= crop <= scale:
            raise ValueError(f"crop: expected a side from 1 to the scale of the pictures, {scale}, got {crop}")
        self.dataset, self.crop, self.scale = dataset, crop, scale
        self._largest, self._free, self._kept, self._lock = largest or scale, memory, {}, threading.Lock()
        for name in ("classes", "mean", "std"):
            setattr(self, name, getattr(dataset, name))

    @property
    def labels(self) -> np.ndarray:
        """Labels of all pictures (int64)."""
        return np.asarray(self.dataset.labels)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        picture, label = self._picture(int(index))
        return to_array(center_crop(resize_shorter(picture, self.scale), self.crop)), label

    def _picture(self, index):
        """(PIL picture, label) of an item, from memory if it is there."""
        if index in self._kept:
            pixels, label = self._kept[index]
            return to_picture(pixels), label
        image, label = self.dataset[index]
        if min(image.shape[1:]) > self._largest:
            image = to_array(resize_shorter(to_picture(image), self._largest))
        with self._lock:
            if image.nbytes <= self._free and index not in self._kept:
                self._kept[index] = image, int(label)
                self._free -= image.nbytes
        return to_picture(image), int(label)

    def __repr__(self):
        return f"{type(self).__name__}({self.dataset!r}, crop={self.crop}, scale={self.scale})"


class ScaleJitter(CenterCrops):
    """Training crops: a random window of each picture at a random scale. Items by index are centre crops at the middle scale.

    Args:
        dataset: items (uint8 (3, H, W) of any size, label).
        crop: c, side of the window.
        smallest, largest: Smin and Smax; equal for a fixed training scale.
        memory: bytes of decoded pictures to keep.

    Raises:
        ValueError: unless 1 ≤ crop ≤ smallest ≤ largest.
    """

    def __init__(self, dataset, crop: int, smallest: int, largest: int, memory: int = MEMORY):
        if not 1 <= crop <= smallest <= largest:
            raise ValueError(f"expected crop ≤ smallest ≤ largest, got crop={crop}, smallest={smallest}, largest={largest}")
        super().__init__(dataset, crop, (smallest + largest) // 2, largest, memory)
        self.smallest, self.largest = smallest, largest

    def random_batch(self, indices: np.ndarray, info: BatchInfo) -> tuple[np.ndarray, np.ndarray]:
        """Windows, uint8 (n, 3, c, c), and labels, int64 (n,), of the items at ``indices``.

        Scales are uniform integers from Smin to Smax and places uniform among all that fit; they are drawn from ``info.rng``, first n scales,
        then n pairs (from top, from left). Decoding and scaling are spread over threads (:func:`scratchvgg.set_num_threads`); Pillow lets them
        work at once.
        """
        count = len(indices)
        scales = info.rng.integers(self.smallest, self.largest + 1, (count,)).tolist()
        places = info.rng.uniform((count, 2)).tolist()
        windows, labels = np.empty((count, 3, self.crop, self.crop), np.uint8), np.empty(count, np.int64)

        def cut(i):
            picture, labels[i] = self._picture(int(indices[i]))
            picture, (down, right) = resize_shorter(picture, scales[i]), places[i]
            top, left = int(down * (picture.height - self.crop + 1)), int(right * (picture.width - self.crop + 1))
            windows[i] = to_array(picture.crop((left, top, left + self.crop, top + self.crop)))

        with ThreadPoolExecutor(get_num_threads(), "scratchvgg-pictures", initializer=stay_in_place) as pool:
            list(pool.map(cut, range(count)))
        return windows, labels
