"""torch's ``utils`` where VGG files import from it: ``utils.data``, ``utils.model_zoo`` and ``utils.checkpoint``."""

from importlib import import_module as _import_module


def __getattr__(name):
    if name in ("checkpoint", "data", "model_zoo"):
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
