"""The table of operations: floor 4 (``ops/``) fills it, Tensor's methods look here.

``tensor.py`` sits below ``ops/`` and must not import it, yet ``x.relu()`` has to reach ``ops/relu.py``. So a method is
one line, ``return ops.relu(self)``, and ``ops`` is this table.
"""

from __future__ import annotations

from collections.abc import Callable


class OperationTable:
    """Operations by name, as attributes."""

    def register(self, function: Callable | None = None, *, name: str | None = None):
        """Decorator: enter ``function`` under its own name (or ``name``).

        Raises:
            ValueError: if the name is taken.
        """
        if function is None:
            return lambda f: self.register(f, name=name)
        name = name or function.__name__
        if name in self.__dict__:
            raise ValueError(f"operation {name!r} is registered twice")
        self.__dict__[name] = function
        return function

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self.__dict__)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"no operation {name!r} is registered: import scratchvgg (not scratchvgg.autograd alone)")


ops = OperationTable()
