"""Which batch fits into how much memory, as usual and with the stages computed again in backward."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import StudyError
from .ledger import APART, RESERVE, Profile, mib, profile
from .shown import Shown
from .tables import table

UNITS = {"": None, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


@dataclass(frozen=True)
class Plan(Shown):
    """Peaks at several batches, and the largest batch within a budget.

    Attributes:
        plain, recomputed: profiles; the second is None for a net without stages.
        optimizer: as in the ledger. batches: of the table. budget: bytes, or None.
    """

    plain: Profile
    recomputed: Profile | None
    optimizer: str
    batches: tuple[int, ...]
    budget: int | None = None
    title = "What fits"

    @property
    def note(self) -> str:
        """What the verdict allows for."""
        return f"the budget holds the peak with the largest gaps that are likely, and {100 * RESERVE:.4g} % and {mib(APART)} for what nobody counts"

    def peaks(self, which: Profile | None) -> list[int] | None:
        """Peak of each batch, in bytes."""
        return None if which is None else [which.ledger(batch, self.optimizer).peak for batch in self.batches]

    @property
    def largest(self) -> tuple[int | None, int | None]:
        """The largest batch within the budget, plain and recomputed (0: not even one image); None where there is no budget or no such way."""
        if self.budget is None:
            return None, None
        return tuple(None if which is None else which.largest(self.budget, self.optimizer) for which in (self.plain, self.recomputed))

    @property
    def verdict(self) -> str:
        """One sentence about the budget; empty without one."""
        if self.budget is None:
            return ""
        words, (plain, again) = f"{self.budget / 2**30:.4g} GiB", self.largest
        if not plain and not again:
            return f"does not fit in {words}: one image takes {mib(min(p[0] for p in (self._single(w) for w in (self.plain, self.recomputed)) if p))}"
        text = f"fits in {words} at batch {plain}" if plain else f"does not fit in {words} as usual"
        if again is None:
            return text
        if again > plain:
            return f"{text}, or with recomputation at {again}"
        moment = self.recomputed.ledger(max(1, again), self.optimizer).moment
        return f"{text}, with recomputation at {again}: it brings nothing here, the peak lies within one stage (during {moment})"

    def _single(self, which):
        return None if which is None else (which.ledger(1, self.optimizer).peak,)

    def to_dict(self) -> dict:
        """Plain values."""
        plain, again = self.largest
        p = self.plain
        return {"model": p.name, "image": list(p.image), "dtype": p.dtype, "device": p.device, "optimizer": self.optimizer,
                "batches": list(self.batches), "peaks": self.peaks(self.plain), "recomputed_peaks": self.peaks(self.recomputed),
                "budget": self.budget, "largest_batch": plain, "largest_batch_recomputed": again, "verdict": self.verdict}

    def rows(self) -> list[list[str]]:
        """Batch, peak, peak with recomputation."""
        plain, again = self.peaks(self.plain), self.peaks(self.recomputed)
        return [[str(batch), mib(plain[i]), "–" if again is None else mib(again[i])] for i, batch in enumerate(self.batches)]

    def __str__(self):
        return table(self.rows(), HEADERS, left=0) + (f"\n\n{self.verdict}\n({self.note})" if self.verdict else "")

    def to_html(self):
        from . import page

        return page.render("sections/plan.html", it=self, rows=self.rows(), headers=HEADERS)


HEADERS = ["batch", "peak", "with recomputation"]


def plan(model, size, *, budget: int | str | None = None, optimizer: str = "sgd", dtype: str = "float32", device: str = "cpu",
         batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256), plain: Profile | None = None,
         progress: Callable[[str], None] = lambda text: None) -> Plan:
    """Profile a net as usual and with its stages computed again, and say what fits.

    Args:
        model, size, dtype, device, optimizer: as for :func:`scratchvgg.study.ledger.predict`.
        budget: bytes, or a text such as ``"8GiB"``.
        batches: of the table.
        plain: a profile that is there already.
        progress: told what is going on.

    Raises:
        StudyError: for a budget that is no size; and as :func:`~scratchvgg.study.ledger.profile`.
    """
    budget = parse_bytes(budget) if isinstance(budget, str) else budget
    if plain is None:
        progress("a step of one image and one of two")
        plain = profile(model, size, dtype=dtype, device=device)
    progress("the same with the stages computed again")
    try:
        again = profile(model, size, dtype=dtype, device=device, recompute=True, at=plain.batches[1])
    except StudyError:  # no stages
        again = None
    return Plan(plain, again, optimizer, tuple(batches), budget)


def installed(device) -> int | None:
    """Bytes of memory that a device has: a GPU's own, else the machine's; None where the system does not tell."""
    if str(device).startswith("cuda"):
        from ..cuda import get_device_properties

        return get_device_properties(str(device)).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None


def parse_bytes(text: str) -> int:
    """``"8GiB"``, ``"8G"`` (the same), ``"8GB"`` (10⁹ bytes each), ``"512 MiB"`` as bytes.

    Raises:
        StudyError: for anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    factor = UNITS.get(found[2].upper()) if found else None
    if factor is None or float(found[1]) <= 0:
        raise StudyError(f"expected a size with a unit, such as 8GiB, 512MiB or 16GB, got {text!r}")
    return int(float(found[1]) * factor)
