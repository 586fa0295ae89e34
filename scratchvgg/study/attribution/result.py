"""What an attribution shows: a number for each pixel, laid over the picture, and the class that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..colours import bar, paint
from ..errors import StudyError
from ..shown import Shown
from .scope import ClassScore

LEAST_SIDE = 224  # pixels: smaller pictures are shown enlarged
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass
class Attribution(Shown):
    """A map of one picture.

    Attributes:
        method: its name in :data:`~scratchvgg.study.attribution.METHODS`.
        map: (H, W), as the method defines it; nothing is normalised.
        target: the class it is for.
        picture: what the net saw, uint8 (H, W, 3); ``stretched`` if its brightness is not the true one (no mean and deviation were given).
        about: a sentence that says what a number means.
        signed: whether numbers below zero mean something.
        top: the value that is shown brightest; beyond it nothing can be told apart. ``top_rule`` says where it comes from.
        layer: that was looked at, or None.
        raw: what the map was made of: a gradient (C, H, W), Grad-CAM's map before it was enlarged, the drop under each patch.
        settings: options of the method.
    """

    title = "Where the net looked"

    method: str
    map: np.ndarray
    target: ClassScore
    picture: np.ndarray
    about: str
    stretched: bool = False
    signed: bool = False
    top: float = 0.0
    top_rule: str = "the largest"
    layer: str | None = None
    raw: np.ndarray | None = None
    settings: dict = field(default_factory=dict)

    def normalised(self) -> np.ndarray:
        """float64 (H, W) in 0…1, or −1…1 if signed: the map over :attr:`top`, cut there. All zeros stay zeros."""
        if not self.top > 0:
            return np.zeros(self.map.shape)
        return np.clip(np.asarray(self.map, np.float64) / self.top, -1 if self.signed else 0, 1)

    @property
    def enlarged(self) -> int:
        """How many pixels of the screen a pixel takes on each side."""
        return max(1, LEAST_SIDE // max(self.map.shape))

    def heat(self) -> np.ndarray:
        """The map alone in colours, uint8 (H, W, 3)."""
        return paint(self.normalised(), self.signed)

    def overlay(self, strength: float = 0.75) -> np.ndarray:
        """The map over the picture in grey, uint8 (H, W, 3): the larger a number, the less of the picture shows through.

        Args:
            strength: how much of the picture the largest number hides, 0 to 1.
        """
        values = self.normalised()
        cover = strength * np.sqrt(np.abs(values))[..., None]
        grey = (self.picture.astype(np.float64) @ GREY)[..., None] * 0.8 + 20
        return np.round((1 - cover) * grey + cover * paint(values, self.signed)).astype(np.uint8)

    def share_inside(self, mask: np.ndarray) -> float:
        """The part of the map's sum (of magnitudes, if signed) that lies where ``mask`` is true: 1 is all of it, the mask's own share of the area
        is what a map that knows nothing would have. (H. Wang et al., "Score-CAM", 2020, call it the energy-based pointing game.)

        Raises:
            StudyError: if the mask has another shape than the map.
        """
        mask = np.asarray(mask, bool)
        if mask.shape != self.map.shape:
            raise StudyError(f"mask: expected the map's shape {self.map.shape}, got {mask.shape}")
        weights = np.abs(np.asarray(self.map, np.float64)) if self.signed else np.maximum(self.map.astype(np.float64), 0)
        total = weights.sum()
        return float(weights[mask].sum() / total) if total else 0.0

    @property
    def peak(self) -> tuple[int, int]:
        """(row, column) of the largest magnitude; the first of several."""
        return tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(self.map)), self.map.shape))

    def half_area(self) -> float:
        """The smallest share of the pixels that holds half of the map's magnitudes: small if the map is concentrated, 0.5 if it is flat."""
        values = np.sort(np.abs(np.asarray(self.map, np.float64)).ravel())[::-1]
        total = values.cumsum()
        return float((np.searchsorted(total, total[-1] / 2) + 1) / len(values)) if total[-1] > 0 else 1.0

    def to_dict(self) -> dict:
        """What is said of the map; the map itself is too large for a page's data: it is :attr:`map`."""
        return {"method": self.method, "target": self.target.to_dict(), "layer": self.layer, "shape": list(self.map.shape), "signed": self.signed,
                "min": float(self.map.min()), "max": float(self.map.max()), "top": self.top, "peak": list(self.peak),
                "half_area": self.half_area(), "settings": self.settings, "about": self.about}

    def __str__(self):
        row, column = self.peak
        where = f", layer {self.layer}" if self.layer else ""
        if not self.top > 0:
            return f"{self.method} for {self.target}{where}: zero everywhere: nothing in the picture speaks for this class here"
        return (f"{self.method} for {self.target}{where}: largest at row {row}, column {column}; half of it lies in "
                f"{100 * self.half_area():.1f} % of the picture; {self.map.min():.4g} to {self.map.max():.4g}")

    def to_html(self):
        """Picture, overlay and map."""
        return Attributions([self]).to_html()


@dataclass
class Attributions(Shown):
    """Several methods on one picture.

    Attributes:
        maps: one for each method.
        note: a sentence for above them, such as that the weights are random.
    """

    title = "Where the net looked"

    maps: list[Attribution]
    note: str = ""

    def __getitem__(self, method: str) -> Attribution:
        for found in self.maps:
            if found.method == method:
                return found
        raise KeyError(method)

    def to_dict(self) -> dict:
        """Plain values."""
        return {"note": self.note, "maps": [each.to_dict() for each in self.maps]}

    def __str__(self):
        return "\n".join([*([self.note] if self.note else ()), *map(str, self.maps)])

    def to_html(self):
        """The picture once, then each method."""
        from ..page import render

        return render("sections/attribution.html", it=self, first=self.maps[0], bar=bar)


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel as ``factor`` × ``factor`` of them, hard-edged."""
    return pixels.repeat(factor, 0).repeat(factor, 1)


def show_picture(x: np.ndarray, preset=None) -> tuple[np.ndarray, bool]:
    """(uint8 (H, W, 3), whether its brightness was stretched) of a normalised picture (C, H, W).

    Args:
        preset: something with ``mean`` and ``std`` of R, G and B in 0…1, which undo the normalisation. Without one (or with another number of
            channels) the least number becomes black and the largest white; more or fewer than three channels are shown as their mean, in grey.
    """
    x = x.astype(np.float64)
    if preset is not None and len(x) == 3:
        pixels, stretched = x * np.reshape(preset.std, (3, 1, 1)) + np.reshape(preset.mean, (3, 1, 1)), False
    else:
        x = x if len(x) == 3 else np.broadcast_to(x.mean(0), (3, *x.shape[1:]))
        pixels, stretched = (x - x.min()) / ((x.max() - x.min()) or 1.0), True
    return np.round(255 * np.clip(pixels.transpose(1, 2, 0), 0, 1)).astype(np.uint8), stretched


def high_percentile(values: np.ndarray, percent: float = 99.5) -> float:
    """The magnitude that so many percent of the numbers stay below, or the largest if that is 0: a few extreme pixels do not darken the rest."""
    magnitudes = np.abs(np.asarray(values, np.float64))
    return float(np.percentile(magnitudes, percent) or magnitudes.max())


def largest(values: np.ndarray) -> float:
    """The largest magnitude."""
    return float(np.abs(np.asarray(values, np.float64)).max())


def as_sheet(maps: Sequence[Attribution], gap: int = 4) -> np.ndarray:
    """Picture and overlays side by side, uint8 (H, W, 3), small pictures enlarged."""
    from ..page import images

    factor = maps[0].enlarged
    pieces = [maps[0].picture, *(each.overlay() for each in maps)]
    return images.tiles([enlarge(piece, factor) for piece in pieces], len(pieces), gap, 255)
