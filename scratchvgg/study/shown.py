"""What every result of the study has in common: it can be printed, put on a page, shown in a notebook, and written as JSON.

A result computes; its template says how it looks. ``print(result)`` gives the terminal's text, a notebook takes :meth:`Shown._repr_html_`, the
report puts :meth:`Shown.to_html` into a section under :attr:`Shown.title`, programs take :meth:`Shown.to_dict`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..weights.atomic import atomic_write

MAX_MB = 5.0
"""Megabytes of a page, unless told otherwise."""


class Shown:
    """Base class of results.

    Attributes:
        title: heading of the result's section.
    """

    title: ClassVar[str] = ""

    def to_dict(self) -> dict:
        """Everything that is shown, as values that JSON can say."""
        raise NotImplementedError(f"{type(self).__name__}.to_dict")

    def to_html(self):
        """Markup to stand inside a section.

        Raises:
            ImportError: naming the extra, without jinja2.
        """
        raise NotImplementedError(f"{type(self).__name__}.to_html")

    def _repr_html_(self) -> str | None:
        """For notebooks; without jinja2 they show the text."""
        from . import page

        try:
            return str(page.notebook(self))
        except ImportError:
            return None

    def save_json(self, path) -> None:
        """Write :meth:`to_dict` to a file, atomically.

        Raises:
            OSError: if the folder cannot be written to.
        """
        with atomic_write(path, "w") as file:
            json.dump(plain(self.to_dict()), file, ensure_ascii=False, allow_nan=False, indent=1)
            file.write("\n")


class Paged(Shown):
    """Base class of results that have a page of their own."""

    def html(self, max_mb: float = MAX_MB, names: Sequence[str] | None = None) -> str:
        """The page.

        Args:
            max_mb: megabytes that it may have; pictures are left out to fit.
            names: of the parts to show; all of them by default.

        Raises:
            StudyError: if even the shortest page is larger, or for an unknown part. ImportError: naming the extra.
        """
        raise NotImplementedError(f"{type(self).__name__}.html")

    def save(self, path, max_mb: float = MAX_MB, names: Sequence[str] | None = None) -> Path:
        """Write the page to a file, atomically; returns its path. Arguments and errors as :meth:`html`."""
        text = self.html(max_mb, names)
        with atomic_write(path, "w") as file:
            file.write(text)
        return Path(path)


def plain(value):
    """``value`` for JSON: NumPy's numbers and arrays become Python's, tuples lists, keys strings; NaN and infinities become null.

    Raises:
        TypeError: for anything else.
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} has no place in JSON")
