"""Tables for the terminal's text of a result."""

from __future__ import annotations


def table(rows: list[list], headers: list[str], left: int = 1) -> str:
    """Columns as wide as their content; the first ``left`` are aligned left, the others right."""
    cells = [list(headers), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])
