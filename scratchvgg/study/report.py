"""Pages about a run of a net and about a training, no larger than they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import StudyError
from .page import Section, document, formats
from .page.render import environment
from .parts import MOST_DETAIL, parts
from .shown import plain

MEGABYTE = 10**6
LEAD = "Every number is taken from the arrays that the engine used, unless it says where it comes from."


def page_of(inspection, max_mb: float, names: Sequence[str] | None = None) -> str:
    """The HTML of an inspection; with less and less detail until it is no larger than ``max_mb`` megabytes.

    Raises:
        StudyError: if even the shortest is larger, for unknown parts, or a limit that is no positive number. ImportError: without jinja2.
    """
    def page(detail):
        sections, data = _sections(inspection, detail, names)
        data = {"model": inspection.name, "input_shape": list(inspection.x.shape), **data}
        what, mode = "forward and backward" if inspection.backward else "forward", _mode(inspection)
        return document(inspection.title, sections, lead=f"One run, {what}, in {mode} mode. {LEAD}", facts=_facts(inspection), data=data,
                        footer=_footer(detail))

    return _fitting(page, max_mb)


def page_of_run(run, max_mb: float, names: Sequence[str] | None = None) -> str:
    """The HTML of a training: history first, then the parts of its net.

    Raises:
        As :func:`page_of`.
    """
    of_net = None if names is None else [name for name in names if name != "history"]
    inspection = run.inspection if of_net is None or of_net else None

    def page(detail):
        sections, data = _sections(inspection, detail, of_net) if inspection is not None else ([], {})
        history = Section("history", "History", run.history.to_html(), "The training, step by step, and what it says.")
        if names is None or "history" in names:
            sections, data = [history, *sections], {"history": plain(run.history.to_dict()), **data}
        about = "its history" if inspection is None else "its history, and its net on test pictures"
        return document(run.title, sections, lead=f"A training: {about}. {LEAD}", facts=[] if inspection is None else _facts(inspection), data=data,
                        footer=_footer(detail))

    return _fitting(page, max_mb)


def _fitting(page: Callable[[int], str], max_mb: float) -> str:
    environment()  # or say at once what is missing
    if not max_mb > 0:
        raise StudyError(f"max_mb: expected a positive number of megabytes, got {max_mb}")
    for detail in range(MOST_DETAIL, -1, -1):
        text = page(detail)
        size = len(text.encode())
        if size <= max_mb * MEGABYTE:
            return text
    raise StudyError(f"max_mb: the page needs {size / MEGABYTE:.1f} MB even without pictures, more than {max_mb:g}; show fewer parts")


def _sections(inspection, detail, names):
    sections, data = [], {}
    for part, shown in parts(inspection, names, detail):
        sections.append(Section(part.name, part.heading, shown.to_html(), part.lead))
        data[part.name] = plain(shown.to_dict())
    return sections, data


def _mode(inspection) -> str:
    return "training" if inspection.model.training else "evaluation"


def _facts(inspection):
    totals = inspection.table.to_dict()["totals"]
    facts = [("input", formats.shape(tuple(inspection.x.shape))), ("device", str(inspection.x.device)), ("mode", _mode(inspection)),
             ("parameters", formats.count(totals["parameters"])), ("multiply–accumulates", formats.count(totals["macs"]))]
    kept = totals.get("kept_bytes")
    return [*facts, *([("kept for backward", formats.size(kept))] if kept is not None else [])]


def _footer(detail):
    from .. import __version__
    from ..train import machine

    about = machine.describe()
    less = [f"Shown with less detail (level {detail} of {MOST_DETAIL}) to keep the page small."] if detail < MOST_DETAIL else []
    return [f"scratchvgg {__version__}; {about['processor']}, {about['threads']} threads, NumPy {about['numpy']}.",
            "The numbers of this page lie in it as JSON, in the element with the id “data”.", *less]
