"""Activation recomputation: run a part of a net again in backward instead of keeping what it made.

::

    h = checkpoint(stage, x)        forward: the operations of ``stage`` go on the tape as always, but what they keep is put away at once;
                                    of the stage, only x stays
    loss.backward()                 the first gradient that reaches the stage runs it again, recording, and each operation on the tape
                                    receives what its twin of the second run kept; backward goes on as if nothing had been missing

The tape is the one that a plain run makes, so gradients flow the same way and are equal bit for bit, also those of parameters that ``stage``
uses. For that the second run must do what the first did. It finds the same random numbers (dropout's mask), the same autocast region, the same
context variables (fusion, convolution algorithms), and batch norms that do not move their running statistics a second time. What it cannot
know of, such as a counter in ``forward``, may ask :func:`is_recomputing`.

The memory of backward falls from the sum over the stages to the inputs of all and the inside of one; one more forward is the price. Chen, Xu, Zhang
and Guestrin, "Training deep nets with sublinear memory cost", arXiv 1604.06174.
"""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Iterator

from ..array import default_generator
from .autocast import POLICIES, autocast, get_autocast_dtype, is_autocast_enabled
from .grad_mode import enable_grad, state
from .tensor import Tensor


def checkpoint(function: Callable, *args, use_reentrant: bool | None = None, context_fn: Callable | None = None, determinism_check: str = "default",
               preserve_rng_state: bool = True, **kwargs):
    """``function(*args, **kwargs)``, whose inside is not kept for backward but computed again there; torch's ``utils.checkpoint.checkpoint``.

    Args:
        function: anything; it runs once now, and once more if a gradient comes back. Where nothing is recorded it simply runs.
        use_reentrant: torch's choice between two ways; there is one here, which does what False says: any input may want no gradient,
            ``autograd.grad`` works, and checkpoints may lie within checkpoints. Accepted, without effect.
        context_fn: returns two context managers, for the first run and for the second.
        determinism_check: ``"default"`` compares operations, shapes and element types of the two runs; ``"none"`` only the operations.
        preserve_rng_state: the second run draws the random numbers of the first.

    Returns:
        What ``function`` returns.

    Raises:
        ValueError: for another ``determinism_check``. In backward, RuntimeError: if an input or a parameter was changed in place in between,
            or the second run did other operations than the first; and whatever ``function`` raises.
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    if not state.grad:
        return function(*args, **kwargs)
    first, second = context_fn() if context_fn is not None else (contextlib.nullcontext(), contextlib.nullcontext())
    return _Frame((function, args, kwargs, second), determinism_check == "default", preserve_rng_state).run(first)


def checkpoint_sequential(functions, segments: int, input, use_reentrant: bool | None = None, preserve_rng_state: bool = True):
    """Cut a Sequential into ``segments`` of equal length and run all but the last through :func:`checkpoint`; torch's
    ``utils.checkpoint.checkpoint_sequential``.

    Args:
        functions: a Sequential, or a list of functions or modules.
        input: of the first.

    Raises:
        ValueError: for fewer than one segment, or more than there are functions.
    """
    count = len(functions)
    if not 1 <= segments <= max(1, count):
        raise ValueError(f"checkpoint_sequential: expected 1 to {count} segments, got {segments}")
    length = count // segments
    for number in range(segments - 1):
        part = _chain(functions[number * length : (number + 1) * length])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return _chain(functions[(segments - 1) * length :])(input)


def _chain(functions) -> Callable:
    """A slice of a Sequential is one itself, and fuses; of a list, the functions one after the other."""
    if callable(functions):
        return functions

    def run(value):
        for function in functions:
            value = function(value)
        return value

    return run


class _Frame:
    """One call of :func:`checkpoint`: what the second run needs, and the operations that wait for it.

    A frame within a frame does not keep its own arguments either: they are part of what the outer one computes again.

    Attributes:
        call: (function, args, kwargs, context manager of the second run); None while only ``outer`` can tell.
        entries: weak references to the recorded nodes and to the frames within, in order. Who is gone needs nothing.
        guards: id of a :class:`~.node.Version` → (it, the value it must have, what it belongs to).
    """

    def __init__(self, call, check: bool, preserve: bool):
        self.call, self.check = call, check
        self.generator = default_generator.get_state() if preserve else None
        self.regions = _regions()
        self.context = contextvars.copy_context()
        self.entries: list[weakref.ref] = []
        self.outer: _Frame | None = None
        self.guards: dict[int, tuple] = {}
        for place, tensor in enumerate(_tensors_in((call[1], call[2]))):
            self._guard(tensor, f"input {place}")

    def run(self, around):
        """The first run."""
        function, args, kwargs, _ = self.call
        enclosing = state.checkpoint
        with around, _set(checkpoint=self), _casting(self.regions):
            result = function(*args, **kwargs)
        if enclosing is not None:
            enclosing.enclose(self)
        return result

    def take(self, node, args) -> None:
        """An operation was recorded: put away what it keeps. Called by the tape."""
        for value in args:
            if isinstance(value, Tensor) and value.is_leaf and value.requires_grad:
                self._guard(value, "a parameter")
        self.entries.append(weakref.ref(node))
        node.ctx, node.away = None, self

    def enclose(self, inner: _Frame) -> None:
        """A checkpoint within this one has run for the first time."""
        self.entries.append(weakref.ref(inner))
        inner.outer, inner.call = self, None

    def restore(self) -> None:
        """The second run: give every operation that still lives what it kept."""
        if self.call is None:
            self.outer.restore()
        for version, value, what in self.guards.values():
            if version.value != value:
                raise RuntimeError(f"checkpoint: {what} was modified by an in-place operation since the first run (version {version.value}, then "
                                   f"{value}); the second run would compute something else")
        collector = _Collector()
        self.context.run(self._again, collector)
        self._compare(collector.entries)
        for reference, fresh in zip(self.entries, collector.entries, strict=True):
            entry = reference()
            if isinstance(entry, _Frame):
                entry.call, entry.guards, entry.outer = fresh.call, fresh.guards, None
            elif entry is not None:
                entry.ctx, entry.away = fresh.ctx, None
        self.entries, self.call = [], None

    def _again(self, collector):
        function, args, kwargs, around = self.call
        before = default_generator.get_state()
        if self.generator is not None:
            default_generator.set_state(self.generator)
        try:
            with around, enable_grad(), _set(checkpoint=collector, recomputing=True), _casting(self.regions):
                function(*args, **kwargs)
        finally:
            if self.generator is not None:
                default_generator.set_state(before)

    def _compare(self, fresh):
        names = [_about(entry) for entry in fresh]
        if len(fresh) != len(self.entries):
            raise RuntimeError(f"checkpoint: the second run recorded {len(fresh)} operations ({', '.join(n for n, _ in names)}), the first "
                               f"{len(self.entries)}; the function must do the same each time")
        for place, (reference, found) in enumerate(zip(self.entries, names, strict=True)):
            expected = None if reference() is None else _about(reference())
            if expected is not None and (expected != found if self.check else expected[0] != found[0]):
                raise RuntimeError(f"checkpoint: operation {place} of the second run was {found[0]} with results {found[1]}, in the first it was "
                                   f"{expected[0]} with results {expected[1]}; the function must do the same each time")

    def _guard(self, tensor, what):
        self.guards.setdefault(id(tensor.version), (tensor.version, tensor.version.value, f"{what} of shape {tuple(tensor.shape)}"))


class _Collector:
    """Stands in a frame's place while the second run records: everything stays where it is."""

    def __init__(self):
        self.entries: list = []

    def take(self, node, args) -> None:
        """Note a recorded operation."""
        self.entries.append(node)

    def enclose(self, inner: _Frame) -> None:
        """Note a checkpoint within; it keeps its arguments now."""
        self.entries.append(inner)


def _about(entry):
    """(name, results) of what a run recorded, to compare."""
    if isinstance(entry, _Frame):
        return "checkpoint", ()
    return entry.name, tuple(f"{dtype} {tuple(shape)}" for shape, dtype, _ in entry.outputs)


def _tensors_in(value) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors_in(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors_in(item)


@contextlib.contextmanager
def _set(**values):
    """Attributes of this thread's state, for a block."""
    before = {name: getattr(state, name) for name in values}
    for name, value in values.items():
        setattr(state, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


def _regions() -> dict:
    """Device type → (autocast is on, its type)."""
    return {device: (is_autocast_enabled(device), get_autocast_dtype(device)) for device in POLICIES}


@contextlib.contextmanager
def _casting(regions):
    """The autocast regions given, without kept casts of weights: one from outside would be missing in the second run."""
    with contextlib.ExitStack() as stack:
        for device, (enabled, dtype) in regions.items():
            if enabled or is_autocast_enabled(device):
                stack.enter_context(autocast(device, dtype, enabled, cache_enabled=False))
        yield
