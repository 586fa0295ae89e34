"""Which layers a page shows closely: one of each kind, and of a deep net those at the ends of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from .trace import Trace

KINDS = ("conv2d", "batch_norm", "relu", "max_pool2d", "dropout", "linear")
MAPPED = 6  # layers whose maps are shown


def to_explain(trace: Trace) -> list[str]:
    """Layers to work out by the numbers: the first convolution, the first of each other kind, the last linear layer, and the loss."""
    from .explain import LOSS, explained

    known, found = set(explained()), []
    for kind in KINDS:
        layers = [call.layer for call in trace.calls if call.op == kind and call.layer]
        if kind in known and layers:
            found += [layers[0]] if kind != "linear" else [layers[-1]]
    if any(call.op == "cross_entropy" for call in trace.calls):
        found.append(LOSS)
    return list(dict.fromkeys(found))


def to_map(trace: Trace) -> list[str]:
    """Layers to show the maps of: what goes into each pooling, at most :data:`MAPPED`, the first and the last among them."""
    plane = [call for call in trace.calls if call.layer and len(call.outputs[0][0]) == 4 and call.outputs[0][0][2] > 1]
    ends = [plane[i - 1].layer for i, call in enumerate(plane) if i and "pool" in call.op and "adaptive" not in call.op]
    ends = list(dict.fromkeys([*ends, *([plane[-1].layer] if plane and not ends else [])]))
    return spread(ends, MAPPED)


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of them, evenly, with both ends."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
