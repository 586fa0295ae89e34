"""Small matrices of numbers, for terminals and for the page: aligned, marked, and cut where they are large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .numbers import spelled

MOST = 9  # rows and columns that are shown
WIDTH = 150  # columns of a terminal
GAP = "…"


@dataclass(frozen=True)
class Cell:
    """A number as it is written, and what it is: ``padding``, ``winner``, ``hit``, ``gap`` (something is left out here) or nothing."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Matrix:
    """Numbers in rows.

    Attributes:
        title: what they are. rows: the cells. row_labels, column_labels: as many, or empty.
        shape: rows and columns there are. cut: whether some are left out.
    """

    title: str
    rows: list[list[Cell]]
    row_labels: list[str]
    column_labels: list[str]
    shape: tuple[int, int]
    cut: bool

    def lines(self) -> list[str]:
        """For the terminal: padding in parentheses, winners and hits with a star, columns aligned."""
        signs = {"padding": "({})", "winner": "*{}", "hit": "*{}"}
        table = [[signs.get(cell.mark, "{}").format(cell.text) for cell in row] for row in self.rows]
        if self.column_labels:
            table.insert(0, list(self.column_labels))
        if self.row_labels:
            labels = [""] * bool(self.column_labels) + list(self.row_labels)
            table = [[label, *row] for label, row in zip(labels, table, strict=True)]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        body = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in table]
        title = self.title + (f"  ({self.shape[0]}×{self.shape[1]}, cut)" if self.cut else "")
        return [*([title] if title else []), *body]


def matrix(values, title: str = "", *, marks=None, rows: Sequence = (), columns: Sequence = (), most: int = MOST, digits: int = 4) -> Matrix:
    """A matrix to show.

    Args:
        values: (R, S), or (S,) for one row: numbers or text.
        marks: (R, S) of the marks that :class:`Cell` knows, or None.
        rows, columns: labels, as many as there are rows and columns.
        most: rows and columns beyond this number are left out of the middle, and it is said.
        digits: significant ones of the largest number.
    """
    values = np.atleast_2d(np.asarray(values))
    marks = None if marks is None else np.atleast_2d(np.asarray(marks, object))
    write = writer(values, digits)
    down, across = _picked(values.shape[0], most), _picked(values.shape[1], most)

    def cell(r, s):
        if r is None or s is None:
            return Cell(GAP, "gap")
        return Cell(write(values[r, s]), "" if marks is None else marks[r, s])

    def labels(given, picked):
        return [GAP if i is None else str(given[i]) for i in picked] if len(given) else []

    return Matrix(spelled(title), [[cell(r, s) for s in across] for r in down], labels(rows, down), labels(columns, across), values.shape,
                  None in down or None in across)


def _picked(count: int, most: int) -> list[int | None]:
    if count <= most:
        return list(range(count))
    tail = max(1, (most - 1) // 4)
    return [*range(most - 1 - tail), None, *range(count - tail, count)]


def writer(values, digits: int = 4):
    """A function that writes numbers like ``values`` alike: as many decimals for all, or powers of ten where they are very large or small."""
    if values.dtype.kind in "bO" or values.dtype.kind in "US":
        return lambda v: str(int(v)) if isinstance(v, (bool, np.bool_)) else str(v)
    if values.dtype.kind in "iu":
        return lambda v: f"{int(v):,}"
    sizes = np.abs(np.asarray(values, np.float64))
    sizes = sizes[np.isfinite(sizes)]
    largest = float(sizes.max()) if sizes.size else 0.0
    if largest and not 1e-2 <= largest < 10**6:
        return lambda v: _special(v) or f"{float(v):.{digits - 2}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
    if decimals > digits:  # below 0.1
        decimals = digits + 1

    def write(v):
        text = f"{float(v):.{decimals}f}"
        return _special(v) or (f"{float(v):.0e}" if float(text) == 0 else text)

    return write


def _special(v) -> str:
    v = float(v)
    return "0" if v == 0 else "NaN" if math.isnan(v) else ("∞" if v > 0 else "−∞") if math.isinf(v) else ""


def beside(blocks: Sequence[Sequence[str]], between: Sequence[str] = (), width: int = WIDTH, indent: str = "  ") -> list[str]:
    """Blocks of lines next to each other if they fit into ``width``, else below each other.

    Args:
        between: signs between the blocks, one fewer than there are (``×``, ``=``).
    """
    blocks = [list(block) for block in blocks]
    signs = list(between) or [""] * (len(blocks) - 1)
    widths = [max(map(len, block), default=0) for block in blocks]
    if len(indent) + sum(widths) + 5 * len(signs) > width:
        lines = []
        for block, sign in zip(blocks, ["", *signs], strict=True):
            lines += [indent + sign] if sign else []
            lines += [indent + line for line in block if line.strip()]
        return lines
    height = max(map(len, blocks))
    middle = (height + 1) // 2
    lines = []
    for i in range(height):
        line = indent
        for block, wide, sign in zip(blocks, widths, [*signs, ""], strict=True):
            line += (block[i] if i < len(block) else "").ljust(wide) + (f"  {sign if i == middle else ' '}  " if sign else "   ")
        lines.append(line.rstrip())
    return lines


def bar(share: float, width: int = 24) -> str:
    """A bar of ``#`` as long as the share, between 0 and 1."""
    return "#" * round(width * min(1.0, abs(share)))
