"""Layers that behave differently in training and in evaluation: batch norm and dropout."""

from __future__ import annotations

import math

import numpy as np

from ....array import default_generator, manual_seed
from ....nn import Dropout, Dropout2d
from ..case import Case
from ..findings import Finding
from ..probe import answers
from ..registry import Skip, check

NOTHING_LEFT = 0.95  # dropout: with more a net is not expected to learn
GAP = 0.25  # of accuracy on the same batch, training mode above evaluation mode


@check("batch norm", order=39)
def batch_norm(case: Case):
    """Running statistics that were never updated, batch norms in the wrong mode, batches too small for them."""
    if not case.norms:
        return
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    tracking = {name: norm for name, norm in case.norms.items() if norm.running_mean is not None}
    untouched = [name for name, norm in tracking.items() if not norm.num_batches_tracked.item()]
    found = [*_frozen(case, untouched), *_variance(tracking)]
    small = case.run is not None and case.run.recipe.batch_size < 8
    if small:
        n = case.run.recipe.batch_size
        found.append(Finding("batch norm", "bad" if n == 1 and not case.learned else "warn", f"Batches of {n} are too small for batch norm",
                             f"The statistics of {n} image{'s' * (n > 1)} are mostly noise, and evaluation uses others.",
                             "--batch-size 32 or more, or a net without batch norm", 89 if n == 1 else 40, {"batch_size": n}))
    if not found:
        found = list(_gap(case, tracking, untouched))
    yield from found or [Finding("batch norm", "good", "Batch norms", f"{len(case.norms)} layers, statistics of "
                                 f"{_batches(tracking)} batches")]


def _batches(tracking) -> str:
    counts = sorted({int(norm.num_batches_tracked.item()) for norm in tracking.values()}) or [0]
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def _frozen(case: Case, untouched):
    still = [name for name, norm in _in_training(case).items() if not norm]
    stepped = case.run is not None and case.run.steps > 0
    if untouched and (stepped or (still and set(untouched) & set(still))):
        yield Finding(
            "batch norm", "bad", "Batch norm was in evaluation mode while training: it normalises nothing",
            f"{len(untouched)} of {len(case.norms)} batch norms have seen no batch (num_batches_tracked 0, mean 0, variance 1"
            f"{f' after {case.run.steps} steps' if stepped else ''}), first {untouched[0]}"
            f"{'; they are in evaluation mode while the net is in training mode' if still else ''}.",
            "model.train() before every epoch of training (testing leaves model.eval() behind); no .eval() on batch norms of new weights", 89,
            {"untouched": untouched, "evaluating": still})
    elif still:
        yield Finding("batch norm", "warn", f"{len(still)} of {len(case.norms)} batch norms are held in evaluation mode while the net trains",
                      f"First {still[0]}: their statistics do not follow the weights.",
                      "model.train(); leave it only where a pretrained net is fine-tuned", 48, {"evaluating": still})


def _in_training(case: Case) -> dict[str, bool]:
    """Name of a batch norm → whether it normalises by the batch when the net is put into the mode it is trained in."""
    modes = [(module, module.training) for module in case.model.modules()]
    case.as_trained(case.model)
    found = {name: norm.training for name, norm in case.norms.items()}
    for module, mode in modes:
        module.training = mode
    return found


def _variance(tracking):
    zero = [name for name, norm in tracking.items() if (norm.running_var.cpu().numpy() <= 1e-10).mean() > 0.5 and norm.num_batches_tracked.item()]
    if zero:
        yield Finding("batch norm", "warn", f"The running variance of {zero[0]} is 0",
                      f"In {len(zero)} layers more than half of the channels had no variance in training: what comes in is constant, and "
                      f"evaluation divides by √eps.", "look at the layer before: it is dead, or its weights are 0", 52, {"layers": zero})


def _gap(case: Case, tracking, untouched):
    """Training mode beside evaluation mode, on the same batch."""
    y = case.y.cpu().numpy()
    train, evaluated = case.now, case.evaluated
    a, b = train.accuracy(y), evaluated.accuracy(y)
    losses = train.loss, evaluated.loss
    if losses[1] is None or not all(map(math.isfinite, losses)) or case.fresh:
        return
    said = f"On one batch of training images: loss {losses[0]:.3g} and accuracy {100 * a:.0f} % by the batch's statistics, {losses[1]:.3g} and " \
           f"{100 * b:.0f} % by the running ones"
    numbers = {"train_loss": losses[0], "eval_loss": losses[1], "train_accuracy": a, "eval_accuracy": b}
    if a - b > GAP and losses[1] > losses[0] + 0.5 and case.above_chance(a, y):
        slow = [name for name, norm in tracking.items() if norm.momentum is not None and norm.momentum < 0.02]
        why = (f"{len(untouched)} of {len(tracking)} layers never updated their statistics." if untouched else
               f"They follow too slowly: momentum {tracking[slow[0]].momentum:g} in {slow[0]}." if slow else
               f"The statistics of {_batches(tracking)} batches do not fit the weights.")
        yield Finding("batch norm", "bad", "The running statistics of the batch norms are wrong: evaluation fails", f"{said}. {why}",
                      "run some batches through the net in training mode under no_grad() before testing; momentum 0.1", 86, numbers)
    else:
        yield Finding("batch norm", "good", "Batch norms agree in training and evaluation", said[0].lower() + said[1:], "", 50, numbers)


@check("preparation", order=40)
def preparation(case: Case):
    """Whether the batch looks, behind the first convolution, like what the first batch norm has seen in training."""
    if case.broken_input or not case.own_data or case.fresh:
        raise Skip("nothing to compare")
    name, norm = next(iter(case.norms.items()), (None, None))
    if norm is None or norm.running_mean is None or not norm.num_batches_tracked.item():
        raise Skip("no batch norm with statistics")
    if case.run is not None and not case.learned:
        raise Skip("the run learned nothing: its statistics may lag behind its weights")
    seen = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().float().cpu().numpy()))
    try:
        with case.mode(case.model, False):
            answers(case.model, case.train.images[: len(case.y)], case.x.device, len(case.y))
    finally:
        handle.remove()
    values = seen[0]
    axes = (0, *range(2, values.ndim))
    mean, var = norm.running_mean.cpu().numpy().astype(np.float64), norm.running_var.cpu().numpy().astype(np.float64)
    live = var > 1e-8
    if not live.any() or not np.isfinite(values).all():
        raise Skip("the first batch norm's statistics are empty")
    shift = float(np.median(np.abs(values.mean(axes) - mean)[live] / np.sqrt(var[live])))
    spread = float(np.median(values.var(axes)[live] / var[live]))
    numbers = {"shift": shift, "spread": spread}
    said = f"before {name} the batch's means are {shift:.2f} deviations from those of training, its variances {spread:.2f} times as large (medians)"
    if shift > 1 or not 0.25 < spread < 4:
        yield Finding("preparation", "warn" if case.learned else "bad", "These images are not prepared as those the net was trained on",
                      f"{said[0].upper()}{said[1:]}.", "use the preprocessing that belongs to the weights: mean, std, RGB order, 0…1 before "
                      "normalising", 79,
                      numbers)
    else:
        yield Finding("preparation", "good", "Images look as in training", said, "", 50, numbers)


@check("dropout", order=41)
def dropout(case: Case):
    """Active in evaluation, or too strong."""
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    with case.mode(case.model, False):
        images = case.train.images[: min(16, len(case.y))]
        first = answers(case.model, images, case.x.device, len(images))
        state = default_generator.get_state()
        manual_seed(12345)
        second = answers(case.model, images, case.x.device, len(images))
        default_generator.set_state(state)
    if np.isfinite(first).all() and not np.array_equal(first, second):
        change = float(np.abs(first - second).max() / max(np.abs(first).max(), 1e-30))
        yield Finding("dropout", "warn", "The net gives random answers in evaluation mode",
                      f"Twice the same {len(images)} images: logits differ by up to {100 * change:.2g} %. Dropout is active where it should not be.",
                      "F.dropout(x, p, training=self.training), or nn.Dropout instead; model.eval() before testing", 56, {"change": change})
    strong = {name: module.p for name, module in case.model.named_modules() if isinstance(module, (Dropout, Dropout2d)) and module.p >= 0.8}
    if strong and not case.learned:
        name, p = max(strong.items(), key=lambda item: item[1])
        hopeless = p >= NOTHING_LEFT and not case.fresh
        yield Finding("dropout", "bad" if hopeless else "warn", f"Dropout {p:g} leaves almost nothing of the signal",
                      f"{_layers(len(strong))} 80 % or more, most {name}: in a step {100 * (1 - p):.2g} % of its inputs take part"
                      f"{f', {1 / (1 - p):,.0f} times as large' if p < 1 else ''}.",
                      "--model-options dropout=0.5, or 0 until it learns", 90 if hopeless else 65, {"layers": strong})


def _layers(count: int) -> str:
    return "One layer drops" if count == 1 else f"{count} layers drop"
