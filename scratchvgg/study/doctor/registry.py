"""The checks: every function in ``checks/`` with the decorator is one. To add a check, add it to a file there, or add a file."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from .findings import Finding

_CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: by which findings and the user call it.
        run: ``run(case)`` gives the findings, as an iterable; it raises :class:`Skip` if it has nothing to go by.
        order: lower ones run first: what needs only the record, then one pass, then experiments, which take what time is left.
    """

    name: str
    run: Callable
    order: int


class Skip(Exception):
    """A check cannot be done here; the message says why."""


def check(name: str, order: int) -> Callable:
    """Decorator: enter a function under ``name``.

    Raises:
        ValueError: if the name is taken.
    """
    def enter(function):
        if name in _CHECKS:
            raise ValueError(f"a check named {name!r} is registered already")
        _CHECKS[name] = Check(name, function, order)
        return function

    return enter


def list_checks() -> list[Check]:
    """All checks, in the order in which they run."""
    from . import checks as folder  # which imports this file

    for module in pkgutil.iter_modules(folder.__path__):
        import_module(f"{folder.__name__}.{module.name}")
    return sorted(_CHECKS.values(), key=lambda one: one.order)


def run(one: Check, case) -> tuple[list[Finding], str | None]:
    """(findings, None), or ([], why the check was left out)."""
    try:
        return list(one.run(case)), None
    except Skip as reason:
        return [], str(reason)
