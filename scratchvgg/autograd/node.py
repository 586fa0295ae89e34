"""The tape. A :class:`Node` is one recorded operation; its ``edges`` lead to the nodes that made its inputs.

::

    x ──► [relu 3] ──► y ──► [sum 4] ──► loss        forward
    x.grad ◄── Leaf ◄── [relu 3] ◄── [sum 4] ◄── 1   backward, largest number first

Numbers are given out in the order of recording, so every consumer of a value has a larger number than its maker, and
walking by falling number is a topological order.
"""

from __future__ import annotations

import itertools
import traceback

from .grad_mode import state

_numbers = itertools.count()


class Version:
    """Counts the writes into one memory; shared by a tensor and its views.

    ``rewritten`` counts the writes that changed the history too (a recorded in-place operation): an alias that has not
    seen the latest of them has an outdated history and may not be used in a recorded operation.
    """

    __slots__ = ("value", "rewritten", "__weakref__")

    def __init__(self):
        self.value = self.rewritten = 0


_OWN = frozenset({"backend", "xp", "needs_input_grad", "writes", "constant_outputs", "kept", "versions", "operation"})  # attributes of every Context


class Context:
    """What an operation's forward leaves for its backward, and what it may ask about the call.

    Attributes:
        backend, xp: the device's :class:`~scratchvgg.array.Backend` and its array module. A forward whose result lies on another
            device sets ``backend`` to that one's.
        needs_input_grad: one bool per positional argument of forward; False for everything when nothing is recorded.
        writes: forward sets it to True if it wrote its result over its first argument.
        constant_outputs: outputs that forward declares to have no gradient.
    Any other attribute an operation sets is kept until the tape is freed.
    """

    def __init__(self, backend, needs_input_grad):
        self.backend, self.xp, self.needs_input_grad = backend, backend.xp, needs_input_grad
        self.writes = False
        self.constant_outputs = ()
        self.kept: dict = {}
        self.versions: dict[str, tuple[Version, int]] = {}

    def save(self, **arrays) -> None:
        """Keep arrays (or numbers, or None) for backward under names. Inputs and outputs are watched: writing into one before
        backward is an error."""
        self.kept.update(arrays)

    def arrays(self):
        """(name, array) of all that is kept: what was saved, and what the operation set as attributes; those in lists as ``name[i]``."""
        return _arrays_in({**self.kept, **{name: value for name, value in vars(self).items() if name not in _OWN}})

    @property
    def saved(self):
        """The kept arrays in the order they were saved.

        Raises:
            RuntimeError: if one of them was written to since.
        """
        for name, (version, seen) in self.versions.items():
            if version.value != seen:
                raise RuntimeError(
                    f"{self.operation}: {name!r} (shape {tuple(self.kept[name].shape)}) is needed for the gradient but was modified by an "
                    f"in-place operation: it is at version {version.value}, expected version {seen}"
                )
        return tuple(self.kept.values())

    def watch(self, owners) -> None:
        """Note the version of every kept array that lies in the memory of one of ``owners`` (pairs array, Version)."""
        for name, array in self.kept.items():
            for candidate, version in owners:
                if array is candidate or (hasattr(array, "shape") and self.xp.may_share_memory(array, candidate)):
                    self.versions[name] = (version, version.value)

    def part_from(self, memory) -> None:
        """Copy what is kept of ``memory``, which the operation's own result is about to overwrite."""
        for name, array in self.kept.items():
            if hasattr(array, "shape") and self.xp.may_share_memory(array, memory):
                self.kept[name] = array.copy("K")
                self.versions.pop(name, None)


def _arrays_in(values: dict):
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            yield from _arrays_in({f"{name}[{i}]": item for i, item in enumerate(value)})
        elif hasattr(value, "nbytes") and hasattr(value, "shape") and value.ndim:
            yield name, value


class Node:
    """One recorded operation.

    Attributes:
        op: the operation's class; ``name`` its name.
        ctx: its :class:`Context`; None once freed, or while it is away.
        away: the checkpoint that will compute again what it kept (see ``checkpoint.py``), or None.
        edges: one ``(node, output index)`` or None per positional argument of forward.
        outputs: one ``(shape, dtype, backend)`` per output.
        hooks: output index → the hooks of the tensor that holds it.
        stack: where it was called, if anomaly mode was on.
    """

    __slots__ = ("op", "ctx", "away", "edges", "outputs", "number", "hooks", "retained", "stack", "__weakref__")

    def __init__(self, op, ctx, edges):
        self.op, self.ctx, self.away, self.edges = op, ctx, None, edges
        self.outputs = ()
        self.number = next(_numbers)
        self.hooks: dict[int, dict] = {}
        self.retained: dict[int, object] = {}
        self.stack = traceback.extract_stack()[:-2] if state.anomaly else None

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    @property
    def next_functions(self):
        """torch's view of the graph: the edges, with (None, 0) where nothing flows."""
        return tuple(edge or (None, 0) for edge in self.edges)

    def fetch(self):
        """:attr:`ctx`, computed again if it is away; None if it was freed."""
        if self.away is not None:
            self.away.restore()
        return self.ctx

    def free(self) -> None:
        """Drop everything kept for backward."""
        self.ctx = self.away = None

    def __repr__(self):
        return f"<{self.name}Backward #{self.number}>"


class Leaf:
    """Where gradients end: adds what arrives to ``tensor.grad``."""

    __slots__ = ("tensor", "number", "hooks", "retained", "outputs", "stack", "__weakref__")
    name, edges, next_functions = "AccumulateGrad", (), ()

    def __init__(self, tensor):
        self.tensor = tensor
        self.number = next(_numbers)
        self.hooks, self.retained, self.stack = {}, {}, None
        self.outputs = ((tensor.array.shape, tensor.array.dtype, tensor.backend),)

    def __repr__(self):
        return f"<AccumulateGrad of shape {tuple(self.tensor.array.shape)}>"
