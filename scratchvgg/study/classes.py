"""Which class a person means."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence

from .errors import StudyError


def class_index(text: str, names: Sequence[str] | None, classes: int | None = None) -> int:
    """The class that a name (in any case) or a number means; a name goes first, for some are numbers.

    Args:
        names: of the classes; None if nobody knows them.
        classes: how many there are; by default as many as names, without them any number is taken.

    Raises:
        StudyError: for neither; the message lists near names.
    """
    classes = len(names) if classes is None and names else classes
    known, wanted = [_folded(name) for name in names or ()], _folded(text)
    if wanted in known:
        return names.index(text) if text in names else known.index(wanted)
    if wanted.isdecimal() and (classes is None or int(wanted) < classes):
        return int(wanted)
    if wanted.isdecimal() or not known:
        what = "a number" if classes is None else f"a number from 0 to {classes - 1}"
        what += "" if known else " (nobody knows the names of this net's classes)"
        raise StudyError(f"target: there is no class {text!r}; expected {what}")
    near = difflib.get_close_matches(wanted, known, 3, 0.5) or [name for name in known if wanted in name][:3]
    raise StudyError(f"target: there is no class {text!r}{near_names([names[known.index(name)] for name in near])} (there are {classes:,})")


def near_names(names: Sequence[str]) -> str:
    """``"; near: a, b"``, or nothing."""
    return f"; near: {', '.join(names)}" if names else ""


def _folded(name: str) -> str:
    """Without the differences that a person does not see or mean: case, and how an accent is put together."""
    return unicodedata.normalize("NFC", name.strip()).casefold()
