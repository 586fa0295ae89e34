"""The signal on its way forward and the gradient on its way back: dead layers, answers that do not depend on the image, gradients that fade."""

from __future__ import annotations

import math

import numpy as np

from ....nn import BatchNorm2d
from ..case import Case
from ..findings import Finding
from ..probe import Look
from ..registry import Skip, check

CONSTANT = 1e-3  # variation of the logits, below which every image gets the same answer
FADED = 1e-3  # signal of the last convolution or linear layer but one, over that of the first
DEAD_SHARE = 0.5  # of a layer's channels
VANISHED, EXPLODED = 1e-4, 1e4  # gradient at the first layer's output over that at the last layer's, root mean squares


@check("dead layers", order=30)
def dead(case: Case):
    """ReLUs whose output is zero everywhere, or in many channels."""
    _usable(case)
    relus = _relus(case.now)
    if not relus:
        return
    gone = [layer for layer in relus if layer["activation"]["zeros"] == 1]
    worst = max(relus, key=lambda layer: layer["activation"]["dead_channels"])
    share = worst["activation"]["dead_channels"]
    numbers = {"dead": [layer["name"] for layer in gone], "worst": worst["name"], "dead_channels": share}
    if gone:
        when, what = _since(case, lambda before: any(layer["activation"]["zeros"] == 1 for layer in _relus(before)))
        yield Finding("dead layers", "bad", f"Dead: {gone[0]['name']} is zero for every image",
                      f"All outputs of {len(gone)} of {len(relus)} ReLUs are 0 for all {len(case.y)} images, first {gone[0]['name']}. Behind it "
                      f"every image "
                      f"looks the same, and no gradient comes back through it.{when}", what, 84, numbers)
    elif share > DEAD_SHARE:
        yield Finding("dead layers", "warn", f"{100 * share:.0f} % of the channels of {worst['name']} are dead",
                      f"They are 0 for all {len(case.y)} images of the batch (a healthy net has under {100 * DEAD_SHARE:.0f} % in every layer).",
                      "a smaller learning rate from the start; Kaiming initialisation; batch norm" if not case.learned else
                      "nothing, if you are content; fewer channels would do", 60 if not case.learned else 25, numbers)
    else:
        yield Finding("dead layers", "good", "No dead layers", f"at most {100 * share:.0f} % dead channels ({worst['name']})", "", 50, numbers)


@check("same answer", order=31)
def same_answer(case: Case):
    """Whether the logits depend on the image at all, and if not, where the signal is lost."""
    _usable(case)
    now = case.now
    if math.isnan(now.variation):
        raise Skip("the net's answers are not finite")
    faded = _fading(now)
    numbers = {"variation": now.variation, "fading": faded[0] if faded else None}
    sits = 0 if case.run is None else case.run.record.sits_at(case.level)
    if now.variation >= CONSTANT:
        if faded and faded[0] < FADED and not case.learned:
            yield _faint(case, faded, numbers, sits)
        else:
            yield Finding("same answer", "good", "Answers depend on the image", f"logits vary by {100 * now.variation:.2g} % of their size over "
                          f"the batch",
                          "", 50, numbers)
        return
    normed = any(isinstance(module, BatchNorm2d) for module in case.model.modules())
    depth = sum(1 for layer in now.layers if layer["type"] in ("Conv2d", "Linear"))
    where = f" The signal shrinks by {1 / max(faded[0], 1e-30):.1e} from {faded[1]} to {faded[2]}." if faded and faded[0] < FADED else ""
    when, what = _since(case, lambda before: before.variation < CONSTANT or (_fading(before) or (1,))[0] < FADED)
    title = "Every image gets the same answer"
    title += f": it sits at {case.level_text}" if sits or (now.loss is not None and abs(now.loss - case.level) < 0.02 * case.level) else ""
    title += ", and has no batch norm" if not normed and depth > 6 else ""
    yield Finding(
        "same answer", "bad", title,
        f"Over {len(case.y)} different images the {case.classes} logits vary by {now.variation:.1e} of their size"
        f"{f'; the loss has stayed within 3 % of {case.level:.3f} for the last {sits} steps' if sits else ''}.{where}{when}",
        _remedy(normed, what), 87, numbers)


def _faint(case, faded, numbers, sits) -> Finding:
    normed = bool(case.norms)
    when, what = _since(case, lambda before: (_fading(before) or (1,))[0] < FADED)
    title = f"The signal fades to nothing in the depth{f': it sits at {case.level_text}' if sits else ''}"
    title += "" if normed else ", and there is no batch norm"
    return Finding("same answer", "bad", title, f"From {faded[1]} to {faded[2]} the outputs shrink by {1 / max(faded[0], 1e-30):.1e}; the last "
                   f"layer's "
                   f"bias is all that is left of the answer.{f' The loss has stayed at {case.level:.3f} for {sits} steps.' if sits else ''}{when}",
                   _remedy(normed, what), 87, numbers)


def _remedy(normed: bool, what: str) -> str:
    return what if normed else f"batch norm (--model-options batch_norm=true, or vgg16_bn instead of vgg16); without it: {what}"


@check("gradients", order=32)
def gradients(case: Case):
    """How large the gradient is at the first layer's output beside the last one's."""
    _usable(case)
    now = case.now
    rows = [(layer["name"], _rms(layer["gradient"])) for layer in now.layers if layer["type"] in ("Conv2d", "Linear") and layer["gradient"]]
    rows = [(name, size) for name, size in rows if size is not None]
    if len(rows) < 2:
        raise Skip("fewer than two layers got a gradient")
    if any(layer["activation"]["zeros"] == 1 for layer in _relus(now)):
        return  # told by "dead layers"
    (first, at_first), (last, at_last) = rows[0], rows[-1]
    ratio = at_first / at_last if at_last else math.nan
    numbers = {"first": first, "last": last, "ratio": ratio, "layers": dict(rows)}
    # the mean over the batch and over places: of two sizes of map, the larger one's values are smaller; compare the norms too
    norms = [layer["gradient"]["norm"] for layer in now.layers if layer["type"] in ("Conv2d", "Linear") and layer["gradient"]]
    by_norm = norms[0] / norms[-1] if norms[-1] else math.nan
    said = f"the 2-norm at {first} is {by_norm:.2g} of that at {last} ({norms[0]:.2g} beside {norms[-1]:.2g})"
    numbers["norm_ratio"] = by_norm
    severe = not case.learned
    if by_norm < VANISHED or now.gradient_norm == 0:
        yield Finding("gradients", "bad" if severe else "warn", "The gradient vanishes on its way to the first layers",
                      said[0].upper() + said[1:] + ".",
                      "batch norm, or Kaiming initialisation: leave out --init-std; fewer layers without batch norm", 78, numbers)
    elif by_norm > EXPLODED:
        yield Finding("gradients", "bad" if severe else "warn", "The gradient explodes on its way to the first layers",
                      said[0].upper() + said[1:] + ".",
                      "--clip-norm 1; batch norm; a smaller initialisation", 78, numbers)
    else:
        yield Finding("gradients", "good", "Gradients reach the first layer", said, "", 50, numbers)


@check("tiled features", order=33)
def tiled(case: Case):
    """A head made for larger images: adaptive pooling that repeats what it gets."""
    _usable(case)
    for name, before, after in case.now.tiled:
        yield Finding("tiled features", "warn", f"{name} repeats a {before}×{before} map {(after // before) ** 2} times",
                      f"Images of {'×'.join(map(str, case.x.shape[2:]))} leave {before}×{before} features; the head was made for {after}×{after}, "
                      f"so its first "
                      "linear layer has that many copies of each weight's work to do.",
                      "a net for small images: --model cifar_vgg (or fast_vgg); or larger images", 35 if case.learned else 55,
                      {"layer": name, "before": before, "after": after})


def _usable(case: Case) -> None:
    if not case.labels_fit:
        raise Skip("labels have no output")
    if not np.isfinite(case.x.cpu().numpy()).all():
        raise Skip("the images are not finite")


def _relus(seen: Look) -> list[dict]:
    return [layer for layer in seen.layers if layer["type"] in ("ReLU", "ReLU6")]


def _rms(statistics) -> float | None:
    """Root mean square; None if nothing was finite."""
    return None if statistics["norm"] is None else statistics["norm"] / math.sqrt(statistics["count"])


def _fading(seen: Look) -> tuple[float, str, str] | None:
    """(signal of the deepest convolution over that of the first, their names); None with fewer than three, or if one is not finite."""
    rows = [(layer["name"], _rms(layer["activation"])) for layer in seen.layers if layer["type"] == "Conv2d"]
    if len(rows) < 3 or any(size is None for _, size in rows) or not rows[0][1]:
        return None
    return rows[-1][1] / rows[0][1], rows[0][0], rows[-1][0]


def _since(case: Case, ill) -> tuple[str, str]:
    """(a sentence that says whether the net began like that, what to try)."""
    initial = "Kaiming initialisation (leave out --init-std; sv.nn.init.kaiming_normal_(weight, mode='fan_out'), biases 0)"
    if case.run is None or case.run.steps == 0:
        return "", initial + ", or a smaller learning rate if these weights were trained"
    try:
        before = case.beginning
    except Skip:
        return "", f"{initial}; a smaller learning rate; a longer warm-up"
    if ill(before):
        return " It was so from the first step on: the initialisation is to blame.", initial
    return (f" At step 0 it was not so: training did it, at a learning rate of up to {case.rate:.3g}.",
            f"a smaller learning rate (--lr {case.rate / 10:.3g}), a longer warm-up (--warmup 0.3), --clip-norm 1; begin again, dead units do not "
            f"come back")
