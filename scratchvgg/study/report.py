"""A page about one run, no larger than it may be."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import StudyError
from .page import Section, document, formats
from .parts import MOST_DETAIL, parts
from .shown import plain

MEGABYTE = 10**6


def page_of(inspection, max_mb: float, names: Sequence[str] | None = None) -> str:
    """The HTML of an inspection; with less and less detail until it is no larger than ``max_mb`` megabytes.

    Raises:
        StudyError: if even the shortest is larger, for unknown parts, or a limit that is no positive number. ImportError: without jinja2.
    """
    if not max_mb > 0:
        raise StudyError(f"max_mb: expected a positive number of megabytes, got {max_mb}")
    for detail in range(MOST_DETAIL, -1, -1):
        text = _page(inspection, detail, names)
        size = len(text.encode())
        if size <= max_mb * MEGABYTE:
            return text
    raise StudyError(f"max_mb: the page needs {size / MEGABYTE:.1f} MB even without pictures, more than {max_mb:g}; show fewer parts")


def _page(inspection, detail, names) -> str:
    sections, data = [], {"model": inspection.name, "input_shape": list(inspection.x.shape)}
    for part, shown in parts(inspection, names, detail):
        sections.append(Section(part.name, part.heading, shown.to_html(), part.lead))
        data[part.name] = plain(shown.to_dict())
    less = [f"Shown with less detail (level {detail} of {MOST_DETAIL}) to keep the page small."] if detail < MOST_DETAIL else []
    return document(inspection.title, sections, lead=_lead(inspection), facts=_facts(inspection), data=data, footer=[*_footer(inspection), *less])


def _lead(inspection) -> str:
    what = "forward and backward" if inspection.backward else "forward"
    mode = "training" if inspection.model.training else "evaluation"
    return f"One run, {what}, in {mode} mode. Every number is taken from the arrays that the engine used, unless it says where it comes from."


def _facts(inspection):
    totals, mode = inspection.table.to_dict()["totals"], "training" if inspection.model.training else "evaluation"
    facts = [("input", formats.shape(tuple(inspection.x.shape))), ("device", str(inspection.x.device)), ("mode", mode),
             ("parameters", formats.count(totals["parameters"])), ("multiply-accumulates", formats.count(totals["macs"]))]
    kept = totals.get("kept_bytes")
    return [*facts, *([("kept for backward", formats.size(kept))] if kept is not None else [])]


def _footer(inspection):
    from .. import __version__
    from ..train import machine

    about = machine.describe()
    return [f"scratchvgg {__version__}; {about['processor']}, {about['threads']} threads, NumPy {about['numpy']}.",
            "The numbers of this page lie in it as JSON, in the element with the id “data”."]
