"""An explanation is a list of blocks: headings, sentences, matrices with signs between them, tables, bars, deviations. One list makes both the
terminal's text and the page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..shown import Shown
from .matrices import WIDTH, Matrix, bar, beside
from .numbers import Deviation, listed, spelled


@dataclass(frozen=True)
class Heading:
    """The heading of a part."""

    text: str
    kind: ClassVar[str] = "heading"

    def lines(self) -> list[str]:
        """For the terminal."""
        return ["", self.text, "─" * len(self.text)]


@dataclass(frozen=True)
class Text:
    """A sentence or two; with ``formula`` set as it is written."""

    text: str
    formula: bool = False
    kind: ClassVar[str] = "text"

    def __post_init__(self):
        object.__setattr__(self, "text", spelled(self.text))

    def lines(self) -> list[str]:
        """For the terminal."""
        return [f"    {self.text}"] if self.formula else textwrap.wrap(self.text, 110)


@dataclass(frozen=True)
class Matrices:
    """Matrices beside each other, with signs between them (one fewer, or none)."""

    matrices: Sequence[Matrix]
    signs: Sequence[str] = ()
    kind: ClassVar[str] = "matrices"

    def lines(self) -> list[str]:
        """For the terminal."""
        return [*beside([m.lines() for m in self.matrices], self.signs), ""]

    @property
    def pairs(self) -> list[tuple[Matrix, str]]:
        """Each matrix and the sign behind it."""
        return list(zip(self.matrices, [*self.signs, *[""] * (len(self.matrices) - len(self.signs))], strict=True))


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row, the others are numbers."""

    rows: Sequence[Sequence[str]]
    headers: Sequence[str] = ()
    kind: ClassVar[str] = "table"

    def __post_init__(self):
        object.__setattr__(self, "rows", [[spelled(str(cell)) for cell in row] for row in self.rows])

    def lines(self) -> list[str]:
        """For the terminal."""
        cells = [*([list(self.headers)] if self.headers else []), *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        return ["  " + "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                for row in cells]


@dataclass(frozen=True)
class Bars:
    """A bar for each value."""

    values: Sequence[float]
    labels: Sequence[str]
    title: str
    kind: ClassVar[str] = "bars"

    def lines(self) -> list[str]:
        """For the terminal."""
        most = max(map(abs, self.values), default=0) or 1
        wide = max(map(len, self.labels), default=0)
        return [self.title, *(f"  {label.rjust(wide)}  {spelled(f'{value:+.4e}')}  {bar(value / most)}".rstrip()
                              for label, value in zip(self.labels, self.values, strict=True))]


@dataclass(frozen=True)
class Check:
    """A line that says how far the shown numbers are from the engine's."""

    deviation: Deviation
    kind: ClassVar[str] = "check"

    def lines(self) -> list[str]:
        """For the terminal."""
        sign = {"good": "✓", "warn": "~", "bad": "✗"}[self.deviation.verdict]
        return textwrap.wrap(str(self.deviation), WIDTH - 6, initial_indent=f"  {sign} ", subsequent_indent="    ")


@dataclass(frozen=True)
class Note:
    """Small print."""

    text: str
    kind: ClassVar[str] = "note"

    def __post_init__(self):
        object.__setattr__(self, "text", spelled(self.text))

    def lines(self) -> list[str]:
        """For the terminal."""
        return textwrap.wrap(self.text, 110, initial_indent="  ", subsequent_indent="  ")


class Explanation(Shown):
    """A result that is shown block by block. Subclasses are dataclasses with ``layer``, :meth:`title` and :meth:`blocks`.

    Attributes:
        operation: what it explains.
    """

    operation: ClassVar[str] = ""

    def blocks(self) -> list:
        """The blocks, in order."""
        raise NotImplementedError(f"{type(self).__name__}.blocks")

    def to_dict(self) -> dict:
        """All numbers: the attributes, with arrays as lists."""
        return {"operation": self.operation, **{name: _plain(value) for name, value in vars(self).items()}}

    @property
    def deviations(self) -> list[Deviation]:
        """All comparisons with the engine that it shows."""
        return [block.deviation for block in self.blocks() if isinstance(block, Check)]

    def __str__(self):
        lines = [self.title, "═" * len(self.title)]
        for block in self.blocks():
            lines += block.lines()
        return "\n".join(lines)

    def to_html(self):
        """Markup to stand inside a section.

        Raises:
            ImportError: naming the extra, without jinja2.
        """
        from .. import page

        return page.render("sections/explain.html", blocks=self.blocks())


def _plain(value):
    if isinstance(value, Deviation):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return listed(value)
    return value._asdict() if hasattr(value, "_asdict") else value
