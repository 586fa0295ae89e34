"""Why a deep net without batch norm sits at ln(classes): VGG-16 from three beginnings, measured and trained.

========================  ==========================================================================================================
``normal``                all weights from N(0, 0.01²), no batch norm: what the paper began its net A with, here in 13 convolutions
``kaiming``               N(0, 2 / fan_in), no batch norm (He et al., 2015, arXiv 1502.01852); the builders of nets take fan_out, as torchvision's
``normal-batch-norm``     N(0, 0.01²) again, and a batch norm behind every convolution (Ioffe and Szegedy, 2015)
========================  ==========================================================================================================

**Forward.** An output of a convolution is a sum over fan_in = 9 · C_in inputs, each the ReLU of a number that is above 0 half of the time. So
its deviation is √(fan_in / 2) · σ times the one of the layer before (He et al., equation 10): a factor that is the same whatever the image shows.
With σ = 0.01 and a few dozen or hundred channels it is far below 1, and thirteen such factors make the image's signal smaller than the rounding
of what the biases say; with σ = √(2 / fan_in) it is 1, but for the zeros of the padding.
**Backward** the same holds with √(fan_out / 2) · σ (equation 14). Batch norm divides by the deviation in every layer, so
there the factor does not matter.

The three are trained by the ordinary trainer with ``record = true``, from the same seed, in run folders below one folder. So a demonstration that was
stopped goes on, and each training can be looked into by itself (:mod:`.history`).
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import nn, train
from ..models.vgg import parse_config
from ..train.recipe import Recipe
from ..train.run_folder import RunFolder
from . import history, verdicts
from .errors import StudyError
from .page import formats
from .shown import Shown
from .tables import table

SIGMA = 0.01
VARIANTS = {
    "normal": ("N(0, 0.01), no batch norm", {"init_std": SIGMA}, False),
    "kaiming": ("Kaiming, no batch norm", {"init_std": None}, False),
    "normal-batch-norm": ("N(0, 0.01), batch norm", {"init_std": SIGMA}, True),
}
"""Name of the run folder → (what it is, fields of the recipe, batch norm)."""
WIDTH = 0.25
SITS = 0.005  # relative distance from ln(classes): what a net that guesses scatters by in the mean of some batches


def recipe(width: float = WIDTH, config: str = "D", quick: bool = False, **changes) -> Recipe:
    """What the demonstration trains: a VGG of the paper for 32×32 images (its convolutions, one linear layer) with ``width`` times the channels.

    Args:
        config: of the paper. quick: a few steps of the built-in pictures, for a test.
        changes: fields of the recipe.

    Raises:
        StudyError: for a width that is not positive. RecipeError: for bad fields. ValueError: for an unknown configuration.
    """
    if not width > 0:
        raise StudyError(f"width: expected a positive number, got {width}")
    entries = ["M" if kind == "pool" else f"conv{size}-{max(1, round(width * channels))}" for kind, channels, size in parse_config(config)
               if kind != "lrn"]
    size = {"train_size": 160, "test_size": 40, "epochs": 1, "batch_size": 16, "eval_batch_size": 40} if quick else {
        "train_size": 4000, "test_size": 1000, "epochs": 6, "batch_size": 64}
    options = {"config": entries, "batch_norm": False, "dropout": 0.0}
    return Recipe(**{
        "name": "initialisation", "model": "cifar_vgg", "model_options": options, "record": True, "record_every": 10, "log_every": 10, "plot": False,
        "lr": 0.02, "clip_norm": 1.0, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "schedule": "one_cycle", "warmup": 0.2,
        "eval_every": 10**6, **size, **changes})


def variant(recipe: Recipe, name: str) -> Recipe:
    """The recipe of one of :data:`VARIANTS`."""
    _, fields, batch_norm = VARIANTS[name]
    return recipe.replace(**fields, name=name, model_options={**recipe.model_options, "batch_norm": batch_norm})


def _begin(name: str, model) -> None:
    """Draw what the recipe cannot say: Kaiming's weights in all layers, the last one too. A run that goes on takes its checkpoint's instead."""
    if name == "kaiming":
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")


def run(folder: RunFolder, plain: bool = True, say: Callable[[str], object] = lambda text: None, device: str | None = None) -> train.Outcome | None:
    """Train what is not yet trained in ``folder`` (made by :func:`scratchvgg.train.create` with a :func:`recipe`).

    Args:
        plain: plain lines instead of a progress bar. say: is told what begins. device: another than the recipe's.

    Returns:
        None if all is done, else how the training ended that a signal stopped.

    Raises:
        As the trainer.
    """
    base, datasets = folder.read_recipe().replace(**({} if device is None else {"device": device})), None
    for name, (label, _, _) in VARIANTS.items():
        path, ours = folder.path / name, variant(base, name)
        trainer = train.Trainer(ours, plain, datasets)
        datasets = trainer.train_set, trainer.test_set
        _begin(name, trainer.model)
        say(label)
        outcome = trainer.run(train.open_existing(path) if path.exists() else train.create(ours, path))
        if not outcome.finished:
            return outcome
    return None


@dataclass(frozen=True)
class Beginning:
    """One of the three, measured.

    Attributes:
        name, label: as in :data:`VARIANTS`.
        layers: of each convolution and linear layer at the first step ``{"name", "type", "fan_in", "fan_out", "sigma", "factor", "std",
            "gradient"}``: sigma is the weights' deviation, factor √(fan_in / 2) · sigma; std that of the activation, gradient the norm of what
            arrives there: of the layer's output, or of its batch norm's.
        steps, losses: mean loss of every logging interval.
        accuracy, test_accuracy: at the end, of training and test images.
        image_std: how much a logit varies from image to image at the first step.
        verdicts: on the whole training.
    """

    name: str
    label: str
    layers: list[dict]
    steps: list[int]
    losses: list[float]
    accuracy: float
    test_accuracy: float | None
    image_std: float | None
    verdicts: list[verdicts.Verdict]

    @property
    def convolutions(self) -> list[dict]:
        """Those of the layers: the linear layer behind them begins in the same way in all three."""
        return [layer for layer in self.layers if layer["type"] == "Conv2d"]

    @property
    def forward(self) -> float:
        """Least deviation behind the first convolution, in terms of the first one's."""
        return min(layer["std"] for layer in self.convolutions[1:]) / self.convolutions[0]["std"]

    @property
    def backward(self) -> float:
        """Norm of the gradient at the first convolution, in terms of that at the last."""
        return self.convolutions[0]["gradient"] / self.convolutions[-1]["gradient"]

    @property
    def per_layer(self) -> float:
        """The factor of the signal from one convolution to the next, measured: the geometric mean."""
        return (self.convolutions[-1]["std"] / self.convolutions[0]["std"]) ** (1 / (len(self.convolutions) - 1))

    @property
    def predicted(self) -> float:
        """The same by √(fan_in / 2) · σ."""
        return math.prod(layer["factor"] for layer in self.convolutions[1:]) ** (1 / (len(self.convolutions) - 1))


class Initialisation(Shown):
    """What the three beginnings showed.

    Attributes:
        about: the record's line about the first training. beginnings: the three (:class:`Beginning`).
        machine: what a report of times or results carries; may be empty.
    """

    title = "Initialisation"

    def __init__(self, about: dict, beginnings: list[Beginning], machine: dict | None = None):
        self.about, self.beginnings, self.machine = about, beginnings, machine or {}

    @property
    def guess(self) -> float:
        """ln(classes)."""
        return math.log(self.about["classes"])

    def to_dict(self) -> dict:
        """``{"about", "ln_classes", "beginnings", "text", "machine"}``."""
        return {
            "about": {key: value for key, value in self.about.items() if key != "layers"}, "ln_classes": self.guess, "text": self.text(),
            "beginnings": [{
                **{key: getattr(b, key) for key in ("name", "label", "layers", "steps", "losses", "accuracy", "test_accuracy", "image_std", "forward",
                                                    "backward", "per_layer", "predicted")},
                "verdicts": [verdict.to_dict() for verdict in b.verdicts]} for b in self.beginnings],
            "machine": self.machine,
        }

    def rows(self) -> list[list[str]]:
        """Cells of the table, one row a beginning."""
        number = formats.number
        return [[b.label, number(b.predicted, 3), number(b.per_layer, 3), number(b.forward, 2), number(b.backward, 2), number(b.image_std, 2),
                 number(b.losses[0]), number(b.losses[-1]), formats.percent(b.accuracy), formats.percent(b.test_accuracy)] for b in self.beginnings]

    HEADS = ("beginning", "√(fan_in/2)·σ", "measured", "signal", "gradient", "logits' std", "first loss", "last loss", "training acc.", "test acc.")
    NOTES = (
        "√(fan_in/2)·σ: what a convolution should multiply the signal by, and what it does, geometric means over the convolutions behind the first.",
        "signal: the least standard deviation behind the first convolution, in terms of the first one's; gradient: its norm at "
        "the first convolution, in terms of that at the last; logits' std: how much a logit varies from image to image. All at the first step.",
        "With batch norm, signal and gradient are those behind it.",
    )

    def text(self) -> list[str]:
        """What happened and why, a paragraph a beginning, with the measured numbers."""
        return [_story(b, self.guess, self.about["classes"]) for b in self.beginnings]

    def __str__(self):
        heads = list(self.HEADS)
        notes = "\n".join(textwrap.fill(note, 150) for note in self.NOTES)
        return "\n\n".join([self.summary(), table(self.rows(), heads), notes, *(textwrap.fill(paragraph, 150) for paragraph in self.text())])

    def summary(self) -> str:
        """One sentence: what was trained on what."""
        layers = sum(layer["type"] == "Conv2d" for layer in self.beginnings[0].layers)
        parameters = sum(layer["parameters"] for layer in self.about["layers"])
        about = self.about
        return (f"{layers} convolutions and a linear layer, {parameters:,} parameters, on {about['data']}, {about['total_steps']} steps of "
                f"{about['batch_size']} images each; a net that only guesses has a loss of ln({about['classes']}) = {self.guess:.4f}.")

    def charts(self) -> list[dict]:
        """Signal and gradient by depth, loss by step, as :func:`page.svg.lines` takes them."""
        depth = list(range(1, len(self.beginnings[0].layers) + 1))
        by_depth = lambda key: [{"name": b.label, "x": depth, "y": [layer[key] for layer in b.layers]} for b in self.beginnings]
        loss = [{"name": b.label, "x": b.steps, "y": b.losses} for b in self.beginnings]
        ends = [min(s["x"][0] for s in loss), max(s["x"][-1] for s in loss)]
        loss.append({"name": f"ln({self.about['classes']})", "x": ends, "y": [self.guess] * 2, "dash": True})
        return [
            {"title": "Forward: standard deviation of the signal, by layer, before training", "x_label": "layer", "y_label": "std", "log": True,
             "series": by_depth("std")},
            {"title": "Backward: norm of the gradient, by layer, before training", "x_label": "layer", "y_label": "norm", "log": True,
             "series": by_depth("gradient")},
            {"title": "Loss while training", "x_label": "step", "y_label": "loss", "log": False, "series": loss},
        ]

    def to_html(self):
        """Text, charts, the table, and each layer's numbers."""
        from .page import render

        return render("sections/initialisation.html", it=self, rows=self.rows())


def of_folder(folder, machine: dict | None = None) -> Initialisation:
    """What the trainings in a folder showed.

    Raises:
        StudyError: if one of the three is missing, or not recorded.
    """
    path, beginnings, about = Path(getattr(folder, "path", folder)), [], None
    for name in VARIANTS:
        if not (path / name).is_dir():
            raise StudyError(f"{path}: no demonstration of initialisation, or not finished: there is no folder {name} in it")
        past = history.of_run(path / name)
        about = about or past.about
        beginnings.append(_measured(name, past))
    return Initialisation(about, beginnings, machine)


def _measured(name: str, past: history.History) -> Beginning:
    if not past.steps or not past.epochs:
        raise StudyError(f"{past.path}: the training is not finished")
    first, fans = past.records[0]["layers"], _fans(past.path)
    layers = []
    for place, layer in enumerate(first):
        if layer["type"] not in verdicts.WEIGHTED:
            continue
        follows = first[place + 1] if place + 1 < len(first) and first[place + 1]["type"] == "BatchNorm2d" else layer
        fan_in, fan_out = fans[layer["name"]]
        sigma = layer["weight"]["std"]
        layers.append({"name": layer["name"], "type": layer["type"], "fan_in": fan_in, "fan_out": fan_out, "sigma": sigma,
                       "factor": math.sqrt(fan_in / 2) * sigma, "std": follows["activation"]["std"], "gradient": follows["gradient"]["norm"]})
    return Beginning(name, VARIANTS[name][0], layers, [line["step"] for line in past.steps], [line["loss"] for line in past.steps],
                     past.epochs[-1]["train_accuracy"], past.epochs[-1]["test_accuracy"], first[-1]["activation"]["image_std"], past.verdicts)


def _fans(path) -> dict[str, tuple[int, int]]:
    """Name of a convolution or linear layer → (fan_in, fan_out), of the run's net."""
    model, _ = train.load_model(path / "last.ckpt")
    return {name: (module.weight[0].numel(), module.weight.shape[0] * math.prod(module.weight.shape[2:]))
            for name, module in model.named_modules() if type(module).__name__ in verdicts.WEIGHTED}


def _story(b: Beginning, guess: float, classes: int) -> str:
    end = statistics.median(b.losses[-3:])
    sits = abs(end / guess - 1) <= SITS
    signal = f"{b.label}: a convolution multiplies the signal by √(fan_in/2)·σ = {b.predicted:.2g} (measured: {b.per_layer:.2g})"
    if any(layer["std"] != layer["std"] for layer in b.layers):
        return f"{signal}; the numbers are not finite."
    if b.name == "normal-batch-norm":
        signal += ", but behind it batch norm divides by the deviation, so that every layer sees a signal of the size 1"
    elif b.forward < verdicts.SIGNAL_LOST:
        signal += (f", so {len(b.convolutions)} of them leave {b.forward:.1g} of what the first makes. What reaches the end varies so little "
                   f"from image to image (a logit by {b.image_std:.1g}) that only biases speak")
    else:
        signal += f", so it arrives: the least deviation behind the first convolution is {b.forward:.2g} of that one's"
    back = (f"On the way back the gradient's norm becomes {b.backward:.1g} of what it was at the last convolution"
            f"{': the first layers get nothing to learn from' if b.backward < verdicts.VANISHING else ''}.")
    result = (f"After {b.steps[-1]} steps the loss is {end:.4f}, ln({classes}) = {guess:.4f}: every class is as likely as any other." if sits else
              f"In {b.steps[-1]} steps the loss goes from {b.losses[0]:.3g} to {end:.3g}: it trains." if end < verdicts.LEARNS * guess else
              f"In {b.steps[-1]} steps the loss goes from {b.losses[0]:.4g} to {end:.4g}: it has only begun to train.")
    return f"{signal}. {back} {result}"
