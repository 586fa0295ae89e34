"""The course of the loss, beside ln(classes), what a net that knows nothing has."""

from __future__ import annotations

import math

from ..case import Case
from ..findings import Finding
from ..registry import Skip, check

LITTLE = 0.5  # training accuracy
LONG = 100  # steps at the level of chance that are more than a slow start


@check("loss at the start", order=34)
def start(case: Case):
    """Far above ln(classes): the initialisation or the input is too large."""
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    if case.run is not None:
        loss = case.beginning.loss
    elif case.fresh:
        loss = case.now.loss
    else:
        raise Skip("the net is trained already")
    if loss is None or not math.isfinite(loss):
        raise Skip("the loss is not finite")
    said = f"{loss:.3g} on the first batch, chance is {case.level_text}"
    if loss > 2 * case.level + 1:
        yield Finding("loss at the start", "info" if case.learned else "warn", f"The first loss, {loss:.3g}, is far above chance",
                      f"{said}: the first answers are confident and wrong.", "check that the input is normalised; a smaller --init-std, or Kaiming "
                      "initialisation; N(0, 0.01) for the last layer", 20 if case.learned else 62, {"loss": loss, "level": case.level})
    else:
        yield Finding("loss at the start", "good", "First loss", said, "", 50, {"loss": loss, "level": case.level})


@check("course of the loss", order=35)
def course(case: Case):
    """Falling, rising, or staying at the level of chance."""
    if case.run is None:
        raise Skip("there is no run")
    record = case.run.record
    losses = record.losses
    if len(losses) < 2:
        raise Skip("metrics.jsonl has fewer than two lines")
    sits, finite = record.sits_at(case.level), [loss for _, loss in losses if math.isfinite(loss)]
    numbers = {"first": losses[0][1], "last": losses[-1][1], "level": case.level, "steps_at_chance": sits}
    said = f"from {losses[0][1]:.4g} to {losses[-1][1]:.4g} in {record.last_step} steps; chance is {case.level_text}"
    if sits and not case.learned:
        long = sits >= LONG
        without = "" if case.norms else ", and there is no batch norm"
        slow = "more epochs" if case.norms else "batch norm (--model-options batch_norm=true), or more epochs: nets without it begin slowly"
        yield Finding("course of the loss", "bad" if long else "warn", f"The loss sits at {case.level_text}{without}",
                      f"Within 3 % of it for the last {sits} of {record.last_step} steps, and the accuracy is that of guessing.",
                      f"see the other findings for the cause; if there are none, {slow}" if long else "train longer than this before worrying", 30,
                      numbers)
    elif finite and max(finite) > 10 * case.level and not case.learned:
        yield Finding("course of the loss", "bad", f"The loss exploded: {max(finite):.3g}", f"It went {said}.", "see the learning rate", 30, numbers)
    elif len(finite) >= 2 and finite[-1] < finite[0]:
        yield Finding("course of the loss", "good", "The loss falls", said, "", 50, numbers)
    else:
        yield Finding("course of the loss", "warn", "The loss does not fall", f"It went {said}.", "see the other findings for the cause", 29, numbers)


@check("over- and underfitting", order=36)
def fit(case: Case):
    """Training accuracy beside test accuracy, and whether it was still improving at the end."""
    if case.run is None or not case.run.record.epochs:
        raise Skip("no epoch has ended")
    record, recipe = case.run.record, case.run.recipe
    train, test = record.train_accuracy, record.test_accuracy
    if test is None:
        raise Skip("it was never tested")
    numbers = {"train": train, "test": test}
    if case.learned and train - test > 0.15:
        yield Finding("over- and underfitting", "info", f"It overfits: {100 * train:.1f} % in training, {100 * test:.1f} % in testing",
                      f"{100 * (train - test):.0f} points apart after {len(record.epochs)} epochs.",
                      "--augmentation crop:4 flip cutout:8, --weight-decay 1e-3, dropout, more data", 35, numbers)
    elif record.finished and train < LITTLE and case.fits:
        yield Finding("over- and underfitting", "info" if case.learned else "warn", f"It has learned little: {100 * train:.1f} % in training",
                      f"{len(record.epochs)} epochs, {record.last_step} steps; the test accuracy is {100 * test:.1f} %, chance "
                      f"{100 / case.classes:.3g} %.",
                      f"train longer (--epochs {2 * record.planned}) or with more images; if that does not help, a larger net", 28, numbers)
    elif record.finished and not case.fits and record.last_step < LONG:
        yield Finding("over- and underfitting", "info", f"It has hardly begun: {record.last_step} steps",
                      f"{len(record.epochs)} epochs of {record.last_step // max(1, len(record.epochs))} steps.", "more images, smaller batches, or "
                      f"more epochs: --epochs {math.ceil(LONG * record.planned / record.last_step)}", 27, numbers)
    tested = [line["test_accuracy"] for line in record.epochs if line.get("test_accuracy") is not None]
    if case.learned and len(tested) >= 3 and tested[-1] == max(tested) and tested[-1] - tested[-3] > 0.01:
        yield Finding("over- and underfitting", "info", "It was still improving at the end",
                      f"Test accuracy of the last three tests: {', '.join(f'{100 * value:.1f} %' for value in tested[-3:])}.",
                      f"more epochs: --epochs {2 * record.planned}", 25, {"tests": tested})
    if recipe.label_smoothing > 0 and case.learned:
        s, floor = recipe.label_smoothing, case.floor
        yield Finding("over- and underfitting", "info", f"Label smoothing {s:g} keeps the training loss above {floor:.3f}",
                      f"That is the entropy of the smoothed targets, and no net gets below it; the last epoch had "
                      f"{record.epochs[-1]['train_loss']:.3f}.",
                      "", 10,
                      {"floor": floor})
