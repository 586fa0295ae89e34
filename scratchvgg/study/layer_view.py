"""Everything about one layer of a run."""

from __future__ import annotations

import functools

from .errors import StudyError
from .parts import Missing, Several
from .shown import Shown


class LayerView(Shown):
    """What :meth:`Inspection.layer` returns.

    Args:
        inspection: the run.
        name: dotted name of a layer that took part.
        where: for :func:`scratchvgg.study.explain.layer`.

    Attributes:
        calls: the operations it made. row: of the layer table, or None for a container.

    Raises:
        StudyError: for an unknown layer; the message lists near names.
    """

    def __init__(self, inspection, name: str, where: dict):
        from .explain.registry import calls_of

        self.inspection, self.name, self.where = inspection, name, where
        self.calls = calls_of(inspection.trace, name)
        self.row = next((row for row in inspection.table.to_dict()["layers"] if row["name"] == name), None)

    @property
    def title(self) -> str:
        """Name and kind."""
        module = self.inspection.trace.modules.get(self.name)
        return f"{self.name} ({type(module).__name__})" if module is not None else self.name

    @functools.cached_property
    def input(self):
        """The array that came in (of the layer's first operation), or None."""
        sources = self.calls[0].sources if self.calls else ()
        return sources[0].array if sources else None

    @functools.cached_property
    def output(self):
        """The array that went out (of its last operation), or None."""
        return self.calls[-1].results[0] if self.calls and self.calls[-1].results else None

    @functools.cached_property
    def gradient(self):
        """The gradient that arrived at its output, or None."""
        return self.calls[-1].gradients[0] if self.calls and self.calls[-1].gradients else None

    @functools.cached_property
    def explanation(self) -> Shown:
        """Its arithmetic at one place."""
        from . import explain

        try:
            return explain.layer(self.inspection.trace, self.name, **self.where)
        except StudyError as error:
            if self.where:
                raise
            return Missing(str(error))

    @functools.cached_property
    def maps(self) -> Shown:
        """Its feature maps."""
        from . import maps

        try:
            return maps.of_trace(self.inspection.trace, self.name, sample=self.where.get("sample", 0))
        except (StudyError, ImportError) as error:
            return Missing(str(error))

    def to_dict(self) -> dict:
        """``{"name", "row", "explanation", "maps"}``."""
        return {"name": self.name, "row": self.row, "explanation": self.explanation.to_dict(), "maps": self.maps.to_dict()}

    def __str__(self):
        row = self.row or {}
        facts = ", ".join(f"{key} {row[key]}" for key in ("type", "output_shape", "parameters", "macs", "kept_bytes") if row.get(key) is not None)
        return f"{self.title}\n{facts}\n\n{self.explanation}"

    def to_html(self):
        """Arithmetic, then maps."""
        return Several([(self.explanation.title, self.explanation), (self.maps.title, self.maps)], folded=False).to_html()
