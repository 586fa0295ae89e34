"""Receptive fields: which pixels of the image an element of a layer can depend on, worked out from what the layers really are.

Along one axis the field of output position i is the half-open interval

    [start + i · stride, start + i · stride + size)

in input pixels; it may reach beyond the image, where padding stands. The image itself has start 0, size 1, stride 1. A window of k taps, distance d
between them, step s and padding p behind it makes

    start − p · stride,    size + (k − 1) · d · stride,    stride · s

(Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019). A linear layer on a flattened map is a
convolution whose window is the whole map. Where an output does not depend on one box of the image that moves in equal steps there is no
answer, and None says so: transposed convolutions, permutations, operations that this file does not know.

Statistics of a batch norm in training, and of a local response norm along the channels, are not counted: they move no window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..conv.geometry import same_padding
from ..nn import AvgPool2d, Conv2d, MaxPool2d
from ..ops.common import pair
from .trace import Call, Trace

POINTWISE = frozenset("""
    Abs Add Cast Clone Cos Div Erf Exp Log Mul Neg Pow Reciprocal Rsqrt Sin Sqrt Square Transfer batch_norm batch_norm_relu clamp compare dropout elu
    floor_divide gelu hardtanh leaky_relu lerp local_response_norm logic masked_fill maximum module_gate relu remainder sigmoid silu softplus
    step tanh trunc_divide where
""".split())
"""Operations whose output element depends on the input elements of the same place only."""

WINDOWED = {"conv2d": Conv2d, "max_pool2d": MaxPool2d, "avg_pool2d": AvgPool2d}
REDUCING = frozenset(("Mean", "Sum", "amax", "logsumexp", "norm", "Prod", "Var"))
SAME_FOR_ALL = frozenset(("log_softmax", "softmax"))


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        start, size: of the first position's field, in input pixels.
        stride: input pixels from one position's field to the next's; None if they are not equally far apart.
        count: positions.
        stop: where the last position's field ends.
    """

    start: int
    size: int
    stride: int | None
    count: int
    stop: int

    @property
    def whole(self) -> Axis:
        """The field of everything together, as the one position that a window over the whole axis leaves; the step is that of the window."""
        return Axis(self.start, self.stop - self.start, self.stride, 1, self.stop)

    def window(self, taps: int, step: int, before: int, apart: int, count: int) -> Axis | None:
        """Behind windows of ``taps`` positions, ``apart`` from each other, moved by ``step``; ``before`` positions of padding in front."""
        if taps == step == apart == 1 and before == 0:
            return self
        if self.stride is None:
            return None
        start, size, stride = self.start - before * self.stride, self.size + (taps - 1) * apart * self.stride, self.stride * step
        return Axis(start, size, stride, count, start + (count - 1) * stride + size)

    def adaptive(self, count: int) -> Axis | None:
        """Behind ``count`` windows from ⌊i · n / count⌋ to ⌈(i + 1) · n / count⌉: equal if count divides n; else the largest, without a step."""
        if self.count % count == 0:
            taps = self.count // count
            return self.window(taps, taps, 0, 1, count) if count > 1 or self.stride is not None else self.whole
        if self.stride is None:
            return None
        taps = max(-(-(i + 1) * self.count // count) - i * self.count // count for i in range(count))
        return Axis(self.start, self.size + (taps - 1) * self.stride, None, count, self.stop)

    def union(self, other: Axis) -> Axis | None:
        """Of two inputs of one operation, position by position."""
        if self.stride != other.stride or self.count != other.count or (self.stride is None and self != other):
            return None
        start, stop = min(self.start, other.start), max(self.stop, other.stop)
        return Axis(start, max(self.start + self.size, other.start + other.size) - start, self.stride, self.count, stop)


@dataclass(frozen=True)
class ReceptiveField:
    """The field of the elements of one array.

    Attributes:
        vertical, horizontal: along both axes.
        flat: the array is no map any longer: its rows hold the elements of a flattened map (``vertical.count`` × ``horizontal.count`` positions).
    """

    vertical: Axis
    horizontal: Axis
    flat: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in input pixels."""
        return self.vertical.size, self.horizontal.size

    @property
    def stride(self) -> tuple[int, int] | None:
        """Input pixels between neighbouring elements (vertical, horizontal), or None if they are not equally far apart."""
        both = self.vertical.stride, self.horizontal.stride
        return None if None in both else both

    @property
    def start(self) -> tuple[int, int]:
        """Top left corner of the first element's field; negative in the padding."""
        return self.vertical.start, self.horizontal.start

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the pixels that the element at (row, column) sees, half-open, not cut at the image's border.

        Raises:
            ValueError: outside the map, or where elements are not equally far apart.
        """
        if not (0 <= row < self.vertical.count and 0 <= column < self.horizontal.count):
            raise ValueError(f"box: ({row}, {column}) lies outside the {self.vertical.count}×{self.horizontal.count} map")
        if self.stride is None and (row, column) != (0, 0):
            raise ValueError("box: the fields of this layer are not equally far apart")
        top, left = self.vertical.start + row * (self.vertical.stride or 0), self.horizontal.start + column * (self.horizontal.stride or 0)
        return top, left, top + self.vertical.size, left + self.horizontal.size

    @property
    def whole(self) -> ReceptiveField:
        """The field of everything together."""
        return ReceptiveField(self.vertical.whole, self.horizontal.whole, True)


def geometry(trace: Trace) -> dict[str, ReceptiveField | None]:
    """The field behind each layer that did something, by its dotted name; of a layer that worked several times, the last time's.

    None where it is undefined. ``""`` is the net outside its layers.
    """
    return {call.layer: field for call, field in zip(trace.calls, of_calls(trace.calls, trace.modules), strict=True)}


def of_calls(calls: list[Call], modules: dict) -> list[ReceptiveField | None]:
    """The field of each call's (first) output. ``modules``: dotted name → module."""
    fields: list[ReceptiveField | None] = []
    for call in calls:
        fields.append(_field(call, [_incoming(source, fields) for source in _data(call)], modules.get(call.layer)))
    return fields


def _data(call):
    """The sources that are neither parameters nor buffers: the first operand of what has weights, else every operand that was computed."""
    if call.op in ("conv2d", "linear", "conv_transpose2d", "batch_norm", "batch_norm_relu"):
        return call.sources[:1]
    return [source for source in call.sources if source.call is not None or source.name in ("input", "target")]


def _incoming(source, fields):
    if source.call is not None:
        return fields[source.call]
    if source.name == "input" and len(source.shape) == 4:
        return ReceptiveField(*(Axis(0, 1, 1, n, n) for n in source.shape[2:]))
    return None


def _field(call, fields, module):
    if not fields or None in fields or not call.outputs:
        return None
    before, shape, out = fields[0], call.sources[0].shape, call.outputs[0][0]
    if call.op in POINTWISE or call.op == "cat":
        return _joined(call, fields, out)
    if call.op in ("Reshape", "Expand"):
        return _reshaped(before, shape, out)
    if call.op == "linear":
        return before.whole if before.flat else None
    if call.op in SAME_FOR_ALL:  # of every element the same field, if it comes behind a linear layer
        return before if before.flat and before.vertical.count == before.horizontal.count == 1 else None
    if call.op == "pad":
        return _padded(before, module) if isinstance(module, Conv2d) else None
    if call.op in REDUCING:
        return before.whole if not before.flat and math.prod(out) == math.prod(shape[:2]) and out[0] == shape[0] else None
    if before.flat or len(out) != 4:
        return None
    if call.op in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return _along(before, *(axis.adaptive(n) for axis, n in zip(_axes(before), out[2:], strict=True)))
    if call.op in WINDOWED and isinstance(module, WINDOWED[call.op]):
        windows = zip(_axes(before), _windows(module), out[2:], strict=True)
        return _along(before, *(axis.window(*window, count) for axis, window, count in windows))
    return None


def _axes(field):
    return field.vertical, field.horizontal


def _along(field, vertical, horizontal):
    return None if vertical is None or horizontal is None else replace(field, vertical=vertical, horizontal=horizontal)


def _joined(call, fields, out):
    """Elements of the same place, of one operand or several; of a concatenation along the channels."""
    first = fields[0]
    if any(field.flat != first.flat for field in fields) or (not first.flat and tuple(out[2:]) != (first.vertical.count, first.horizontal.count)):
        return None
    if call.op == "cat" and (first.flat or any(source.shape[0] != out[0] for source in call.sources)):
        return None
    for other in fields[1:]:
        first = _along(first, first.vertical.union(other.vertical), first.horizontal.union(other.horizontal))
        if first is None:
            return None
    return first


def _reshaped(field, before, after):
    """A map stays one, or becomes rows; anything else mixes places."""
    if tuple(before) == tuple(after):
        return field
    if not after or after[0] != before[0] or math.prod(after) != math.prod(before):
        return None
    if len(after) == 2:
        return replace(field, flat=True)
    if len(after) == 4 and len(before) == 2 and field.vertical.count == field.horizontal.count == 1 and tuple(after[2:]) == (1, 1):
        return replace(field, flat=False)
    return None


def _padded(field, conv):
    """What a convolution with another border than zeros does first: its own window then has no padding."""
    (top, bottom), (left, right) = _border(conv)
    if field.stride is None:
        return None

    def grown(axis, before, after):
        return Axis(axis.start - before * axis.stride, axis.size, axis.stride, axis.count + before + after, axis.stop + after * axis.stride)

    return replace(field, vertical=grown(field.vertical, top, bottom), horizontal=grown(field.horizontal, left, right))


def _border(conv):
    if conv.padding == "same":
        return same_padding(conv.kernel_size, conv.dilation)
    vertical, horizontal = (0, 0) if conv.padding == "valid" else pair("Conv2d", "padding", conv.padding)
    return (vertical, vertical), (horizontal, horizontal)


def _windows(module):
    """(taps, step, padding in front, distance) of a layer along both axes."""
    if isinstance(module, Conv2d):
        zeros = module.padding_mode == "zeros"
        before = tuple(side[0] if zeros else 0 for side in _border(module))
    else:
        before = pair("pooling", "padding", module.padding)
    apart = pair("pooling", "dilation", getattr(module, "dilation", 1))
    taps, step = pair("pooling", "kernel_size", module.kernel_size), pair("pooling", "stride", module.stride)
    return list(zip(taps, step, before, apart, strict=True))
