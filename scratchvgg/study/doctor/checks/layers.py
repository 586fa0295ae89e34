"""The signal on its way forward and the gradient on its way back: dead layers, answers that do not depend on the image, gradients that fade."""

from __future__ import annotations

import math

from .. import signal
from ..case import Case
from ..findings import Finding
from ..registry import Skip, check

DEAD_SHARE = 0.5  # of a layer's channels
_KAIMING = "Kaiming initialisation (leave out --init-std; sv.nn.init.kaiming_normal_(weight, mode='fan_out'), biases 0)"


@check("dead layers", order=30)
def dead(case: Case):
    """ReLUs whose output is zero everywhere, or in many channels."""
    _usable(case)
    relus = signal.relus(case.now)
    if not relus:
        return
    gone = signal.dead(case.now)
    worst = max(relus, key=lambda layer: layer["activation"]["dead_channels"])
    share = worst["activation"]["dead_channels"]
    numbers = {"dead": gone, "worst": worst["name"], "dead_channels": share}
    if gone:
        when, what = _since(case)
        yield Finding("dead layers", "bad", f"Dead: {gone[0]} is zero for every image{_sitting(case)}",
                      f"All outputs of {len(gone)} of {len(relus)} ReLUs are 0 for all {len(case.y)} images, first those of {gone[0]}. Behind it "
                      f"every image looks the same, and no gradient comes back through it.{when}", what, 88, numbers)
    elif share > DEAD_SHARE:
        yield Finding("dead layers", "info" if case.learned else "warn", f"{100 * share:.0f} % of the channels of {worst['name']} are dead",
                      f"They are 0 for all {len(case.y)} images of the batch; healthy is under {100 * DEAD_SHARE:.0f} % in every layer.",
                      "" if case.learned else f"a smaller learning rate from the start; {_KAIMING}; batch norm", 60 if not case.learned else 25,
                      numbers)
    else:
        yield Finding("dead layers", "good", "No dead layers", f"at most {100 * share:.0f} % dead channels ({worst['name']})", "", 50, numbers)


@check("same answer", order=31)
def same_answer(case: Case):
    """Whether the logits depend on the image at all, and if not, where the signal is lost."""
    _usable(case)
    now = case.now
    if math.isnan(now.variation):
        raise Skip("the batch has one image" if len(now.logits) < 2 else "the net's answers are not finite")
    if signal.dead(now):
        return  # told by "dead layers"
    fading, constant = signal.fading(now), signal.constant(now)
    numbers = {"variation": now.variation, "fading": fading and fading[0]}
    if not constant and (not signal.faded(now) or case.learned):
        yield Finding("same answer", "good", "Answers depend on the image",
                      f"logits vary by {100 * now.variation:.2g} % of their size over the batch",
                      "", 50, numbers)
        return
    when, what = _since(case)
    shrinks = _shrinks(fading) if signal.faded(now) else ""
    varies = f"Over {len(case.y)} different images the {case.classes} logits vary by {now.variation:.1e} of their size." if constant else ""
    title = "The signal fades to nothing in the depth" if shrinks else "Every image gets the same answer"
    yield Finding("same answer", "bad", f"{title}{_sitting(case)}", " ".join(filter(None, (shrinks, varies))) + when, what, 87, numbers)


@check("gradients", order=32)
def gradients(case: Case):
    """How large the gradient is at the first layer's output beside the last one's."""
    _usable(case)
    now, rows = case.now, signal.gradients(case.now)
    if len(rows) < 2:
        raise Skip("fewer than two layers got a gradient")
    if signal.dead(now) or signal.constant(now) or signal.faded(now):
        raise Skip("no signal passes, so none comes back")
    ratio = signal.return_ratio(now)
    (first, at_first), (last, at_last) = rows[0], rows[-1]
    numbers = {"first": first, "last": last, "ratio": ratio, "layers": dict(rows)}
    said = f"the 2-norm at {first} is {ratio:.2g} of that at {last} ({at_first:.2g} beside {at_last:.2g})"
    severity = "warn" if case.learned else "bad"
    if math.isnan(ratio):
        if not math.isfinite(now.loss):
            raise Skip("the loss is not finite")
        yield Finding("gradients", severity, "No gradient comes back", f"It is 0 at the output of {last} already, with a loss of {now.loss:.3g}.",
                      "a saturated or detached output; begin again with a smaller learning rate", 78, numbers)
        return
    if ratio < signal.VANISHED:
        yield Finding("gradients", severity, "The gradient vanishes on its way to the first layers", f"{said[0].upper()}{said[1:]}.",
                      f"{'' if case.norms else 'batch norm; '}{_KAIMING}", 78, numbers)
    elif (growth := signal.explosion(now)) > signal.EXPLODED:
        yield Finding("gradients", severity, "The gradient explodes on its way to the first layers",
                      f"From the last convolution to the first it grows by {growth:.1e} (2-norms at their outputs).",
                      f"--clip-norm 1; {'' if case.norms else 'batch norm; '}{_KAIMING}", 78, numbers)
    else:
        yield Finding("gradients", "good", "Gradients reach the first layer", said, "", 50, numbers)


@check("tiled features", order=33)
def tiled(case: Case):
    """A head made for larger images: adaptive pooling that repeats what it gets."""
    _usable(case)
    for name, before, after in case.now.tiled:
        yield Finding("tiled features", "info" if case.learned else "warn",
                      f"{name} repeats a {before}×{before} map {after**2 // before**2} times",
                      f"Images of {'×'.join(map(str, case.x.shape[2:]))} leave {before}×{before} features; the head is made for {after}×{after}: "
                      "its first linear layer sees each of them many times.",
                      "a net for small images: --model cifar_vgg or fast_vgg; or larger images", 55,
                      {"layer": name, "before": before, "after": after})


def _usable(case: Case) -> None:
    if case.broken_input:
        raise Skip("images or labels are broken")


def _sitting(case: Case) -> str:
    """``: it sits at 2.303 = ln 10, without batch norm``, as far as that is so."""
    sits = case.run is not None and case.run.record.sits_at(case.level)
    at = f": it sits at {case.level_text}" if sits or abs(case.now.loss - case.level) < 0.02 * case.level else ""
    return at if case.norms else f"{at}, and there is no batch norm"


def _shrinks(fading) -> str:
    return f"From {fading[1]} to {fading[2]} the outputs shrink by {1 / max(fading[0], 1e-30):.1e}."


def _since(case: Case) -> tuple[str, str]:
    """(sentences that say whether the net began like that, what to try)."""
    initial = _KAIMING if case.norms else f"batch norm (--model-options batch_norm=true, or vgg16_bn instead of vgg16); without it: {_KAIMING}"
    if case.run is None or case.run.steps == 0:
        return "", f"{initial}; or, if these weights were trained, a smaller learning rate"
    try:
        before = case.beginning
    except Skip:
        return "", f"{initial}; a smaller learning rate; a longer warm-up"
    if signal.blocked(before):
        how = f" {_shrinks(signal.fading(before))}" if signal.faded(before) and not signal.faded(case.now) else ""
        return f" Already at step 0 no signal passed: the initialisation is to blame.{how}", initial
    return (f" At step 0 it was not so: training did it, at a learning rate of up to {case.rate:.3g}.",
            "begin again, for dead units do not come back, with a smaller learning rate, a longer warm-up (--warmup 0.3) or --clip-norm 1"
            f"{'' if case.norms else '; batch norm (--model-options batch_norm=true)'}")
