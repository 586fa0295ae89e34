"""Which function explains which operation, and how the call that is meant is found in a trace."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import numpy as np

from ..errors import StudyError
from ..trace import Call, Trace

LOSS = "loss"
"""What a request may call the loss, which belongs to no layer."""

_EXPLAINERS: dict[str, Callable] = {}


def explains(*operations: str):
    """Function decorator: this function explains these operations. It takes (trace, layer, …) and keyword arguments of its own."""

    def enter(function):
        _EXPLAINERS.update(dict.fromkeys(operations, function))
        return function

    return enter


def explained() -> list[str]:
    """The operations that can be explained, sorted."""
    return sorted(_EXPLAINERS)


def layer(trace: Trace, name: str, **options):
    """Explain a layer by the numbers of one run of it: picks the explanation by what the layer did.

    Args:
        trace: made with ``arrays=True``; with ``backward=True`` gradients are explained too.
        name: dotted name of the layer, or ``"loss"``.
        options: what the explanation takes (``channel=``, ``row=``, ``column=``, ``sample=``, ``visit=``); those that it has no use for are left out.

    Raises:
        StudyError: for an unknown layer, one that nothing explains, or an option that no explanation has.
    """
    calls = [call for call in calls_of(trace, name) if call.op in _EXPLAINERS]
    if not calls:
        raise StudyError(_nothing(trace, name))
    function = _EXPLAINERS[calls[0].op]
    unknown = [option for option in options if not any(option in _takes(other) for other in _EXPLAINERS.values())]
    if unknown:
        raise StudyError(f"explain: there is no option {unknown[0]!r}")
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are shown, not warned of
        return function(trace, name, **{option: value for option, value in options.items() if option in _takes(function) and value is not None})


def takes(trace: Trace, name: str) -> frozenset[str]:
    """The options that the explanation of this layer has a use for; empty if nothing explains it."""
    return next((_takes(_EXPLAINERS[call.op]) for call in calls_of(trace, name) if call.op in _EXPLAINERS), frozenset())


def _takes(function) -> frozenset[str]:
    code = function.__code__
    return frozenset(code.co_varnames[2 : code.co_argcount + code.co_kwonlyargcount])


def calls_of(trace: Trace, name: str) -> list[Call]:
    """The calls that ``name`` means: those that the layer made itself, or those of the loss.

    Raises:
        StudyError: for an unknown layer; the message lists near names.
    """
    if name == LOSS and LOSS not in trace.modules:
        calls = [call for call in trace.calls if call.op == "cross_entropy"]
        if not calls:
            raise StudyError("layer: the run has no cross-entropy; trace it with a target")
        return calls[-1:]
    try:
        return trace.of_layer(name)
    except KeyError:
        near = difflib.get_close_matches(name, [*trace.modules, LOSS], 3)
        raise StudyError(f"layer: no layer {name!r} took part in the run{'; near: ' + ', '.join(near) if near else ''}") from None


def find(trace: Trace, layer: str, operations: tuple[str, ...], visit: int = 0) -> Call:
    """The call of one of ``operations`` that the layer made, with its arrays.

    Args:
        visit: which one, for a layer that ran several times.

    Raises:
        StudyError: if there is none, or the trace has no arrays.
    """
    calls = [call for call in calls_of(trace, layer) if call.op in operations]
    if not calls:
        raise StudyError(_nothing(trace, layer, operations))
    if not 0 <= visit < len(calls):
        raise StudyError(f"visit: {layer} ran {len(calls)} time{'s' * (len(calls) != 1)}, numbered from 0, got {visit}")
    if not calls[visit].results:
        raise StudyError("trace: the arrays were not kept; trace the run with arrays=True")
    return calls[visit]


def module_of(trace: Trace, call: Call, *kinds: type):
    """The layer that made the call, whose attributes say what the operation was told.

    Raises:
        StudyError: if it is of another kind: a function that was called by hand leaves no word of its stride.
    """
    module = trace.modules.get(call.layer)
    if not isinstance(module, kinds):
        what = type(module).__name__ if module is not None else "no layer"
        raise StudyError(f"layer: {call.layer or LOSS} ({what}) called {call.op} as a function; only that of a layer "
                         f"({', '.join(kind.__name__ for kind in kinds)}) can be explained: make it one")
    return module


def _nothing(trace, name, operations=()) -> str:
    ran = sorted({call.op for call in calls_of(trace, name)})
    module = trace.modules.get(name)
    kind = type(module).__name__ if module is not None else name
    if not ran and kind.startswith("Dropout"):
        return f"layer: {name} did nothing: dropout is off in evaluation (model.train() turns it on), and with p = 0"
    children = [other for other in trace.modules if other.startswith(f"{name}.")] if name else [other for other in trace.modules if other]
    if not ran and children:
        some = f"{', '.join(children[:4])}{', …' if len(children) > 4 else ''}"
        return f"layer: {name} ({kind}) computes nothing itself; choose one of its layers: {some}"
    wanted = f" no {' or '.join(operations)}" if operations else ", which nothing explains" if ran else " nothing"
    return f"layer: {name} ({kind}) ran{' ' + ', '.join(ran) if ran and not operations else ''}{wanted}; explained are {', '.join(explained())}"
