"""What registering a hook returns."""

from __future__ import annotations


class RemovableHandle:
    """Undo a hook registration with :meth:`remove`, or use it as a context manager."""

    _next = 0

    def __init__(self, hooks: dict, hook):
        self._hooks, self.id = hooks, RemovableHandle._next
        RemovableHandle._next += 1
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
