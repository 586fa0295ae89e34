"""A training looked at: its history, then the net that it made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import StudyError
from .inspection import Inspection
from .parts import Missing
from .shown import MAX_MB, Paged, plain

HISTORY = "history"


class RunPage(Paged):
    """A page about a run.

    Args:
        path: of the run folder.
        inspect: makes the inspection of its net, when that is asked for.

    Attributes:
        history: of the run; without a record of its layers, a line that says how to get one.

    Raises:
        StudyError: if the folder is no run, or there is neither a history nor a checkpoint yet.
    """

    def __init__(self, path, inspect: Callable[[], Inspection]):
        from . import history

        self.path, self._inspect = Path(path), inspect
        try:
            self.history = history.of_run(path)
        except StudyError as error:
            if not self._checkpoint():
                raise
            self.history = Missing(str(error))

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.path.name}, looked into"

    @functools.cached_property
    def inspection(self) -> Inspection | None:
        """Of the run's best net, or None if there is no checkpoint that could be loaded."""
        return self._inspect() if self._checkpoint() else None

    def _checkpoint(self) -> bool:
        return any((self.path / name).is_file() for name in ("best.ckpt", "last.ckpt"))

    @property
    def table(self):
        """The layers of the net.

        Raises:
            StudyError: without a checkpoint.
        """
        return self._net().table

    def layer(self, name: str, **where):
        """As :meth:`Inspection.layer`.

        Raises:
            StudyError: without a checkpoint, or for an unknown layer.
        """
        return self._net().layer(name, **where)

    def _net(self) -> Inspection:
        if self.inspection is None:
            raise StudyError(f"{self.path}: the run has no checkpoint yet")
        return self.inspection

    def to_dict(self) -> dict:
        """``history``, and what :meth:`Inspection.to_dict` gives."""
        return {HISTORY: plain(self.history.to_dict()), **({} if self.inspection is None else self.inspection.to_dict())}

    def to_html(self):
        """The history alone: the net has a page of its own (:attr:`inspection`)."""
        return self.history.to_html()

    def __str__(self):
        return f"{self.history}\n\n{self.inspection}" if isinstance(self.history, Missing) else str(self.history)

    def html(self, max_mb: float = MAX_MB, names: Sequence[str] | None = None) -> str:
        """As :meth:`Paged.html`; ``names`` may hold ``"history"``."""
        from .report import page_of_run

        return page_of_run(self, max_mb, names)
