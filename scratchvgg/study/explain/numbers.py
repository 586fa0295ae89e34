"""Shown numbers beside the engine's: the deviation line that stands under everything that is worked out here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from ...conv.errors import unit_roundoff


@dataclass(frozen=True)
class Deviation:
    """How far numbers that were worked out here lie from those that the engine stored.

    Attributes:
        what: which numbers, for instance ``"dW[5]"``.
        largest: max |shown − engine|. ulps: the same in units of the last place of the engine's number there.
        dtype: of the engine's array.
        bound: what the error may be at most; None if nobody states one. source: whose bound it is.
    """

    what: str
    largest: float
    ulps: float
    dtype: str
    bound: float | None = None
    source: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the deviation keeps to the bound; None without one, or with NaN for one (of operands that are no numbers)."""
        return None if self.bound is None else True if self.largest == 0 else None if math.isnan(self.bound) else self.largest <= self.bound

    @property
    def verdict(self) -> str:
        """A class of the page: good, warn (no bound to judge by), or bad."""
        return "good" if self.largest == 0 or self.within else "warn" if self.within is None else "bad"

    def __str__(self):
        text = f"max |shown − engine| of {self.what}: {self.largest:.3g}"
        text += " (equal)" if self.largest == 0 else f" ({self.ulps:.3g} ULP of {self.dtype})"
        if self.bound is not None and not math.isnan(self.bound):
            text += f"; {self.source} may err by {self.bound:.2g}: {'within' if self.within else 'BEYOND it'}"
        return spelled(text)

    def to_dict(self) -> dict:
        """Plain values."""
        return {"what": self.what, "max_abs": self.largest, "ulps": self.ulps, "dtype": self.dtype, "bound": self.bound, "bound_of": self.source,
                "within": self.within}


def deviation(what: str, shown, engine: np.ndarray, bound: float | None = None, source: str = "") -> Deviation:
    """Compare ``shown`` (float64, or anything that broadcasts) with the engine's array.

    NaN beside NaN and an infinity beside the same count as equal; NaN beside a number makes the deviation NaN.
    """
    engine, bound = np.asarray(engine), None if bound is None else float(bound)
    ours, theirs = np.broadcast_arrays(np.asarray(shown, np.float64), engine.astype(np.float64))
    with np.errstate(invalid="ignore"):
        gap = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
    if not gap.size:
        return Deviation(what, 0.0, 0.0, engine.dtype.name, bound, source)
    place = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    largest, value = float(gap.flat[place]), float(theirs.flat[place] or ours.flat[place])
    return Deviation(what, largest, largest / ulp(value, engine.dtype) if largest else 0.0, engine.dtype.name, bound, source)


def spelled(text: str) -> str:
    """Text with ``NaN`` and ``∞`` where Python's formats write nan and inf."""
    return re.sub(r"(?<![\w.])([+-]?)inf\b", r"\1∞", re.sub(r"(?<![\w.])[+-]?nan\b", "NaN", text))


def ulp(value: float, dtype) -> float:
    """The distance from ``value`` to the next larger number of ``dtype`` in size: 2⁻²³ for 1 in float32."""
    smallest = {"float64": -1022, "float32": -126, "bfloat16": -126, "float16": -14}[np.dtype(dtype).name]
    exponent = math.frexp(value)[1] - 1 if math.isfinite(value) and value else smallest
    return 2 * unit_roundoff(np.dtype(dtype).name) * 2.0 ** max(exponent, smallest)


def exact_sum(values) -> float:
    """The sum, rounded once."""
    values = [float(v) for v in np.ravel(values)]
    return math.fsum(values) if all(map(math.isfinite, values)) else float(np.sum(values))


def listed(array) -> list:
    """An array as nested lists of numbers that have as many digits as tell them apart in their type: float32 0.1 is 0.1, not 0.10000000149."""
    array = np.asarray(array)
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        text = np.array([float(str(v)) for v in array.ravel()], np.float64)
        return text.reshape(array.shape).tolist()
    return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()
