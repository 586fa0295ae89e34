"""The maps of a layer as pictures: what each of its channels says of each place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..autograd import Tensor, no_grad
from ..nn import Module
from .attribution.result import enlarge
from .attribution.scope import check_layer, hooked, numpy, undisturbed
from .colours import paint
from .errors import StudyError
from .shown import Shown
from .trace import Trace

ORDERS = ("strongest", "index")
SCALES = ("each", "shared")
SIDE = 56  # pixels that a tile is at least enlarged to


@dataclass
class Maps(Shown):
    """The output of one layer for one picture.

    Attributes:
        layer: dotted name. sample: number of the picture in its batch.
        values: (K, h, w), the engine's numbers; a vector (K,) behind a flattening is one map, folded into rows.
        folded: how many elements the vector had; None for real maps.
        scale: ``"each"``: every map has its own range; ``"shared"``: one range for all that are shown.
        order: the channels that are shown. left_out: how many are not.
        by: ``"strongest"`` (by mean magnitude, the largest first) or ``"index"``.
    """

    title = "Feature maps"

    layer: str
    sample: int
    values: np.ndarray
    scale: str
    by: str
    folded: int | None = None
    order: list[int] = field(default_factory=list)
    left_out: int = 0

    @property
    def signed(self) -> bool:
        """Whether there are numbers below zero: then zero is the middle of the colours, else the darkest is the least number."""
        return bool((self.values < 0).any())

    def strengths(self) -> np.ndarray:
        """Mean magnitude of each channel, (K,)."""
        return np.abs(self.values.astype(np.float64)).mean((1, 2))

    def zeros(self) -> np.ndarray:
        """Share of exact zeros in each channel, (K,)."""
        return (self.values == 0).mean((1, 2))

    @property
    def zero_share(self) -> float:
        """Share of exact zeros in all channels (of a vector without what fills up its last row)."""
        numbers = self.values.ravel()[: self.folded]
        return float((numbers == 0).mean())

    def range_of(self, channel: int) -> tuple[float, float]:
        """The numbers that become the ends of the colours."""
        values = self.values[[channel] if self.scale == "each" else self.order].astype(np.float64)
        if self.signed:
            top = float(np.abs(values).max())
            return -top, top
        return float(values.min()), float(values.max())

    def tile(self, channel: int) -> np.ndarray:
        """One map in colours, uint8 (h, w, 3)."""
        low, high = self.range_of(channel)
        values = self.values[channel].astype(np.float64)
        return paint(values / (high or 1.0), True) if self.signed else paint((values - low) / ((high - low) or 1.0))

    @property
    def enlarged(self) -> int:
        """Pixels of the screen an element takes on each side."""
        return max(1, -(-SIDE // max(self.values.shape[1:])))

    def sheet(self, columns: int = 8) -> np.ndarray:
        """All tiles in rows, uint8 (H, W, 3); large maps are thinned to every second, third … element so that a tile is at most 80 pixels."""
        from .page import images

        every = max(1, -(-max(self.values.shape[1:]) // 80))
        pieces = [enlarge(self.tile(channel)[::every, ::every], self.enlarged) for channel in self.order]
        return images.tiles(pieces, columns, 4, 255)

    @property
    def scale_in_words(self) -> str:
        """How numbers became colours."""
        if self.scale == "each":
            return "each map from " + ("minus its largest magnitude (blue) over 0 (white) to it (orange)" if self.signed else
                                       "its least number (dark) to its largest (light)")
        low, high = self.range_of(self.order[0])
        return f"all maps from {low:.4g} ({'blue) over 0 (white' if self.signed else 'dark'}) to {high:.4g} ({'orange' if self.signed else 'light'})"

    def to_dict(self) -> dict:
        """Plain values: of each shown channel its range, mean magnitude and share of zeros."""
        strengths, zeros = self.strengths(), self.zeros()
        return {"layer": self.layer, "sample": self.sample, "shape": list(self.values.shape), "scale": self.scale, "by": self.by,
                "left_out": self.left_out, "silent": int((zeros == 1).sum()), "folded": self.folded,
                "channels": [{"channel": c, "min": self.values[c].min(), "max": self.values[c].max(), "mean_magnitude": strengths[c],
                              "zeros": zeros[c]} for c in self.order]}

    def __str__(self):
        k, h, w = self.values.shape
        what = f"{self.folded:,} elements, folded to {h}×{w}" if self.folded is not None else f"{k} maps of {h}×{w}"
        silent = int((self.zeros() == 1).sum())
        more = f", {self.left_out:,} more are not" if self.left_out else ""
        return (f"{self.layer}: {what}; {len(self.order)} shown ({'the strongest first' if self.by == 'strongest' else 'by number'}){more}; "
                f"{self.scale_in_words}; zeros {100 * self.zero_share:.1f} %"
                + (f"; silent channels: {silent}" if silent and self.folded is None else ""))

    def to_html(self):
        """The sheet, and the strongest channels' numbers."""
        from .page import render

        return render("sections/maps.html", it=self)


def of_trace(trace: Trace, layer: str, sample: int = 0, *, by: str = "strongest", scale: str = "each", limit: int = 32) -> Maps:
    """The maps of a layer in a trace that kept its arrays; of a layer that worked several times the last time's, of a container its last layer's.

    Args:
        layer: dotted name.
        sample: which picture of the batch.
        by, scale: see :class:`Maps`.
        limit: maps at most; the rest is counted.

    Raises:
        StudyError: for an unknown layer, sample, order or scale, a trace without arrays, an output that is neither (N, K, h, w) nor (N, K).
    """
    try:
        calls = trace.of_layer(layer) or [call for call in trace.calls if call.layer.startswith(f"{layer}.")]
    except KeyError as error:
        raise StudyError(f"layer: {error.args[0]}") from None
    if not calls:
        raise StudyError(f"layer: {layer!r} computed nothing in this run")
    if not calls[-1].results:
        raise StudyError("trace: it has no arrays; record it with arrays=True")
    backend = trace.output.backend
    array = backend.to_numpy(calls[-1].results[0])
    return _made(layer, array.astype(np.float32) if array.dtype.itemsize == 2 else array, sample, by, scale, limit)


def of_run(model: Module, x: Tensor, layers, sample: int = 0, *, by: str = "strongest", scale: str = "each", limit: int = 32) -> list[Maps]:
    """The maps of some layers from a run in evaluation mode of their own: keeps these layers' output and nothing else. The net is left as it was.

    Args:
        x: the net's input, on its device.
        layers: dotted names, in the order of the answer.
        Others as :func:`of_trace`.

    Raises:
        StudyError: as :func:`of_trace`. RuntimeError: what the net raises.
    """
    layers = [layers] if isinstance(layers, str) else list(layers)
    for layer in layers:
        check_layer(model, layer)
    kept: dict[str, np.ndarray] = {}

    def keep(name, module, output):
        if isinstance(output, Tensor) and -output.shape[0] <= sample < output.shape[0]:
            kept[name] = numpy(output.detach()).copy()

    with undisturbed(model), no_grad(), hooked(model, lambda name, module: name in layers, keep):
        model(x)
    for layer in layers:
        if layer not in kept:
            raise StudyError(f"layer: {layer} did not run, returned no tensor, or has no sample {sample}")
    return [_made(layer, kept[layer], sample, by, scale, limit) for layer in layers]


def _made(layer, array, sample, by, scale, limit) -> Maps:
    if by not in ORDERS or scale not in SCALES or limit < 1:
        raise StudyError(f"by, scale, limit: expected {' or '.join(ORDERS)}, {' or '.join(SCALES)}, 1 or more, got {by!r}, {scale!r}, {limit!r}")
    if array.ndim not in (2, 4):
        raise StudyError(f"layer: {layer} makes {array.shape}; expected maps (N, K, h, w) or vectors (N, K)")
    if not 0 <= sample < len(array):
        raise StudyError(f"sample: expected 0 to {len(array) - 1}, got {sample}")
    values, folded = array[sample], None
    if values.ndim == 1:
        values, folded = _fold(values), len(values)
    found = Maps(layer, sample, values, scale, by, folded)
    every = (-found.strengths()).argsort(kind="stable") if by == "strongest" else np.arange(len(values))
    found.order, found.left_out = [int(c) for c in every[:limit]], max(0, len(every) - limit)
    return found


def _fold(vector: np.ndarray) -> np.ndarray:
    """(1, h, w) of a vector, about twice as wide as high, filled up with zeros."""
    width = max(1, int(np.ceil(np.sqrt(2 * len(vector)))))
    height = -(-len(vector) // width)
    return np.pad(vector, (0, height * width - len(vector))).reshape(1, height, width)
