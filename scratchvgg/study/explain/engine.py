"""The engine's numbers of a call: its own arrays where the trace kept them, and its own operation run again where it did not.

A trace keeps what every operation took, made and received. It does not keep the gradients of parameters (553 MB in VGG-16) but their norms:
where such a gradient is wanted, the operation that made it is run again on the arrays it had, and the norm tells that it is the same one.
"""

from __future__ import annotations

import numpy as np

from ..errors import StudyError
from ..trace import Call, Trace, norm


def host(trace: Trace, array) -> np.ndarray:
    """The array itself, on the host."""
    return trace.output.backend.to_numpy(array)


def given(trace: Trace, call: Call, place: int) -> np.ndarray | None:
    """The tensor argument number ``place`` of the call, on the host; None if there are fewer."""
    return host(trace, call.sources[place].array) if place < len(call.sources) else None


def arrived(trace: Trace, call: Call) -> np.ndarray | None:
    """The gradient that arrived at the call's output, on the host; None if none did."""
    return host(trace, call.gradients[0]) if call.gradients and call.gradients[0] is not None else None


def sent_back(trace: Trace, call: Call, place: int = 0) -> np.ndarray | None:
    """The gradient that the call sent to its argument, as it arrived there: None if that is a leaf, has other consumers, or nothing arrived."""
    source = call.sources[place].call
    if source is None or call.node is None:
        return None
    uses = sum(s.call == source for other in trace.calls for s in other.sources)
    maker = trace.calls[source]
    return arrived(trace, maker) if uses == 1 and len(maker.outputs) == 1 else None


def same_norm(trace: Trace, call: Call, place: int, gradient) -> bool | None:
    """Whether a gradient has the very norm that the run recorded for the parameter or input; None if it recorded none, or of several uses."""
    name = call.sources[place].name
    recorded = trace.leaf_gradients.get(name)
    uses = sum(s.name == name for other in trace.calls for s in other.sources)
    return None if recorded is None or uses != 1 else norm(trace.output.backend, [gradient]) == recorded


def sample_index(array: np.ndarray, sample: int) -> int:
    """``sample`` if the array's first dimension has it.

    Raises:
        StudyError: if not.
    """
    return index("sample", sample, array.shape[0])


def index(name: str, value: int, count: int) -> int:
    """``value`` if it is one of ``count`` places.

    Raises:
        StudyError: if not; ``name`` is the argument.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < count:
        raise StudyError(f"{name}: expected a number from 0 to {count - 1}, got {value!r}")
    return int(value)


def pixel(plane: np.ndarray, row: int | None, column: int | None) -> tuple[int, int]:
    """A place in (H, W): the given one, or that of the largest value.

    Raises:
        StudyError: for a place outside, or half of one.
    """
    if (row is None) != (column is None):
        raise StudyError("row, column: give both, or neither for the largest value")
    if row is None:
        return tuple(int(i) for i in np.unravel_index(np.argmax(np.nan_to_num(plane.astype(np.float32), nan=-np.inf)), plane.shape))
    return index("row", row, plane.shape[0]), index("column", column, plane.shape[1])


def channel_of(maps: np.ndarray, channel: int | None) -> int:
    """A channel of (C, H, W): the given one, or that of the largest value."""
    if channel is None:
        return int(np.argmax(np.nan_to_num(maps.astype(np.float32), nan=-np.inf).reshape(len(maps), -1).max(1)))
    return index("channel", channel, len(maps))


def separate(trace: Trace, call: Call) -> tuple[np.ndarray, np.ndarray]:
    """(input, output) of a call with one of each.

    Raises:
        StudyError: if it wrote its result over its input, which is gone then.
    """
    if call.results[0] is call.sources[0].array:
        raise StudyError(f"layer: {call.layer or call.op} works in place, so its input is gone; build it with inplace=False")
    return given(trace, call, 0), host(trace, call.results[0])


def as_planes(array: np.ndarray) -> np.ndarray:
    """(N, F) as (N, 1, 1, F), (N, C, L) as (N, C, 1, L), (N, C, H, W) as it is; further dimensions are laid side by side."""
    if array.ndim < 2:
        return array.reshape(1, 1, 1, -1)
    if array.ndim == 2:
        return array[:, None, None, :]
    return array[:, :, None, :] if array.ndim == 3 else array.reshape(*array.shape[:3], -1) if array.ndim > 4 else array


def place_in(maps: np.ndarray, channel: int | None, row: int | None, column: int | None, flat: bool) -> tuple[int, int, int]:
    """(channel, row, column) of (C, H, W), as asked for or where the value is largest. With ``flat`` the maps are a row of features, and a
    channel or column is the number of one."""
    if flat:
        feature = column if channel is None else channel
        return 0, *pixel(maps[0], None if feature is None else 0, feature)
    c = channel_of(maps, channel)
    return c, *pixel(maps[c], row, column)


def around(place: int, count: int, most: int) -> np.ndarray:
    """At most so many numbers out of ``range(count)``, with ``place`` in their middle where there is room."""
    first = max(0, min(place - most // 2, count - most))
    return np.arange(first, min(count, first + most))
