"""Where the library keeps files of its own."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SCRATCHVGG_HOME``, else ``scratchvgg`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. It may not exist yet."""
    home = os.environ.get("SCRATCHVGG_HOME")
    return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scratchvgg"
