"""The filters of a convolution as pictures: those of the first layer look at colours, so they can be looked at as colours."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..nn import Conv2d, Module
from .errors import StudyError
from .shown import Shown

SIDE = 44  # pixels that a tile is at least enlarged to
ORDERS, SCALES = ("strongest", "index"), ("each", "joint")
GREY = 128  # zero


@dataclass
class Filters(Shown):
    """The filters of one layer.

    Attributes:
        layer: dotted name.
        weight: (K, C, R, S), the layer's numbers as they are.
        by: ``"strongest"``: the filters with the largest norms come first; ``"index"``: by number.
        scale: ``"each"``: every tile reaches black or white by itself; ``"joint"``: the same number is the same brightness in all tiles.
        order: number of the filter (with C ≠ 3: and of its input channel) that each tile shows.
        left_out: how many tiles are not shown.
    """

    title = "Filters"

    layer: str
    weight: np.ndarray
    by: str
    scale: str
    order: list[tuple[int, int | None]] = field(default_factory=list)
    left_out: int = 0

    @property
    def in_colour(self) -> bool:
        """Whether a tile is a filter in R, G, B; else it is one of a filter's channels, in grey."""
        return self.weight.shape[1] == 3

    def norms(self) -> np.ndarray:
        """The 2-norm of each filter, (K,)."""
        return np.sqrt((self.weight.astype(np.float64) ** 2).sum((1, 2, 3)))

    def tile(self, number: int, channel: int | None = None) -> np.ndarray:
        """uint8 (R, S, 3) or (R, S): 0 is grey (128), ± the largest magnitude (of this tile, or of all with ``"joint"``) 255 and 1."""
        values = self.weight[number] if channel is None else self.weight[number, channel]
        values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
        top = np.abs(values if self.scale == "each" else np.nan_to_num(self.weight, posinf=0, neginf=0)).max() or 1.0
        pixels = np.round(GREY + 127 * values / top).astype(np.uint8)
        return pixels.transpose(1, 2, 0) if channel is None else pixels

    def sheet(self, columns: int | None = None) -> np.ndarray:
        """All tiles in rows, enlarged, uint8 (H, W, 3) or (H, W)."""
        from .attribution.result import enlarge
        from .page import images

        pieces = [enlarge(self.tile(*place), self.enlarged) for place in self.order]
        return images.tiles(pieces, columns or _columns(len(pieces)), 4, 255)

    @property
    def enlarged(self) -> int:
        """Pixels of the screen a weight takes on each side."""
        return max(1, -(-SIDE // max(self.weight.shape[2:])))

    @property
    def scale_in_words(self) -> str:
        """How numbers became brightness."""
        what = "filter" if self.in_colour else "tile"
        by = f"each {what} by its own largest magnitude" if self.scale == "each" else "all by the largest magnitude of the layer"
        return f"0 is grey; scaled {by}"

    def to_dict(self) -> dict:
        """Plain values; of the weights only norms and range."""
        return {"layer": self.layer, "shape": list(self.weight.shape), "by": self.by, "scale": self.scale, "in_colour": self.in_colour,
                "left_out": self.left_out, "tiles": [list(place) for place in self.order], "norms": self.norms(),
                "min": self.weight.min(), "max": self.weight.max()}

    def __str__(self):
        k, c, r, s = self.weight.shape
        norms = self.norms()
        kind = "in colour" if self.in_colour else f"of {c} channels, in grey"
        more = f", {self.left_out:,} more are not" if self.left_out else ""
        return (f"{self.layer}: {k} filters of {r}×{s} {kind}; {len(self.order)} tiles are shown{more}; {self.scale_in_words}\n"
                f"norms from {norms.min():.4g} (filter {norms.argmin()}) to {norms.max():.4g} (filter {norms.argmax()}), "
                f"median {np.median(norms):.4g}")

    def to_html(self):
        """The sheet, and the norms."""
        from .page import render

        return render("sections/filters.html", it=self)


def _columns(tiles: int) -> int:
    """About twice as many as rows, and if it can be without a rest: 16 for 64 and 96 and 128."""
    near = min(16, max(1, round((2 * tiles) ** 0.5)))
    return next((n for n in range(min(16, near + 5), max(0, near - 4), -1) if tiles % n == 0), near)


def of_model(model: Module, layer: str | None = None, *, by: str = "index", scale: str = "each", limit: int = 128) -> Filters:
    """The filters of a net's first convolution (in the order of its modules), or of another one.

    With three input channels, those of an RGB picture, a tile is a filter in colours. Else a tile is one input channel of a filter, in grey, filter
    after filter.

    Args:
        layer: dotted name of a Conv2d.
        by, scale: see :class:`Filters`.
        limit: tiles at most; the rest is counted.

    Raises:
        StudyError: if there is no such convolution, or for another order, scale or limit.
    """
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, Conv2d)}
    if not convolutions:
        raise StudyError("filters: this net has no convolution")
    if by not in ORDERS or scale not in SCALES or limit < 1:
        raise StudyError(f"by, scale, limit: expected {' or '.join(ORDERS)}, {' or '.join(SCALES)}, 1 or more, got {by!r}, {scale!r}, {limit!r}")
    name = next(iter(convolutions)) if layer is None else layer
    if name not in convolutions:
        import difflib

        near = difflib.get_close_matches(name, convolutions, 3, 0.3) or list(convolutions)[:3]
        raise StudyError(f"layer: {name!r} is no convolution of this net; near: {', '.join(near)}")
    weight = convolutions[name].weight
    values = np.array(weight.backend.to_numpy(weight.array), np.float64 if weight.dtype.itemsize == 8 else np.float32)
    found = Filters(name, values, by, scale)
    numbers = (-found.norms()).argsort(kind="stable") if by == "strongest" else range(len(found.weight))
    channels = [None] if found.in_colour else range(found.weight.shape[1])
    every = [(int(k), c) for k in numbers for c in channels]
    found.order, found.left_out = every[:limit], max(0, len(every) - limit)
    return found
