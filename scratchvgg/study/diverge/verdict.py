"""The conclusion of a comparison, in words: rounding, or a bug, and where."""

from __future__ import annotations

import math

from ...conv.errors import unit_roundoff

SAYS = {"output": "its output", "running_mean": "its running mean", "running_var": "its running variance", "grad_input": "the gradient of its input",
        "weight": "the gradient of its weight", "bias": "the gradient of its bias"}


def words(it) -> list[str]:
    """Sentences about a :class:`~scratchvgg.study.diverge.result.Divergence`."""
    lines = []
    weighted = [layer for layer in it.layers if "weight" in layer.own or "weight" in layer.whole]
    other = [layer for layer in weighted if any(" differs: by " in note for note in layer.notes)]
    if len(other) > max(2, len(weighted) // 2):
        lines.append(f"The weights differ in {len(other)} of {len(weighted)} layers that have any: what follows compares two sets of weights, not "
                     "two implementations.")
    for forward in (True, False) if it.backward else (True,):
        layers = [layer for layer in (it.layers if forward else it.layers[::-1]) if layer.departing(forward)]
        if layers:
            lines += _departure(layers, forward)
    if it.agrees:
        layer, name, side, share = _nearest(it)
        both = "forward and backward" if it.backward else "forward"
        lines.append(f"Rounding. Given the same numbers, no layer of either side errs by more than rounding explains, {both}; nearest to the limit "
                     f"comes {side} in {layer.name} ({name}), with {_percent(share)} of it.")
    else:
        wrong = {layer.name for layer in it.layers if layer.departing(True) or layer.departing(False)}
        rest = len(it.layers) - len(wrong)
        if rest:
            lines.append(f"{f'The other {rest} layers are' if rest > 1 else 'The other layer is'} right to rounding on both sides, given the same "
                         "numbers.")
    lines += _convolutions(it) + _uneven(it)
    told = {layer.name for layer in it.layers for forward in (True, False) if layer.departing(forward)}
    silent = [layer for layer in it.layers if layer.notes and layer.name not in told]
    if silent:
        lines.append("Differences that can be read off, though no number departs for them: "
                     + " ".join(f"{layer.name}: {note}." for layer in silent[:6] for note in layer.notes))
    return lines + _whole(it)


def _departure(layers, forward) -> list[str]:
    """About the first layer that departs, and the others."""
    first = layers[0]
    found = first.departing(forward)
    sides = sorted({side for _, own in found for side in own.departs})
    pass_ = "forward" if forward else "backward"
    text = f"{' and '.join(sides)} {'depart' if len(sides) > 1 else 'departs'} {pass_} at {first.name} ({first.type}): "
    text += "; ".join(_size(name, own, side) for name, own in found for side in own.departs)
    quantities = [name for name in first.own if (name in ("output", "running_mean", "running_var")) == forward]
    right = [name for name in quantities if name not in dict(found)]
    if right:
        text += f"; {' and '.join(SAYS.get(name, name) for name in right)} {'are' if len(right) > 1 else 'is'} right"
    if not forward and not first.departing(True):
        text += "; its forward pass is right"
    text += "." + "".join(f" {note}." for note in first.notes if forward or not first.departing(True))
    for side in sides:
        used = first.algorithms[side.lower()]
        names = dict.fromkeys(used[w] for w in (("forward",) if forward else ("grad_input", "grad_weight")) if w in used)
        if names:
            text += f" {side}'s algorithm there: {', '.join(names)}."
    others = layers[1:]
    if others:
        text += f" Then also at {', '.join(layer.name for layer in others[:6])}{f' and {len(others) - 6} more' if len(others) > 6 else ''}."
    return [text]


def _size(name, own, side) -> str:
    error, allowed, other = ((own.gap.error_a, own.allowed_a, own.gap.error_b) if side == "A" else (own.gap.error_b, own.allowed_b, own.gap.error_a))
    what = SAYS.get(name, f"the gradient of its {name}")
    if math.isinf(error):
        return f"{what} on {side} has NaN or Inf where the truth has numbers"
    times = f"{error / allowed:,.0f} times what rounding explains" if allowed and error < 1e6 * allowed else "far beyond rounding"
    return f"{what} on {side} errs by {error:.1e}, {times} (the other side: {other:.1e})"


def _convolutions(it) -> list[str]:
    """How the sides' convolutions compare, each by itself."""
    every = [(own.gap.error_a, own.gap.error_b, layer.name, name) for layer in it.layers if layer.type == "Conv2d"
             for name, own in layer.own.items() if not own.departs and name != "bias"]
    if not every:
        return []
    most = [max(entry[side] for entry in every) for side in (0, 1)]
    text = f"By themselves convolutions err by up to {most[0]:.1e} on A and {most[1]:.1e} on B"
    worse = max(every, key=lambda entry: entry[1] / entry[0] if entry[0] and most[1] >= most[0] else entry[0] / (entry[1] or math.inf))
    more, less = (worse[1], worse[0]) if most[1] >= most[0] else (worse[0], worse[1])
    if less and more > 2 * less:
        text += f"; {'B' if most[1] >= most[0] else 'A'} errs {more / less:.0f} times more in {worse[2]} ({SAYS[worse[3]]})"
    return [text + "."]


UNEVEN = 30  # times another side's error in the same type: within a bound, and worth a look


def _uneven(it) -> list[str]:
    """About layers where one side errs far more than the other, in the same type, although both stay within their bounds."""
    if it.dtypes[0] != it.dtypes[1]:
        return []
    found = []
    for layer in it.layers:
        for name, own in layer.own.items():
            errors = own.gap.error_a, own.gap.error_b
            floor = max(min(errors), unit_roundoff(it.dtypes[0]))
            if not own.departs and name != "bias" and max(errors) > UNEVEN * floor:  # one side may add biases' gradients up in float64
                found.append((max(errors) / floor, layer, name, "AB"[errors[1] > errors[0]], max(errors)))
    if not found:
        return []
    times, layer, name, side, error = max(found, key=lambda item: item[0])
    count = len({layer.name for _, layer, *_ in found})
    return [f"Worth a look: {side} stays within its bound, but in {count} layer{'s' * (count > 1)} one side errs more than {UNEVEN} times as "
            f"much as the other; most in {layer.name}: {SAYS.get(name, name)} by {error:.1e}, {times:.0f} times."]


def _nearest(it):
    """(layer, quantity, side, share) of the largest share of what is allowed."""
    every = [(share, layer, name, side) for layer in it.layers for name, own in layer.own.items()
             for share, side in zip(own.shares, "AB", strict=True)]
    share, layer, name, side = max(every, key=lambda item: item[0])
    return layer, name, side, share


def _percent(share) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _whole(it) -> list[str]:
    """About the whole net: logits, gradients, decisions."""
    logits = it.layers[-2].whole["output"]
    lines = [f"Whole net: the outputs of A and B differ by {logits.difference:.1e} of the largest; from the truth A is {logits.error_a:.1e} off, B "
             f"{logits.error_b:.1e}."]
    if not it.backward:
        return lines
    free = _largest(it, "whole")
    flips = {key: sum(layer.flips.get(key, 0) for layer in it.layers) for key in ("a", "b", "between", "of")}
    text = f"Gradients differ by up to {free[0]:.1e} ({free[1]}, {free[2]})"
    if flips["a"] or flips["b"]:
        text += (f": {flips['a']:,} of A's and {flips['b']:,} of B's {flips['of']:,} ReLU and pool decisions are not the truth's, "
                 f"{flips['between']:,} differ between them.")
    else:
        text += f"; all {flips['of']:,} ReLU and pool decisions are the truth's." if flips["of"] else "."
    if flips["a"] or flips["b"]:
        frozen = _largest(it, "frozen")
        if frozen is None:
            text += " Compare with frozen decisions to see what of it is rounding."
        elif it.agrees:
            text += f" With the truth's decisions on both sides {frozen[0]:.1e} remains at most ({frozen[1]}, {frozen[2]}): "
            text += "the rest is decisions that flip on rounding, not a bug." if frozen[0] < free[0] / 2 else "the flips hardly matter."
        else:
            text += f" With the truth's decisions on both sides up to {frozen[0]:.1e} remains ({frozen[1]}, {frozen[2]})."
    return [*lines, text]


def _largest(it, which):
    """(difference, layer, quantity) of the gradients that differ most."""
    every = [(gap.difference, layer.name, SAYS.get(name, name).replace("its ", ""))
             for layer in it.layers for name, gap in getattr(layer, which).items()
             if name not in ("output", "running_mean", "running_var")]
    return max(every, key=lambda item: item[0], default=None)
