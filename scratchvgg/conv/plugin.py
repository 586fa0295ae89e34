"""Algorithms from a user's own file: ``load_plugin("my_conv.py")`` runs it and says which names it registered."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path

from . import registry

_loaded: dict[Path, list[str]] = {}


class PluginError(Exception):
    """A plugin that cannot be used; the message names the file, the line and what is wrong."""


def load_plugin(path) -> list[str]:
    """Run a Python file that registers convolution algorithms.

    The file is an ordinary module: it defines subclasses of :class:`~scratchvgg.conv.Algorithm` and decorates them with
    :func:`~scratchvgg.conv.register`. Loading a file again runs it again and replaces what it registered before. A file that fails leaves
    the registry as it was.

    Args:
        path: the file.

    Returns:
        The registered names, in order.

    Raises:
        FileNotFoundError: there is no such file.
        PluginError: the file raises, takes a name that exists, or registers nothing.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"plugin {path}: no such file")
    held = registry.snapshot()
    registry.forget(_loaded.get(path, ()))
    known = registry.snapshot()
    module = _module(path)
    sys.modules[module.__name__] = module  # so that its classes can be found by name, as pickle and dataclasses do
    try:
        module.__spec__.loader.exec_module(module)
        names = [name for kernels, now in registry.snapshot().items() for name in now if name not in known[kernels]]
        if not names:
            raise PluginError(f"plugin {path}: it registers no algorithm; decorate a subclass of scratchvgg.conv.Algorithm with @register")
    except BaseException as error:
        sys.modules.pop(module.__name__, None)
        registry.restore(held)
        if isinstance(error, PluginError) or not isinstance(error, Exception):
            raise
        raise PluginError(f"plugin {path}{_line(error, path)}: {type(error).__name__}: {error}") from error
    _loaded[path] = names
    return names


def _module(path):
    """An empty module for the file, with a name of its own."""
    name = f"scratchvgg_plugin_{path.stem}_{abs(hash(path)):x}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    return importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))


def _line(error, path) -> str:
    """", line 12" of the file, where the error can be traced to it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
