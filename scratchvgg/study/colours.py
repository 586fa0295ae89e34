"""Colours for arrays, made from a formula: equal steps of a value are equal steps of lightness, for every eye and in greyscale too.

The ramps are drawn in Oklab (B. Ottosson, "A perceptual color space for image processing", 2020), whose L is lightness as people see it:

- :func:`heat` runs from dark violet over red to light yellow; L rises linearly, so order can be read without seeing a hue.
- :func:`two_sided` runs from blue (below zero) over near-white (zero) to orange: hues that the common kinds of colour blindness keep apart.

A colour outside of sRGB is brought in by taking away chroma: lightness and hue stay.
"""

from __future__ import annotations

import functools

import numpy as np

SIZE = 256
_LMS = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])  # of L, a, b; cube roots
_RGB = np.array([[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
                 [-0.0041960863, -0.7034186147, 1.7076147010]])  # linear, of LMS


@functools.cache
def heat() -> np.ndarray:
    """The table of a one-sided map, uint8 (256, 3): 0 is the least."""
    t = np.linspace(0, 1, SIZE)
    return _frozen(_srgb(0.16 + 0.79 * t, 0.045 + 0.155 * np.sin(np.pi * t**0.9), np.deg2rad(285 + 180 * t)))


@functools.cache
def two_sided() -> np.ndarray:
    """The table of a map with signs, uint8 (256, 3): the middle is zero."""
    t = np.linspace(-1, 1, SIZE)
    return _frozen(_srgb(0.95 - 0.50 * np.abs(t), 0.16 * np.abs(t), np.deg2rad(np.where(t < 0, 258, 50))))


def paint(values: np.ndarray, signed: bool = False) -> np.ndarray:
    """uint8 (H, W, 3) of numbers (H, W): from 0 to 1 by :func:`heat`, or if ``signed`` from −1 to 1 by :func:`two_sided`; what lies outside is
    cut, NaN is taken as 0."""
    values = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=1.0, neginf=-1.0)
    values = (values + 1) / 2 if signed else values
    places = np.round(np.clip(values, 0, 1) * (SIZE - 1)).astype(np.intp)
    return (two_sided() if signed else heat())[places]


def bar(signed: bool = False, height: int = 10) -> np.ndarray:
    """All colours from the least to the largest, uint8 (height, 256, 3): a legend."""
    return np.repeat((two_sided() if signed else heat())[None], height, 0)


def lightness(rgb: np.ndarray) -> np.ndarray:
    """Oklab's L of sRGB colours uint8 (…, 3): 0 is black, 1 is white."""
    c = rgb.astype(np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ np.linalg.inv(_RGB).T) @ np.linalg.inv(_LMS)[0]


def _srgb(light, chroma, hue) -> np.ndarray:
    """sRGB in 0…255 of Oklab's lightness, chroma and hue (radians), each (n,); chroma is lowered where the colour does not exist."""
    low, high = np.zeros_like(light), chroma
    for _ in range(30):  # bisection: low is always a colour that there is
        middle = (low + high) / 2
        linear = _linear(light, middle, hue)
        there = ((linear >= 0) & (linear <= 1)).all(1)
        low, high = np.where(there, middle, low), np.where(there, high, middle)
    linear = np.clip(_linear(light, low, hue), 0, 1)
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def _linear(light, chroma, hue):
    return ((np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], 1) @ _LMS.T) ** 3) @ _RGB.T


def _frozen(table) -> np.ndarray:
    table = table.astype(np.uint8)
    table.flags.writeable = False
    return table
