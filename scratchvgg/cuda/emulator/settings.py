"""How launches run: the order of threads, how many OS threads, early or late copies. Context managers over environment variables."""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar

from ...array import get_num_threads

ORDER, THREADS, COPIES = "SCRATCHVGG_EMULATOR_ORDER", "SCRATCHVGG_EMULATOR_THREADS", "SCRATCHVGG_EMULATOR_COPIES"
PORTABLE, DEBUG, SANITIZE = "SCRATCHVGG_EMULATOR_PORTABLE", "SCRATCHVGG_EMULATOR_DEBUG", "SCRATCHVGG_EMULATOR_SANITIZE"

_chosen: ContextVar[dict[str, str]] = ContextVar("scratchvgg.emulator.settings")


def setting(name: str, default: str = "") -> str:
    """What a context manager of this file has chosen, else the environment, else ``default``."""
    return _chosen.get({}).get(name) or os.environ.get(name) or default


def switched_on(name: str) -> bool:
    """Whether a yes-or-no setting is on: anything but nothing and ``0``."""
    return setting(name) not in ("", "0")


@contextlib.contextmanager
def choose(**values):
    """Settings by the ends of this file's names: ``choose(order="reverse", threads=1)``. For this thread, until the block ends."""
    names = {"order": ORDER, "threads": THREADS, "copies": COPIES, "portable": PORTABLE, "debug": DEBUG, "sanitize": SANITIZE}
    unknown = set(values) - set(names)
    if unknown:
        raise TypeError(f"emulator settings are {', '.join(names)}; got {', '.join(sorted(unknown))}")
    token = _chosen.set(_chosen.get({}) | {names[k]: str(int(v) if isinstance(v, bool) else v) for k, v in values.items()})
    try:
        yield
    finally:
        _chosen.reset(token)


def order(which):
    """A context in which threads and blocks run in another order: ``"forward"``, ``"reverse"``, or a seed (an int ≥ 1).

    A seed shuffles them. A kernel that lacks a barrier often gives the right answer in one order and not in another. The environment's word is
    ``SCRATCHVGG_EMULATOR_ORDER``.

    Raises:
        ValueError: for anything else.
    """
    parse_order(str(which))
    return choose(order=which)


def parse_order(text: str) -> int:
    """0 forward, −1 reverse, else the seed."""
    if text in ("", "forward"):
        return 0
    if text == "reverse":
        return -1
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(f"{ORDER}: expected 'forward', 'reverse' or a positive seed, got {text!r}")


def launch_order() -> int:
    """The order that is in force, as :func:`parse_order` reads it."""
    return parse_order(setting(ORDER))


def os_threads() -> int:
    """The OS threads that share a launch's blocks: ``SCRATCHVGG_EMULATOR_THREADS``, else as many as the library uses elsewhere."""
    text = setting(THREADS)
    if not text:
        return get_num_threads()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{THREADS}: expected a positive number, got {text!r}")
    return int(text)


def early_copies() -> bool:
    """Whether asynchronous copies happen at once; by default they happen as late as the hardware may do them."""
    text = setting(COPIES, "late")
    if text not in ("late", "early"):
        raise ValueError(f"{COPIES}: expected 'late' or 'early', got {text!r}")
    return text == "early"
