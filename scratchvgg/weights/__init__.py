"""Floor 1.5: weights files of all kinds to plain arrays and back, and the verified download."""

from .errors import WeightsError

__all__ = ["WeightsError", "identify", "load", "save"]


def __getattr__(name):  # the readers are imported when one is wanted: locks and cache folders, which other floors need, are light
    if name in ("identify", "load", "save"):
        from . import formats

        return getattr(formats, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
