"""The commands: every file in ``commands/`` is one. To add a command, add a file.

A command has ``SUMMARY`` (a line for the overview), ``DESCRIPTION``, ``EXAMPLES`` (lines of ``command  what it does``),
``configure(parser)`` and ``run(args)``, which returns the exit status (None is 0). It imports the library inside ``run``,
so that help is instant.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from . import commands


def command_names() -> list[str]:
    """The names of all commands, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__) if not module.name.startswith("_"))


def load_command(name: str):
    """The module of a command."""
    return import_module(f"{commands.__name__}.{name}")
