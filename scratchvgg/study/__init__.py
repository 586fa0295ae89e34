"""Floor 9: looking into a net. ``inspect(model, x)`` runs it once and shows every number; the other names are its parts, each usable alone."""

from importlib import import_module as _import_module

_PLACES = {
    "StudyError": "errors", "Inspection": "inspection", "Shown": "shown", "Subject": "subject", "inspect": "inspection", "load": "subject",
}

__all__ = sorted(_PLACES)


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__():
    return sorted(__all__)
