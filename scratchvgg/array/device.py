"""Where an array lives: ``cpu``, ``cuda:0``, ``emulator:0``."""

from __future__ import annotations

import threading

TYPES = ("cpu", "cuda", "emulator")


class _Current(threading.local):
    cuda = emulator = 0


current = _Current()
"""The index that ``"cuda"`` without one means, in each thread."""


class Device:
    """A device by type and index, spelled as in torch: ``sv.device("cuda:1")``, ``sv.device("cuda", 1)``. Without an index it is the current
    one, 0 unless ``sv.cuda.set_device`` said otherwise.

    Raises:
        RuntimeError: for an unknown type or a malformed index.
    """

    __slots__ = ("type", "index")

    def __init__(self, spec, index: int | None = None):
        if isinstance(spec, Device):
            spec, index = spec.type, spec.index if index is None else index
        if not isinstance(spec, str):
            raise TypeError(f"device: expected a string such as 'cpu' or 'cuda:0', got {type(spec).__name__} {spec!r}")
        kind, colon, number = spec.partition(":")
        if kind not in TYPES:
            raise RuntimeError(f"device: expected one of {', '.join(TYPES)}, optionally with an index, got {spec!r}")
        if colon:
            if index is not None:
                raise RuntimeError(f"device: the index is given twice: {spec!r} and {index}")
            if not number.isdecimal():
                raise RuntimeError(f"device: {number!r} in {spec!r} is not an index")
            index = int(number)
        if index is not None and index < 0:
            raise RuntimeError(f"device: index must be 0 or more, got {index}")
        if kind == "cpu" and index not in (None, 0):
            raise RuntimeError(f"device: there is one CPU device, got index {index}")
        self.type = kind
        self.index = None if kind == "cpu" else getattr(current, kind) if index is None else index

    def __eq__(self, other):
        if isinstance(other, str):
            try:
                other = Device(other)
            except RuntimeError:
                return False
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self):
        return hash((self.type, self.index))

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self):
        return f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"


CPU = Device("cpu")
