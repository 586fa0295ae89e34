"""The built-in set: ten shapes on cluttered backgrounds, made by arithmetic, so nothing is downloaded or licensed.

A class is an outline and nothing else. Place, size, squeeze, rotation, all colours, light on dark or dark on light,
background, clutter and noise are drawn without regard to it: no pixel tells the class by itself. So a linear
classifier stays little better than chance while a convolutional net learns the outlines within a minute.

Picture i takes words [i·W, (i+1)·W) of a Philox stream (W = 896; one stream for training, one for test): it depends on
(seed, split, i) only, and a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

import numpy as np

from ..array import parallel_for, philox, ranges
from .dataset import ArrayDataset
from .shapes import SHAPES

SIDE = 32
_STREAM = 0x5348415045530000  # plus 0 for training, 1 for test
_PARAMETERS, _NOISE = 128, 3 * SIDE * SIDE // 4  # words a picture
_WORDS = _PARAMETERS + _NOISE
_TILE = 250  # pictures; (250, 32, 32) float32 is 1 MiB
_GRID = 5  # knots of the background's texture along a side
_CLUTTER = 4  # strokes behind the shape; one more lies in front
_f = np.float32


class SampleShapes(ArrayDataset):
    """32×32 RGB pictures of ten shapes; deterministic, balanced (picture i is of class i mod 10).

    Args:
        train: the training or the test split; the two never share a random word.
        size: number of pictures; by default 10,000 for training and 2,000 for test.
        seed: another seed gives another set of the same difficulty.
        transform: called with each uint8 image (3, 32, 32) that ``[i]`` returns.

    Attributes:
        images: uint8 (N, 3, 32, 32). labels: int64 (N,). classes: the ten names.
        mean, std: of the default training split, in 0..1.

    Raises:
        ValueError: if ``size`` is below 1.
    """

    name = "sample"
    mean = (0.497, 0.498, 0.497)
    std = (0.226, 0.224, 0.224)

    def __init__(self, train: bool = True, size: int | None = None, seed: int = 0, transform=None):
        size = (10_000 if train else 2_000) if size is None else size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"SampleShapes: size must be a positive integer, got {size!r}")
        images = np.empty((size, 3, SIDE, SIDE), np.uint8)
        labels = np.arange(size, dtype=np.int64) % len(SHAPES)
        stream = _STREAM + (0 if train else 1)

        def draw(piece):
            start, stop = piece
            words = philox.random_words(seed, stream, start * _WORDS, (stop - start) * _WORDS).reshape(-1, _WORDS)
            images[start:stop] = _draw(labels[start:stop], words)

        parallel_for(draw, ranges(size, _TILE))
        super().__init__(images, labels, [shape.__name__ for shape in SHAPES], transform)
        self.train, self.seed = train, seed

    def __repr__(self):
        return f"SampleShapes(train={self.train}, size={len(self)}, seed={self.seed})"


class _Draws:
    """Hands out the uniform numbers of a tile, one column (n, 1, 1) at a time."""

    def __init__(self, words: np.ndarray):
        self.values = ((words >> np.uint32(8)).astype(np.float32) * _f(2.0**-24))[:, :, None, None]
        self.used = 0

    def uniform(self, low: float, high: float) -> np.ndarray:
        column = self.values[:, self.used]
        self.used += 1
        return column * _f(high - low) + _f(low)

    def sign(self) -> np.ndarray:
        return np.where(self.uniform(-1, 1) < 0, _f(-1), _f(1))

    def colour(self, low: float, high: float) -> np.ndarray:
        return np.stack([self.uniform(low, high) for _ in range(3)], 1)  # (n, 3, 1, 1)

    def direction(self) -> tuple[np.ndarray, np.ndarray]:
        """A unit vector of any angle, by the rational form of the circle: ((1 − t²), 2t) / (1 + t²) and its negative."""
        t, sign = self.uniform(-1, 1), self.sign()
        scale = sign / (t * t + _f(1))
        return (_f(1) - t * t) * scale, (t + t) * scale


def _draw(labels: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Pictures of a tile: labels (n,) and words uint32 (n, W) to uint8 (n, 3, 32, 32)."""
    draws = _Draws(words[:, :_PARAMETERS])
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    picture, ground = _background(draws, x, y)
    for _ in range(_CLUTTER):
        colour = ground + draws.colour(-70, 70)
        _paint(picture, _stroke(draws, x, y), colour)
    _paint(picture, _outline(draws, labels, x, y), _ink(draws, ground))
    _paint(picture, _stroke(draws, x, y), ground + draws.colour(-70, 70))
    noise = words[:, _PARAMETERS:].astype("<u4").view(np.uint8).reshape(picture.shape)
    amplitude = draws.uniform(4, 40)[:, None] * _f(1 / 255)
    picture += (noise.astype(np.float32) - _f(127.5)) * amplitude
    return np.clip(picture, _f(0), _f(255)).astype(np.uint8)


def _background(draws: _Draws, x, y):
    """A gradient between two related colours with a smooth texture; also its mean colour (n, 3, 1, 1)."""
    ground, change = draws.colour(40, 215), draws.colour(-45, 45)
    cos, sin = draws.direction()
    slope = ((x - _f(15.5)) * cos + (y - _f(15.5)) * sin) * _f(1 / 16)
    knots = np.concatenate([draws.uniform(-1, 1) for _ in range(_GRID * _GRID)], 1).reshape(-1, _GRID, _GRID)
    texture = _enlarge(_enlarge(knots).transpose(0, 2, 1)).transpose(0, 2, 1) * draws.uniform(0, 40)
    return ground + slope[:, None] * change + texture[:, None], ground


def _enlarge(knots):
    """Linear interpolation of (n, k, m) along the middle axis to (n, 32, m)."""
    place = np.arange(SIDE, dtype=np.float32) * _f((_GRID - 1) / SIDE)
    left = place.astype(np.intp)
    weight = (place - left.astype(np.float32))[:, None]
    return knots[:, left] * (_f(1) - weight) + knots[:, left + 1] * weight


def _stroke(draws: _Draws, x, y):
    """Distance from a random short stroke with round ends (a dot when its length is about nothing)."""
    dx, dy = x - draws.uniform(-2, 34), y - draws.uniform(-2, 34)
    cos, sin = draws.direction()
    length, radius = draws.uniform(0, 12), draws.uniform(0.6, 1.8)
    along = np.minimum(np.maximum(dx * cos + dy * sin, _f(0)), length)
    across_x, across_y = dx - along * cos, dy - along * sin
    return np.sqrt(across_x * across_x + across_y * across_y) - radius


def _outline(draws: _Draws, labels, x, y):
    """Distance in pixels from the shape of each picture's class, at a random place, size, squeeze and angle."""
    radius = draws.uniform(7.5, 12.5)
    room = _f(15.5) - radius * _f(0.85)
    dx = x - (_f(15.5) + room * draws.uniform(-1, 1))
    dy = y - (_f(15.5) + room * draws.uniform(-1, 1))
    cos, sin = draws.direction()
    squeeze = draws.uniform(0.85, 1)
    u, v = (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / (radius * squeeze)
    distance = np.empty_like(u)
    for label, shape in enumerate(SHAPES):
        chosen = np.flatnonzero(labels == label)
        distance[chosen] = shape(u[chosen], v[chosen])
    return distance * radius


def _ink(draws: _Draws, ground):
    """A colour as bright as the background ± 50 to 105 of 255, on the side that has room (either, where both have)."""
    colour, step, sign = draws.colour(-60, 60), draws.uniform(50, 105), draws.sign()
    level = _mean(ground)
    sign = np.where(level > _f(155), _f(-1), np.where(level < _f(100), _f(1), sign))
    return (level + sign * step - _mean(colour))[:, None] + colour


def _mean(colour):
    return (colour[:, 0] + colour[:, 1] + colour[:, 2]) / _f(3)


def _paint(picture, distance, colour):
    """Lay ``colour`` (n, 3, 1, 1) where ``distance`` (n, 32, 32) is below zero, with an edge one pixel soft."""
    cover = np.minimum(np.maximum(_f(0.5) - distance, _f(0)), _f(1))[:, None]
    picture += (colour - picture) * cover
