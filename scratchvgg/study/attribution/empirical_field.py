"""The empirical receptive field: the pixels that one element of a layer really answers to, measured as its gradient with respect to the picture.

It must lie inside the theoretical field (:mod:`scratchvgg.study.receptive`), which follows from windows and strides alone, and within that it is far
from even: W. Luo, Y. Li, R. Urtasun, R. Zemel, "Understanding the effective receptive field in deep convolutional neural networks", arXiv
1701.04128, show that it tends to a Gaussian around the middle, whose width grows with the square root of the depth only. Here, as there:
gradient 1 is put on all channels of one position (or on one), and magnitudes are averaged over several pictures; the effective size is the square
root of the number of pixels with more than 1 − 95.45 % of the largest magnitude (two standard deviations of a Gaussian, their section 3).

Convolutions are computed by im2col here, whatever is in force: Winograd's and the Fourier transform's tiles are larger than the windows, and what
should cancel in them leaves rounding errors (about 1e-8 of the largest) at pixels that the element cannot see.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ... import conv
from ...array import Generator
from ...autograd import Tensor, as_tensor, from_numpy, grad
from ...nn import Conv2d, MaxPool2d
from .. import receptive
from ..colours import paint
from ..errors import StudyError
from ..shown import Shown
from ..trace import trace
from .scope import as_picture, check_layer, hooked, numpy, undisturbed

EFFECTIVE = 1 - 0.9545
ALL = "all"


@dataclass
class EmpiricalField:
    """What one element of a layer answers to.

    Attributes:
        layer: dotted name. unit: (row, column) of the element; (0, 0) behind a flattening. channel: or None for all of them.
        theory: (height, width) of the theoretical field, or None where it is undefined.
        box: (top, left, bottom, right), half-open: the theoretical field cut at the picture's border; the whole picture if undefined.
        magnitude: (H, W), mean over pictures of the sum over colours of \\|gradient\\|.
        energy: (H, W), the same of squares.
    """

    layer: str
    unit: tuple[int, int]
    channel: int | None
    theory: tuple[int, int] | None
    box: tuple[int, int, int, int]
    magnitude: np.ndarray
    energy: np.ndarray

    @property
    def support(self) -> tuple[int, int, int, int] | None:
        """The smallest box (top, left, bottom, right), half-open, around all pixels with a gradient; None if there are none."""
        rows, columns = np.flatnonzero(self.magnitude.any(1)), np.flatnonzero(self.magnitude.any(0))
        return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else None

    @property
    def is_inside(self) -> bool:
        """Whether no pixel outside of :attr:`box` has a gradient."""
        top, left, bottom, right = self.box
        outside = self.magnitude.copy()
        outside[top:bottom, left:right] = 0
        return not outside.any()

    @property
    def middle(self) -> tuple[int, int, int, int]:
        """The middle of the box, half as high and half as wide: a quarter is cut off on each side, rounded down to pixels."""
        top, left, bottom, right = self.box
        tall, wide = (bottom - top) // 4, (right - left) // 4
        return top + tall, left + wide, bottom - tall, right - wide

    @property
    def central_share(self) -> float:
        """The part of the energy in :attr:`middle`; 0 if there is none at all."""
        top, left, bottom, right = self.middle
        total = self.energy.sum()
        return float(self.energy[top:bottom, left:right].sum() / total) if total else 0.0

    @property
    def central_area(self) -> float:
        """The part of the box's area that :attr:`middle` has (a quarter, more in small boxes): what an even field would have there."""
        return float(np.prod(_sides(self.middle)) / np.prod(_sides(self.box)))

    @property
    def effective_size(self) -> float:
        """√(pixels with more than 4.55 % of the largest magnitude): the side of a square as large, in pixels."""
        return float(np.sqrt((self.magnitude > EFFECTIVE * self.magnitude.max()).sum())) if self.magnitude.any() else 0.0

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of the energy's place, (rows, columns), in pixels; of an even field of side n it is n / √12."""
        total = self.energy.sum()
        if not total:
            return 0.0, 0.0
        deviations = []
        for axis in (1, 0):
            weights = self.energy.sum(axis) / total
            places = np.arange(len(weights))
            deviations.append(float(np.sqrt((weights * (places - (weights * places).sum()) ** 2).sum())))
        return tuple(deviations)

    def picture(self) -> np.ndarray:
        """The magnitudes inside the box in colours, square root of each over the largest, uint8 (h, w, 3)."""
        top, left, bottom, right = self.box
        inside = self.magnitude[top:bottom, left:right]
        return paint(np.sqrt(inside / (inside.max() or 1.0)))

    def to_dict(self) -> dict:
        """Plain values."""
        return {"layer": self.layer, "unit": list(self.unit), "channel": self.channel, "theory": self.theory, "box": list(self.box),
                "support": self.support, "inside": self.is_inside,
                "central_share": self.central_share, "central_area": self.central_area, "effective_size": self.effective_size,
                "spread": list(self.spread)}


@dataclass
class EmpiricalFields(Shown):
    """The fields of several layers.

    Attributes:
        fields: in the order in which the layers ran.
        size: (H, W) of the picture. pictures: how many were averaged; ``random`` if they were noise.
    """

    title = "Receptive fields, measured"

    fields: list[EmpiricalField]
    size: tuple[int, int]
    pictures: int
    random: bool

    def __getitem__(self, layer: str) -> EmpiricalField:
        for found in self.fields:
            if found.layer == layer:
                return found
        raise KeyError(layer)

    @property
    def all_inside(self) -> bool:
        """Whether every field lies in its theoretical box."""
        return all(field.is_inside for field in self.fields)

    def to_dict(self) -> dict:
        """Plain values."""
        return {"size": list(self.size), "pictures": self.pictures, "random": self.random, "fields": [field.to_dict() for field in self.fields]}

    def rows(self) -> list[list[str]]:
        """Cells: layer, unit, theoretical size, box on the picture, support, effective size, energy and area of the middle, inside?"""
        return [[f.layer, f"{f.unit[0]}, {f.unit[1]}", _pair(f.theory), _pair(_sides(f.box)), _pair(_sides(f.support)), f"{f.effective_size:.1f}",
                 f"{100 * f.central_share:.1f} %", f"{100 * f.central_area:.1f} %", "yes" if f.is_inside else "NO"] for f in self.fields]

    def __str__(self):
        from ..tables import table

        heads = ["layer", "unit", "theory", "on the picture", "measured", "effective", "energy in the middle", "its area", "inside"]
        return table(self.rows(), heads) + (f"\n{self.pictures} {'random ' if self.random else ''}picture{'s' * (self.pictures != 1)} of "
            f"{self.size[0]}×{self.size[1]}; effective: √(pixels above 4.55 % of the peak); the middle is half of the box each way")

    def to_html(self):
        """Table, and a picture of each field."""
        from ..page import render

        return render("sections/empirical_field.html", it=self)


def _sides(box):
    return None if box is None else (box[2] - box[0], box[3] - box[1])


def _pair(pair) -> str:
    return "–" if pair is None else f"{pair[0]}×{pair[1]}"


def measure(model, x=None, *, layers: Sequence[str] | str | None = None, size: int = 224, unit: tuple[int, int] | None = None,
            channel: int | None = None, pictures: int = 2, seed: int = 0, progress=None) -> EmpiricalFields:
    """Measure the fields of layers.

    Args:
        model: any net with a picture as its only input; it is run in evaluation mode and left as it was.
        x: normalised pictures (N, C, H, W), Tensor or array; without any, ``pictures`` of noise N(0, 1), ``size`` × ``size``, drawn from ``seed``.
        layers: dotted names, or ``"all"`` that have a theoretical field; by default the max-poolings (without any: the convolutions).
        unit: (row, column) of the element, by default the middle one.
        channel: of the element; None puts gradient 1 on all channels.
        progress: called with a line of text before each picture.

    Raises:
        StudyError: for an unknown layer, one that did not run, or an element that it does not have. RuntimeError: what the net raises.
    """
    batch = _pictures(model, x, size, pictures, seed)
    run = trace(model, _wrapped(model, batch[:1]))
    theory = receptive.geometry(run)
    names = _layers(model, layers, theory, run)
    totals: dict[str, list] = {}
    with undisturbed(model), _exact_zeros(model):
        for number in range(len(batch)):
            if progress:
                progress(f"receptive fields: picture {number + 1} of {len(batch)}")
            leaf = as_picture(model, batch[number])
            for name, output in _outputs(model, leaf, names).items():
                place, seeded = _seed(name, output, unit, channel)
                (answer,) = grad(output, leaf, seeded, retain_graph=True, allow_unused=True)
                gradient = np.zeros(batch.shape[1:]) if answer is None else numpy(answer)[0].astype(np.float64)
                held = totals.setdefault(name, [place, 0.0, 0.0])
                held[1] = held[1] + np.abs(gradient).sum(0) / len(batch)
                held[2] = held[2] + (gradient**2).sum(0) / len(batch)
    shape = tuple(batch.shape[2:])
    broken = next((name for name in names if not np.isfinite(totals[name][2]).all()), None)
    if broken is not None:
        raise StudyError(f"the gradient of {broken} by the pixels holds NaN or infinities: a field cannot be measured")
    fields = [_field(name, *totals[name], theory.get(name), shape, channel) for name in names]
    return EmpiricalFields(fields, shape, len(batch), x is None)


@contextlib.contextmanager
def _exact_zeros(model) -> Iterator[None]:
    """Convolutions by im2col, also those that ask for another algorithm."""
    asking = [(module, module.algorithm) for module in model.modules() if getattr(module, "algorithm", None) is not None]
    for module, _ in asking:
        module.algorithm = None
    try:
        with conv.using("reproducible"):
            yield
    finally:
        for module, algorithm in asking:
            module.algorithm = algorithm


def _outputs(model, leaf, names) -> dict[str, Tensor]:
    """What the layers make of the picture, on the tape: of each the last time it ran."""
    outputs = {}
    leaf.requires_grad_(True)
    with hooked(model, lambda name, module: name in names, lambda name, module, output: outputs.update({name: output})):
        model(leaf)
    for name in names:
        if not isinstance(outputs.get(name), Tensor):
            raise StudyError(f"layers: {name} did not run, or returned no tensor")
    return {name: outputs[name] for name in names}


def _pictures(model, x, size, count, seed) -> np.ndarray:
    """(N, C, H, W) on the host."""
    if x is not None:
        array = numpy(as_tensor(x).detach())
        if array.ndim not in (3, 4) or array.dtype.kind != "f":
            raise StudyError(f"x: expected normalised pictures (N, C, H, W), got {array.dtype} {array.shape}")
        return array if array.ndim == 4 else array[None]
    if count < 1 or size < 1:
        raise StudyError(f"pictures, size: expected 1 or more, got {count} and {size}")
    first = next((module for module in model.modules() if isinstance(module, Conv2d)), None)
    channels = first.in_channels if first is not None else 3
    return Generator(seed).normal((count, channels, size, size))


def _wrapped(model, array) -> Tensor:
    first = next((p for p in model.parameters() if p.dtype.is_floating_point), None)
    tensor = from_numpy(np.ascontiguousarray(array))
    return tensor if first is None else tensor.to(first.device, first.dtype)


def _layers(model, layers, theory, run) -> list[str]:
    """The names in the order in which they ran."""
    order = list(dict.fromkeys(call.layer for call in run.calls if call.layer))
    if layers == ALL:
        return [name for name in order if theory.get(name) is not None]
    if layers is not None:
        chosen = [layers] if isinstance(layers, str) else list(layers)
        for name in chosen:
            check_layer(model, name)
        return sorted(dict.fromkeys(chosen), key=lambda name: order.index(name) if name in order else len(order))
    pools = [name for name in order if isinstance(run.modules[name], MaxPool2d)]
    return pools or [name for name in order if isinstance(run.modules[name], Conv2d)]


def _seed(name, output, unit, channel):
    """((row, column), the gradient that is put on the layer's output)."""
    shape = tuple(output.shape)
    if len(shape) not in (2, 4):
        raise StudyError(f"layers: {name} makes {shape}; expected (N, K, h, w) or (N, K)")
    if channel is not None and not 0 <= channel < shape[1]:
        raise StudyError(f"channel: {name} has channels 0 to {shape[1] - 1}, got {channel}")
    which = slice(None) if channel is None else channel
    seeded = np.zeros(shape, np.float32)
    place = (0, 0)
    if len(shape) == 2:
        seeded[:, which] = 1
    else:
        place = (shape[2] // 2, shape[3] // 2) if unit is None else tuple(int(i) for i in unit)
        if len(place) != 2 or not (0 <= place[0] < shape[2] and 0 <= place[1] < shape[3]):
            raise StudyError(f"unit: {name} has rows 0 to {shape[2] - 1} and columns 0 to {shape[3] - 1}, got {unit}")
        seeded[:, which, place[0], place[1]] = 1
    return place, from_numpy(seeded).to(output.device, output.dtype)


def _field(name, place, magnitude, energy, theory, shape, channel) -> EmpiricalField:
    box = (0, 0, *shape)
    if theory is not None and (theory.stride is not None or place == (0, 0)):
        top, left, bottom, right = theory.box(*place)
        box = max(0, top), max(0, left), min(shape[0], bottom), min(shape[1], right)
    return EmpiricalField(name, place, channel, None if theory is None else tuple(theory.size), box, magnitude, energy)
