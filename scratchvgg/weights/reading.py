"""The one outermost place where what a damaged or hostile file provokes becomes a :class:`WeightsError` that names the file and the reason."""

from __future__ import annotations

import contextlib
import struct
import zlib

from .errors import WeightsError
from .source import Malformed, name_of, open_source

_PROVOKED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, MemoryError, EOFError, struct.error, zlib.error)
_LONGEST = 500


@contextlib.contextmanager
def reading(f, mmap: bool = True):
    """A context manager that gives the :class:`Source` of ``f`` (a path or an open binary file) to a reader.

    Raises:
        WeightsError: for whatever the file's content provokes inside the block.
        ImportError, OSError: as they are: a missing extra, a file that cannot be opened. TypeError: if ``f`` is neither a path nor an open file.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(open_source(f, mmap))
        except Malformed as error:
            raise WeightsError(f"cannot read {name_of(f)}: {error}") from error
        try:
            yield source
        except _PROVOKED as error:
            raise WeightsError(f"cannot read {source.name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is missing"[:_LONGEST]
    return (str(error) if isinstance(error, Malformed) and str(error) else f"it is corrupt ({type(error).__name__}: {error})")[:_LONGEST]
