"""Tables for the terminal, and the command to print in a hint."""

from __future__ import annotations

import sys
from pathlib import Path


def table(rows: list[list], headers: list[str], left: int = 1) -> str:
    """Columns wide enough for their content; the first ``left`` are aligned left, the others right."""
    cells = [headers, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def program() -> str:
    """How this program was called: ``scratchvgg`` or ``python -m scratchvgg``."""
    return "python -m scratchvgg" if Path(sys.argv[0]).name == "__main__.py" else "scratchvgg"
