"""The parts of a page about one run, in order. To add one, write a function here: it takes the inspection and how much may be shown.

``detail`` is 3 for a page of any size and goes down to 0, where only tables are left: pictures are what makes a page large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import StudyError
from .shown import Shown

MOST_DETAIL = 3
TILES = (0, 6, 12, 24)  # feature maps of a layer, by detail
PICTURES = (0, 1, 4, 8)  # of the batch, by detail


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: what ``--parts`` and the page's JSON call it. heading, lead: above it.
        build: (inspection, detail) → what is shown, or None if the run has nothing of it.
        sized: whether more detail shows more; else it matters only whether there is any.
    """

    name: str
    heading: str
    lead: str
    build: Callable[[object, int], Shown | None]
    sized: bool = False

    def of(self, inspection, detail: int) -> Shown | None:
        """What :attr:`build` makes, made once; where a library is missing, or it cannot be done with this net, a line that says so."""
        key = self, detail if self.sized else detail > 0
        if key not in inspection.made:
            inspection.progress(self.heading)
            try:
                inspection.made[key] = self.build(inspection, detail)
            except StudyError as error:
                inspection.made[key] = Missing(str(error))
            except ImportError as error:
                if "pip install" not in str(error):
                    raise
                inspection.made[key] = Missing(str(error))
        return inspection.made[key]


PARTS: dict[str, Part] = {}


def part(name: str, heading: str, lead: str = "", sized: bool = False):
    """Function decorator: enter a part."""

    def enter(function):
        PARTS[name] = Part(name, heading, lead, function, sized)
        return function

    return enter


def chosen(names: Sequence[str] | None) -> list[Part]:
    """The parts of these names, in the page's order; all of them for None.

    Raises:
        StudyError: for an unknown name.
    """
    unknown = [name for name in names or () if name not in PARTS]
    if unknown:
        raise StudyError(f"parts: there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return [entry for name, entry in PARTS.items() if names is None or name in names]


def parts(inspection, names: Sequence[str] | None = None, detail: int = MOST_DETAIL) -> Iterator[tuple[Part, Shown]]:
    """The parts that the run has something of, with what they show. A part that needs a library that is missing says so instead."""
    for entry in chosen(names):
        shown = entry.of(inspection, detail)
        if shown is not None:
            yield entry, shown


class Missing(Shown):
    """A part that could not be made, and why."""

    title = "Not shown"

    def __init__(self, reason: str):
        self.reason = reason

    def to_dict(self) -> dict:
        """``{"missing": reason}``."""
        return {"missing": self.reason}

    def __str__(self):
        return self.reason

    def to_html(self):
        """One line."""
        from markupsafe import Markup

        return Markup('<p class="warn">{}</p>').format(self.reason)


class Several(Shown):
    """Results one below the other.

    Args:
        results: pairs of a heading and a result.
        folded: all but the first are lines to unfold.
    """

    title = "Several"

    def __init__(self, results: Iterable[tuple[str, Shown]], folded: bool = True):
        self.results, self.folded = list(results), folded

    def to_dict(self) -> dict:
        """``{"parts": [{"heading", …}]}``."""
        return {"parts": [{"heading": heading, **result.to_dict()} for heading, result in self.results]}

    def __str__(self):
        return "\n\n".join(f"{heading}\n{result}" for heading, result in self.results)

    def to_html(self):
        """Headings, or lines to unfold."""
        from .page import render

        return render("sections/several.html", it=self)


# ---- the parts -------------------------------------------------------------------------------------------------------


@part("prediction", "What the net says", sized=True)
def _prediction(inspection, detail):
    from .prediction import Prediction

    return Prediction(inspection, PICTURES[detail])


@part("layers", "Layers", "Each layer's shape, arithmetic, memory and time. Where scripts run, a heading sorts.")
def _layers(inspection, detail):
    return inspection.table


@part("memory", "Memory", "What a training step of this net needs, and what would make it fit.")
def _memory(inspection, detail):
    from . import ledger, planner

    if inspection.x.ndim != 4:
        raise StudyError(f"Memory is predicted of nets that take images (N, C, H, W); this one took {tuple(inspection.x.shape)}.")
    batch, image = inspection.x.shape[0], tuple(inspection.x.shape[1:])
    profile = ledger.profile(inspection.model, image, name=inspection.name, device=str(inspection.x.device), at=batch)
    device = str(inspection.x.device)
    plan = planner.plan(inspection.model, image, device=device, plain=profile, budget=planner.installed(device), progress=inspection.progress)
    return Several([("A step of this batch", profile.ledger(batch)), ("Other batches, and what this machine's memory holds", plan)], folded=False)


@part("statistics", "Activations and gradients", "What each layer puts out, and what comes back to it.")
def _statistics(inspection, detail):
    return inspection.statistics


@part("tape", "The tape", "Every operation with what it keeps; backward walks it from the end.")
def _tape(inspection, detail):
    return inspection.tape


@part("numbers", "By the numbers", "Single values worked out from the arrays that the engine used, forward and back.")
def _numbers(inspection, detail):
    from . import explain
    from .choices import to_explain

    results = [explain.layer(inspection.trace, name) for name in to_explain(inspection.trace)]
    return Several((result.title, result) for result in results) if results else None


@part("filters", "First filters")
def _filters(inspection, detail):
    return inspection.filters if detail else None


@part("maps", "Feature maps", "The channels that answer most strongly, from the first layers to the last.", sized=True)
def _maps(inspection, detail):
    from . import maps
    from .choices import to_map

    layers = to_map(inspection.trace) if detail else []
    return Several([(name, maps.of_trace(inspection.trace, name, limit=TILES[detail])) for name in layers], folded=False) if layers else None


@part("attribution", "Where the net looked")
def _attribution(inspection, detail):
    return inspection.attribution() if detail and inspection.backward else None


@part("field", "Receptive field, measured")
def _field(inspection, detail):
    return inspection.field() if detail and inspection.backward else None
