"""One line at the bottom of the terminal that says what is being measured."""

from __future__ import annotations

import contextlib
import sys


@contextlib.contextmanager
def status_line():
    """Yields ``show(text)``. It writes only where stderr is a terminal, and leaves nothing behind; with rich, a spinner turns beside it."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    try:
        from rich.console import Console
    except ImportError:
        yield _show
        _show("")
        return
    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(text.replace("[", r"\["))


def _show(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
