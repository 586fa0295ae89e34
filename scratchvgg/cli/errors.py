"""Which errors are the user's to mend: they get one line and no traceback."""

from __future__ import annotations


class CommandError(Exception):
    """Bad input on the command line; the message is the line the user reads."""


def is_user_error(error: Exception) -> bool:
    """Whether ``error`` says something the user can act on: bad input, files, data, a missing extra."""
    if isinstance(error, ImportError):
        return "pip install 'scratchvgg[" in str(error)
    if isinstance(error, (CommandError, OSError)):
        return not isinstance(error, BrokenPipeError)
    from ..conv import PluginError
    from ..data import DataError
    from ..study.errors import StudyError
    from ..train import RecipeError, RunError
    from ..weights.errors import WeightsError

    return isinstance(error, (DataError, PluginError, RecipeError, RunError, StudyError, WeightsError))
