"""Which layer was entered when: a table has a row for each time a layer was called, also for one that did nothing (Dropout in evaluation).

A trace knows operations; :func:`watch` stands beside it and notes the layers. Without it :func:`of_trace` puts them together from the
operations: neighbours of the same layer are one visit, and a layer without an operation stands before the next one that has some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..autograd import Tensor, intercept
from ..nn import Module
from .trace import Trace

RELABELLING = frozenset(("Reshape", "Expand", "Permute", "getitem", "split", "unbind", "Cast", "Transfer"))
"""Operations that a net does between its layers without computing anything: they have no row of their own."""


@dataclass(frozen=True)
class Visit:
    """One call of a layer, or one operation outside of all leaves.

    Attributes:
        name: dotted name of the module; empty for the net itself.
        type: class of the module, or the operation's name.
        calls: indices into :attr:`Trace.calls`.
        output_shape: of the (first) result.
        module: the layer, or None for an operation outside of the leaves.
    """

    name: str
    type: str
    calls: tuple[int, ...]
    output_shape: tuple[int, ...] | None
    module: Module | None = None


class Watched(list):
    """(name, module, first call, end of its calls, output shape) of every leaf that was called, in the order of entering."""


@contextlib.contextmanager
def watch(model: Module) -> Iterator[Watched]:
    """Note every call of a leaf of ``model`` in the block, in which exactly one trace is to be made."""
    seen, count, inside = Watched(), [0], []
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]

    def before(module, args):
        inside.append(count[0])

    def after(name):
        def hook(module, args, output):
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            seen.append((name, module, inside.pop(), count[0], tuple(first.shape) if isinstance(first, Tensor) else None))

        return hook

    def counting(op, args, options, proceed):
        count[0] += 1
        return proceed(args, options)

    handles = [module.register_forward_pre_hook(before) for _, module in leaves]
    handles += [module.register_forward_hook(after(name)) for name, module in leaves]
    try:
        with intercept(counting):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def of_trace(trace: Trace, watched: Watched | None = None) -> list[Visit]:
    """The visits of a trace in order, with the operations outside of the leaves between them; relabelling ones are left out."""
    leaves = {name for name, module in trace.modules.items() if not list(module.children())}
    entered = _guessed(trace, leaves) if watched is None else list(watched)
    visits = [((start, place), Visit(name, type(module).__name__, tuple(range(start, end)), shape, module))
              for place, (name, module, start, end, shape) in enumerate(entered)]
    covered = {index for _, visit in visits for index in visit.calls}
    for call in trace.calls[: _end(trace)]:
        if call.index not in covered and call.op not in RELABELLING:
            visits.append(((call.index, len(entered)), Visit(call.layer, call.op, (call.index,), call.outputs[0][0] if call.outputs else None)))
    return [visit for _, visit in sorted(visits, key=lambda pair: pair[0])]


def _end(trace):
    """Without the sum of the largest logits, which a backward pass without a target starts from."""
    tail = [(call.op, call.layer) for call in trace.calls[-2:]]
    return len(trace.calls) - 2 if trace.loss is None and tail == [("max", ""), ("Sum", "")] else len(trace.calls)


def _guessed(trace, leaves):
    """As :func:`watch` would have noted it, if no layer is called twice in a row with nothing in between, and idle ones pass their input on."""
    groups: list[list] = []
    for call in trace.calls:
        if call.layer in leaves:
            last = groups[-1] if groups else None
            if last and last[0] == call.layer and last[2] == call.index and not _again(trace.calls[last[1] : last[2]], call):
                last[2] = call.index + 1
            else:
                groups.append([call.layer, call.index, call.index + 1])
    worked = {name for name, _, _ in groups}
    entered, waiting = [], []
    following = iter(groups)
    upcoming = next(following, None)
    for name in [n for n in trace.modules if n in leaves]:  # in the order of their first call
        if name not in worked:
            waiting.append(name)
            continue
        while upcoming is not None and upcoming[0] != name:
            entered.append(_noted(trace, upcoming))
            upcoming = next(following, None)
        entered += [_idle(trace, idle, upcoming[1]) for idle in waiting]
        waiting = []
        entered.append(_noted(trace, upcoming))
        upcoming = next(following, None)
    while upcoming is not None:
        entered.append(_noted(trace, upcoming))
        upcoming = next(following, None)
    return entered + [_idle(trace, idle, entered[-1][3] if entered else 0) for idle in waiting]


def _again(calls, call):
    """Whether the layer has begun anew: an operation with the same weights as one of ``calls``."""
    own = {source.name for source in call.sources if source.name not in ("", "input", "target")}
    return any(own and own <= {source.name for source in earlier.sources} and earlier.op == call.op for earlier in calls)


def _noted(trace, group):
    name, start, end = group
    return name, trace.modules[name], start, end, trace.calls[end - 1].outputs[0][0]


def _idle(trace, name, place):
    shape = trace.calls[place - 1].outputs[0][0] if place else None
    return name, trace.modules[name], place, place, shape
