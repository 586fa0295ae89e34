"""Floor 9: looking into a net. ``inspect(model, x)`` runs it once and shows every number; its parts are modules of their own, each usable alone."""

from importlib import import_module as _import_module

_PLACES = {
    "Diagnosis": "doctor", "Divergence": "diverge", "History": "history", "Inspection": "inspection", "LayerStatistics": "statistics",
    "LayerTable": "layers", "Ledger": "ledger", "Shown": "shown", "StudyError": "errors", "Subject": "subject", "TapeGraph": "tape",
    "Verdict": "verdicts", "inspect": "inspection", "load": "subject",
}
_PARTS = (
    "attribution", "diverge", "doctor", "explain", "filters", "history", "initialisation", "layers", "ledger", "maps", "planner", "receptive",
    "statistics", "tape", "trace", "verdicts", "why3x3",
)

__all__ = sorted([*_PLACES, *_PARTS])


def __getattr__(name):
    if name in _PLACES:
        return getattr(_import_module(f"{__name__}.{_PLACES[name]}"), name)
    if name in _PARTS:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
