"""Verdicts in words: what the numbers of a net's layers mean, against thresholds that are named here with their reasons.

The numbers are those of a record of training, or of one forward and backward pass (:mod:`scratchvgg.train.layer_statistics`): a list of layers in the
order of execution, each ``{"name", "type", "activation", "gradient", "weight", "weight_gradient", "update", "update_ratio"}``; entries that are
missing or None are left out of the judgement.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from dataclasses import asdict, dataclass, field

SEVERITIES = ("bad", "warn", "good")

VANISHING = 1e-3
"""Norm of the gradient at the first layer's output, divided by that at the last one's: below this it vanishes. Kaiming's initialisation is made so
that it neither grows nor shrinks (He et al., 2015, section 2.2, equation 14). A factor of 0.65 in each of sixteen layers makes 10⁻³: far from
chance, and the first layer then learns a thousand times more slowly."""

LOST = 1e-6
"""The same ratio where nothing arrives: float32 has 24 bits, 6 · 10⁻⁸ of a weight is lost in adding to it, and with a learning rate of 0.1 …
0.01 that is reached here."""

EXPLODING = 1e3
"""Where that ratio is above this, gradients explode: the mirror image of :data:`VANISHING`."""

GRADIENT_NORM = 1e3
"""2-norm of all gradients together (mean loss of a batch) that is too large: the usual clipping at 1 to 10 (Pascanu et al., 2013) would cut such a
step a hundred times."""

RECTIFIERS = ("ReLU", "ReLU6", "GELU", "SiLU")
"""Types of layers whose channels can die: they send what is far enough below 0 to 0."""

WEIGHTED = ("Conv2d", "ConvTranspose2d", "Linear")
"""Types of layers whose signal, gradient and updates are judged."""

DEAD_WARN, DEAD_BAD = 0.4, 0.9
"""Share of a ReLU layer's channels that are zero on a whole batch. cs231n, "Commonly used activation functions": up to 40 % of a net may be dead when
the learning rate is too high. From nine tenths on a layer is as good as cut."""

DEAD_VALUES = 32
"""Values of a channel (images × places) that it takes to call it dead: of fewer, a living unit behind a ReLU is often zero in all by chance."""

SATURATED = 0.5
"""Share of a bounded function's values (Sigmoid, Tanh) within a hundredth of a bound, where its derivative is less than a twenty-fifth of its
largest: Glorot and Bengio, 2010, section 3, see layers stop to learn there."""

UPDATE_LOW, UPDATE_HIGH, UPDATE_FATAL = 1e-4, 3e-2, 1e-1
"""‖Δw‖ / ‖w‖ of a step, the median of a training. cs231n, "Ratio of weights:updates": about 10⁻³, much more is too fast, much less too slow. A
tenth of that is called too little here, and thirty times too much: the recipe ``small``, which learns fast and well with batch norm, has 10 to
25 times (measured on CIFAR-10). Weight decay λ alone makes λ · lr / (1 − momentum), 5 · 10⁻⁵ with the usual 5 · 10⁻⁴, 0.01 and 0.9: a net that
gets no gradient stands there. With 10⁻¹ ten steps can undo all that the weights have learned."""

CHANCE = 0.02
"""Relative distance of the loss from ln(classes) within which a net only guesses: all classes equally likely gives exactly ln(classes), 2.303 for
ten. 2 % below it is the loss of a net that gives the right class 1.05 times the probability of chance."""

SAME_OUTPUT = 1e-3
"""Standard deviation of a logit from image to image (root mean square over the classes): below this probabilities differ by about a thousandth of
themselves, and the answer does not depend on the image."""

SIGNAL_LOST, SIGNAL_BLOWN = 1e-3, 1e3
"""Standard deviation of a weighted layer's activations, divided by the first one's; reasons as for :data:`VANISHING`."""

DIVERGED = 2.0
"""Loss in multiples of ln(classes): a net that does twice worse than guessing has been thrown far away by its steps."""

LEARNS = 0.9
"""Loss at the end in multiples of ln(classes), below which a net has learned something."""

END = 0.2
"""Share of the records at the end that is judged (at least three)."""


@dataclass(frozen=True)
class Verdict:
    """One judgement.

    Attributes:
        kind: ``non_finite``, ``diverged``, ``at_chance``, ``learning``, ``same_output``, ``signal``, ``gradient``, ``gradient_norm``, ``dead``,
            ``saturated`` or ``update``.
        layer: the layer it is about, empty for the whole net.
        severity: ``"good"``, ``"warn"`` or ``"bad"``.
        text: a sentence or two with the numbers.
        evidence: the numbers by name.
        threshold: what they were compared with, or None.
    """

    kind: str
    layer: str
    severity: str
    text: str
    evidence: dict = field(default_factory=dict)
    threshold: float | None = None

    def to_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def text_of(verdicts: list[Verdict], width: int = 150) -> str:
    """Lines for a terminal."""
    return "\n".join(textwrap.fill(f"{verdict.severity:4s}  {verdict.text}", width, subsequent_indent=" " * 6) for verdict in verdicts)


def ordered(verdicts: list[Verdict]) -> list[Verdict]:
    """The worst first; within a severity as they came."""
    return sorted(verdicts, key=lambda verdict: SEVERITIES.index(verdict.severity))


def of_record(about: dict, records: list[dict]) -> list[Verdict]:
    """All verdicts on a recorded training, the worst first: on any NaN, on its loss, on layers at its end (the last fifth of the records), and on the
    updates all along (a learning rate may well go to 0 at the end).

    Args:
        about, records: what :func:`scratchvgg.train.record.read` gives.
    """
    if not records:
        return []
    whole = [record for record in records if record["end"] is None] or records
    end = whole[-max(3, round(END * len(whole))) :]
    found = [*non_finite(records[-1]["layers"], records[-1]["end"], records[-1]["step"]), *on_loss(whole, about["classes"]),
             *(verdict for judge in _OF_PASS for verdict in judge(median_layers(end))), *updates(median_layers(whole))]
    norms = [record["grad_norm"] for record in end if record["grad_norm"] is not None]
    return ordered(found + ([gradient_norm(statistics.median(norms))] if norms else []))


def of_layers(layers: list[dict]) -> list[Verdict]:
    """The verdicts on one pass (or a median of several): on the signal, the gradients, dead and saturated layers, the output, the updates."""
    return [verdict for judge in (*_OF_PASS, updates) for verdict in judge(layers)]


def median_layers(records: list[dict]) -> list[dict]:
    """One list of layers whose every number is the median over the records; histograms are left out."""
    names = [layer["name"] for layer in records[-1]["layers"]]
    by_name = [{layer["name"]: layer for layer in record["layers"]} for record in records]
    return [_median([layers[name] for layers in by_name if name in layers]) for name in names]


def _median(values: list):
    present = [value for value in values if value is not None]
    if not present:
        return None
    if isinstance(present[0], dict):
        return {key: _median([value.get(key) for value in present]) for key in present[0] if key != "histogram"}
    return present[0] if isinstance(present[0], (str, list)) else statistics.median(present)


# ---- one judgement each ----------------------------------------------------------------------------------------------


def non_finite(layers: list[dict], reason: str | None = None, step: int | None = None) -> list[Verdict]:
    """The first layer, in the order of execution, whose activation holds NaN or Inf; else, from the end, the first gradient that does."""
    at = "" if step is None else f" at step {step}"
    why = "" if reason is None else f" Training ended there: {reason}."
    for what, order in (("activation", layers), ("gradient", layers[::-1])):
        for layer in order:
            share = _of(layer, what, "finite")
            if share is not None and share < 1:
                return [Verdict("non_finite", layer["name"], "bad", f"{layer['name']} ({layer['type']}) is the first whose {what} is not finite{at}: "
                                f"{1 - share:.1%} of the values are NaN or infinite.{why}", {"not_finite": 1 - share, "step": step}, 0.0)]
    return [] if reason is None else [Verdict("non_finite", "", "bad", f"Training ended{at}: {reason}.", {"step": step})]


def on_loss(records: list[dict], classes: int) -> list[Verdict]:
    """What the losses at the end say, beside ln(classes): ``diverged``, ``at_chance`` or ``learning``."""
    losses = [record["loss"] for record in records if record["loss"] is not None]
    if not losses:
        return []
    guess, end = math.log(classes), statistics.median(losses[-max(3, round(END * len(losses))) :])
    evidence = {"first_loss": losses[0], "loss": end, "ln_classes": guess, "ratio": end / guess}
    course = f"The loss went from {losses[0]:.4g} to {end:.4g}"
    if end >= DIVERGED * guess:
        return [Verdict("diverged", "", "bad", f"{course}, {end / guess:.3g} times ln({classes}) = {guess:.4g}, what a net that only guesses has: "
                        "the steps have thrown the weights far away.", evidence, DIVERGED)]
    if abs(end / guess - 1) <= CHANCE:
        return [Verdict("at_chance", "", "bad", f"The loss is {end:.4f} at the end, within {abs(end / guess - 1):.2%} of "
                        f"ln({classes}) = {guess:.4f}: the net gives every class the same probability and has learned nothing.", evidence, CHANCE)]
    if end < LEARNS * guess:
        return [Verdict("learning", "", "good", f"{course}; guessing has ln({classes}) = {guess:.4g}. It has learned.", evidence, LEARNS)]
    return [Verdict("learning", "", "warn", f"{course}, not far from the ln({classes}) = {guess:.4g} of guessing: it has learned little yet.",
                    evidence, LEARNS)]


def signal(layers: list[dict]) -> list[Verdict]:
    """Whether activations keep their size after the first weighted layer: the layers with the least and the greatest deviation are judged."""
    known = [layer for layer in _weighted(layers) if _of(layer, "activation", "std") is not None]
    if len(known) < 2 or not known[0]["activation"]["std"]:
        return []
    first = known[0]["activation"]["std"]
    ratios = {layer["name"]: layer["activation"]["std"] / first for layer in known[1:]}
    least, most = min(ratios, key=ratios.get), max(ratios, key=ratios.get)
    evidence = {"first": first, "least": ratios[least], "most": ratios[most]}
    course = f"The activations' standard deviation is {first:.3g} at {known[0]['name']}, "
    if ratios[least] < SIGNAL_LOST:
        return [Verdict("signal", least, "bad", f"{course}and {first * ratios[least]:.3g} at {least}: the image's signal is lost on the way.",
                        evidence, SIGNAL_LOST)]
    if ratios[most] > SIGNAL_BLOWN:
        return [Verdict("signal", most, "bad", f"{course}and {first * ratios[most]:.3g} at {most}: the signal grows from layer to layer.",
                        evidence, SIGNAL_BLOWN)]
    return [Verdict("signal", "", "good", f"{course}in later layers {first * ratios[least]:.3g} to {first * ratios[most]:.3g}: it gets through.",
                    evidence, SIGNAL_LOST)]


def gradient(layers: list[dict]) -> list[Verdict]:
    """Whether the gradient keeps its size on its way from the last weighted layer to the first."""
    first, last, ratio = _ends(layers, "gradient", "norm")
    if ratio is None:
        return []
    evidence = {"first": first["gradient"]["norm"], "last": last["gradient"]["norm"], "ratio": ratio}
    course = f"The gradient's norm is {evidence['last']:.3g} at {last['name']} and {evidence['first']:.3g} at {first['name']}, a ratio of {ratio:.2g}"
    if ratio < VANISHING:
        severity, end = ("bad", "nothing arrives at the first layers") if ratio < LOST else ("warn", "the first layers learn far more slowly")
        return [Verdict("gradient", first["name"], severity, f"{course}: it vanishes, {end}.", evidence, LOST if ratio < LOST else VANISHING)]
    if ratio > EXPLODING:
        return [Verdict("gradient", first["name"], "bad", f"{course}: it explodes on the way back.", evidence, EXPLODING)]
    return [Verdict("gradient", "", "good", f"{course}: it reaches the first layer.", evidence, VANISHING)]


def gradient_norm(norm: float) -> Verdict:
    """On the 2-norm of all parameters' gradients together."""
    text, large = f"The gradient of all parameters has a norm of {norm:.3g}", norm > GRADIENT_NORM
    return Verdict("gradient_norm", "", "bad" if large else "good", text + (": it explodes." if large else "."), {"norm": norm}, GRADIENT_NORM)


def dead(layers: list[dict]) -> list[Verdict]:
    """Layers of :data:`RECTIFIERS` whose channels are zero on the whole batch (of :data:`DEAD_VALUES` values or more each)."""
    relus = [layer for layer in layers if layer["type"] in RECTIFIERS and _of(layer, "activation", "dead_channels") is not None
             and layer["activation"].get("count", DEAD_VALUES) >= DEAD_VALUES * layer["activation"].get("channels", 1)]
    if not relus:
        return []
    share = lambda layer: layer["activation"]["dead_channels"]
    worst, found = max(relus, key=share), []
    for severity, low, high, end in (("bad", DEAD_BAD, math.inf, ", as good as cut"), ("warn", DEAD_WARN, DEAD_BAD, "")):
        hit = [layer for layer in relus if low <= share(layer) < high]
        if hit:
            most, names = max(hit, key=share), [layer["name"] for layer in hit]
            text = (f"{_named(names)}: {_range([share(layer) for layer in hit], '.0%')} of the channels are zero for every image of the batch{end}. "
                    "What is dead gets no gradient.")
            found.append(Verdict("dead", most["name"], severity, text, {"layers": {layer["name"]: share(layer) for layer in hit},
                                                                         "zeros": most["activation"]["zeros"]}, low))
    if not found:
        text = "No channel is dead." if share(worst) == 0 else f"The most dead channels, {share(worst):.0%}, are in {worst['name']}."
        found.append(Verdict("dead", "", "good", text, {"dead_channels": share(worst)}, DEAD_WARN))
    return found


def saturated(layers: list[dict]) -> list[Verdict]:
    """Layers with bounded functions whose values stick to the bounds."""
    shares = [(layer, _of(layer, "activation", "saturated")) for layer in layers]
    return [Verdict("saturated", layer["name"], "warn", f"{layer['name']} ({layer['type']}): {share:.0%} of the values stand at a bound, where "
                    "hardly any gradient passes.", {"saturated": share}, SATURATED)
            for layer, share in shares if share is not None and share >= SATURATED]


def same_output(layers: list[dict]) -> list[Verdict]:
    """Whether the last layer says the same to every image."""
    spread = _of(layers[-1], "activation", "image_std") if layers else None
    if spread is None or spread >= SAME_OUTPUT:
        return []
    return [Verdict("same_output", layers[-1]["name"], "bad", f"The output hardly depends on the image: a logit of {layers[-1]['name']} varies by "
                    f"{spread:.2g} from one to another.", {"image_std": spread}, SAME_OUTPUT)]


def updates(layers: list[dict]) -> list[Verdict]:
    """‖Δw‖ / ‖w‖ of convolutions and linear layers (a batch norm's scale is not judged)."""
    ratios = {layer["name"]: layer["update_ratio"] for layer in _weighted(layers) if layer.get("update_ratio") is not None}
    if not ratios:
        return []
    found = []
    for severity, low, high, end in (("bad", UPDATE_FATAL, math.inf, "far too much"), ("warn", UPDATE_HIGH, UPDATE_FATAL, "a lot"),
                                     ("warn", -math.inf, UPDATE_LOW, "too little to learn")):
        hit = {name: ratio for name, ratio in ratios.items() if low < ratio <= high}
        if hit:
            worst = (min if low < 0 else max)(hit, key=hit.get)
            text = f"{_named(list(hit))}: a step changes the weights by {_range(hit.values(), '.2g')} of their norm (usual: about 0.001), {end}."
            found.append(Verdict("update", worst, severity, text, {"layers": hit}, high if low < 0 else low))
    if not found:
        least, most = min(ratios.values()), max(ratios.values())
        text = f"A step changes the weights by {_range(ratios.values(), '.2g')} of their norm (usual: about 0.001)."
        found.append(Verdict("update", "", "good", text, {"least": least, "most": most}, UPDATE_HIGH))
    return found


def _named(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} layers from {names[0]} to {names[-1]}"


def _range(values, style: str) -> str:
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def _weighted(layers):
    return [layer for layer in layers if layer["type"] in WEIGHTED]


def _of(layer, what, key):
    return (layer.get(what) or {}).get(key)


def _ends(layers, what, key):
    """(first, last weighted layer that has the number, its ratio, first to last); Nones without."""
    known = [layer for layer in _weighted(layers) if _of(layer, what, key) is not None]
    if len(known) < 2:
        return None, None, None
    first, last = known[0], known[-1]
    return first, last, first[what][key] / last[what][key] if last[what][key] else None


_OF_PASS = signal, gradient, dead, saturated, same_output
