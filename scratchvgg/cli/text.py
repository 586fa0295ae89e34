"""Tables for the terminal, and the command to print in a hint."""

from __future__ import annotations

import sys
from pathlib import Path

from ..study.tables import table

__all__ = ["program", "table"]


def program() -> str:
    """How this program was called: ``scratchvgg`` or ``python -m scratchvgg``."""
    return "python -m scratchvgg" if Path(sys.argv[0]).name == "__main__.py" else "scratchvgg"
