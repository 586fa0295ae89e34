"""Does the deeper net of small filters learn better? The paper's experiment, at a size that a laptop trains.

Section 2.3 of the paper (arXiv 1409.1556): net B against the same net with one 5×5 convolution in the place of each pair of 3×3: the shallow net
was 7 % worse in top-1 error. Here a net of pairs and a net of 5×5 convolutions of the same widths are trained by one recipe, with the same
seeds, so both see the same pictures in the same order. Their first weights cannot be the same: they have different filters.

A folder holds it all, and an experiment that was stopped goes on in it::

    recipe.toml                          what the two nets have in common
    results.json                         what each finished training showed
    seed-0/two-3x3/ one-5x5/             run folders (scratchvgg.train.run_folder)
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import train
from ..bench import results as reports
from ..train import build, machine, metrics
from ..train.recipe import Recipe
from ..weights.atomic import atomic_write
from .errors import StudyError
from .shown import Shown
from .tables import table

ARMS = {"two-3x3": "two 3×3", "one-5x5": "one 5×5"}
PAPER = "the paper (section 2.3): net B, 28.7 % top-1 error on ILSVRC, against the net with 5×5 convolutions: 7 % worse"
RECIPE = {
    "name": "why3x3", "batch_size": 100, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "one_cycle", "warmup": 0.25,
    "augmentation": ["flip"], "log_every": 50, "plot": False,
}


def stages(widths: Sequence[int], arm: str) -> list:
    """The configuration of an arm: for each width two 3×3 convolutions or one 5×5, and a pooling."""
    if arm not in ARMS:
        raise StudyError(f"arm: expected one of {', '.join(ARMS)}, got {arm!r}")
    return [entry for width in widths for entry in ([width, width, "M"] if arm == "two-3x3" else [f"conv5-{width}", "M"])]


class Stopped(Exception):
    """A signal stopped a training; with the same arguments and ``out`` the experiment goes on.

    Attributes:
        folder: where it goes on. signal: its number.
    """

    def __init__(self, folder: str, signal: int):
        super().__init__(f"stopped by signal {signal}; what is finished is kept in {folder}")
        self.folder, self.signal = folder, signal


@dataclass(frozen=True)
class Arm:
    """What one of the two nets showed.

    Attributes:
        name: ``"two-3x3"`` or ``"one-5x5"``.
        parameters, macs: of the whole net; MACs of one image.
        errors: top-1 errors of each seed after the last epoch, fractions.
        losses: of each seed, on the test set.
        seconds: training time of each seed, testing included.
    """

    name: str
    parameters: int
    macs: int
    errors: list[float]
    losses: list[float]
    seconds: list[float]

    @property
    def mean(self) -> float:
        """The mean error."""
        return float(np.mean(self.errors))

    @property
    def spread(self) -> float:
        """The standard deviation of the errors (n − 1); NaN of one seed."""
        return float(np.std(self.errors, ddof=1)) if len(self.errors) > 1 else math.nan


@dataclass
class Experiment(Shown):
    """Two nets, all seeds.

    Attributes:
        arms: of pairs, of 5×5.
        recipe: what they have in common, as plain values.
        images: of the test set.
        folder: where the runs lie.
        machine: what it was trained on.
    """

    title = "Two 3×3 or one 5×5: an experiment"
    arms: list[Arm]
    recipe: dict
    images: int
    folder: str
    machine: dict

    @property
    def differences(self) -> list[float]:
        """Error of the 5×5 net less that of the pairs, seed by seed: above 0 the pairs are better."""
        return [b - a for a, b in zip(self.arms[0].errors, self.arms[1].errors, strict=True)]

    @property
    def verdict(self) -> str:
        """What the numbers say, and how sure it is."""
        gaps = 100 * np.array(self.differences)
        n, mean = len(gaps), float(gaps.mean())
        who = "the 5×5 net errs more" if mean > 0 else "the net of pairs errs more" if mean < 0 else "both err alike"
        text = f"{who}, by {abs(mean):.2f} percentage points"
        if n == 1:
            return f"{text}; one seed cannot say how much of that is chance"
        sign = int((np.sign(gaps) == np.sign(mean)).sum())
        error = float(gaps.std(ddof=1)) / math.sqrt(n)
        certain = "more than twice" if abs(mean) > 2 * error else "less than twice"
        return f"{text} on average, with the same sign in {sign} of {n} seeds; that is {certain} the standard error of this mean ({error:.2f})"

    def to_dict(self) -> dict:
        arms = [{"name": a.name, "parameters": a.parameters, "macs": a.macs, "errors": a.errors, "mean": a.mean, "spread": a.spread,
                 "losses": a.losses, "seconds": a.seconds} for a in self.arms]
        return {"kind": "why3x3", "arms": arms, "differences": self.differences, "verdict": self.verdict, "about": self.about(),
                "images": self.images, "recipe": self.recipe, "paper": PAPER, "machine": self.machine}

    def rows(self) -> list[list[str]]:
        """A line for each arm: net, parameters, MACs, error (mean, spread, each seed), loss, time."""
        return [[ARMS[a.name], f"{a.parameters:,}", f"{a.macs:,}", f"{100 * a.mean:.2f}", "–" if math.isnan(a.spread) else f"{100 * a.spread:.2f}",
                 " ".join(f"{100 * e:.2f}" for e in a.errors), f"{float(np.mean(a.losses)):.3f}", f"{float(np.mean(a.seconds)):.0f} s"]
                for a in self.arms]

    HEADERS = ("a stage has", "parameters", "MACs", "error %", "spread", "each seed", "loss", "time")

    def about(self) -> str:
        """What was trained."""
        r, n = self.recipe, len(self.differences)
        some = "all" if r["train_size"] is None else f"{r['train_size']:,}"
        return (f"{r['data']}, {some} training and {self.images:,} test images, {r['epochs']} epochs of batches of {r['batch_size']}, "
                f"peak rate {r['lr']:g}, widths {' '.join(map(str, r['widths']))}, {'with' if r['batch_norm'] else 'without'} batch norm, "
                f"{n} {'seed' if n == 1 else 'seeds'}, float32; the pairs take {self.arms[0].macs / self.arms[1].macs:.2f} times the MACs of the 5×5 "
                "net, for a stage's first convolution widens")

    def __str__(self):
        told = [self.about(), f"top-1 error after the last epoch: {self.verdict}", PAPER]
        return "\n".join([table(self.rows(), list(self.HEADERS)), "", *(textwrap.fill(line, 150, subsequent_indent="  ") for line in told)])

    def to_html(self):
        from . import page

        return page.render("sections/why3x3_experiment.html", it=self, paper=PAPER)


def experiment(data: str = "sample", root=None, *, seeds: int = 3, epochs: int = 3, widths: Sequence[int] = (16, 32, 64), batch_norm: bool = True,
               out=None, say: Callable[[str], None] = lambda text: None, plain: bool = True, **changes) -> Experiment:
    """Train both nets with several seeds.

    Args:
        data, root: a data set and its folder, see :class:`~scratchvgg.train.recipe.Recipe`.
        seeds: how many; 0, 1, 2 …
        widths: channels of the stages; each ends with a pooling.
        batch_norm: put batch norm behind every convolution. The paper's nets have none, and train for 74 epochs: in a few, a net twice as deep
            is still behind without it.
        out: the folder, made or gone on with; by default ``runs/why3x3-DATA-N``.
        say: is given a line at each stage.
        plain: plain lines instead of a progress bar.
        changes: other fields of the recipe.

    Raises:
        Stopped: if a signal stopped a training.
        StudyError: for bad arguments, or a folder that was begun otherwise. RecipeError, DataError: as the training.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise StudyError(f"seeds: expected 1 or more, got {seeds!r}")
    if not widths or not all(isinstance(w, int) and w > 0 for w in widths):
        raise StudyError(f"widths: expected channels such as 16, 32, 64, got {widths!r}")
    taken = sorted({"model", "model_options", "seed", "name"} & set(changes))
    if taken:
        raise StudyError(f"{taken[0]}: the experiment sets it itself")
    changes = {"lr": 0.1 if batch_norm else 0.05, "root": None if root is None else str(root), **changes}
    base = Recipe(**{**RECIPE, "data": data, "epochs": epochs, "eval_every": epochs, "model": "small_vgg", **changes})
    recipes = {arm: base.replace(name=arm, model_options={"widths": stages(widths, arm), "batch_norm": bool(batch_norm)}) for arm in ARMS}
    datasets = build.datasets(base)
    if min(build.image_shape(datasets[0])[1:]) < 2 ** len(widths):
        raise StudyError(f"widths: {len(widths)} poolings leave nothing of {build.image_shape(datasets[0])[-1]} pixels")
    folder = train.open_existing(out) if out is not None and (Path(out) / "recipe.toml").exists() else None
    if folder is not None and folder.read_recipe().replace(device=base.device) != base:
        raise StudyError(f"{out} was begun with another recipe; choose another folder")
    folder = folder or train.create(base, out)
    results = _read(folder.path, {"widths": list(widths), "batch_norm": bool(batch_norm)})
    for seed in range(seeds):
        for arm, recipe in recipes.items():
            place = f"seed-{seed}/{arm}"
            if place not in results["runs"]:
                say(f"{ARMS[arm]}, seed {seed}: {folder.path / place}")
                found = _train(recipe.replace(seed=seed), folder.path, place, datasets, plain)
                results["runs"][place] = found
                _write(folder.path, results)
                say(f"{ARMS[arm]}, seed {seed}: top-1 error {100 * found['error']:.2f} %")
    about = {"widths": list(widths), "batch_norm": bool(batch_norm)}
    made = [_arm(arm, recipe, len(datasets[0].classes), build.image_shape(datasets[0]), [results["runs"][f"seed-{s}/{arm}"] for s in range(seeds)])
            for arm, recipe in recipes.items()]
    return Experiment(made, {**base.to_dict(), "root": None, **about}, len(datasets[1]), str(folder.path), machine.describe())


def _train(recipe, path, place, datasets, plain) -> dict:
    """{"error", "loss", "seconds"} of a training.

    Raises:
        Stopped: if a signal stopped it.
    """
    folder = train.open_existing(path / place) if (path / place).exists() else train.create(recipe, path / place)
    trainer = train.Trainer(recipe, plain, datasets)
    outcome = trainer.run(folder)
    if not outcome.finished:
        raise Stopped(str(path), outcome.signal)
    last = metrics.read(folder.metrics, "epoch")[-1]
    return {"error": 1 - outcome.accuracy, "loss": last["test_loss"], "seconds": round(outcome.seconds, 1)}


def _arm(name, recipe, classes, shape, runs) -> Arm:
    from .summary import summarize

    totals = summarize(lambda: build.model(recipe, classes), (1, *shape))["totals"]
    return Arm(name, totals["parameters"], totals["macs"], *([run[key] for run in runs] for key in ("error", "loss", "seconds")))


def _read(path, settings) -> dict:
    file = path / "results.json"
    if not file.exists():
        return {"settings": settings, "runs": {}}
    try:
        found = json.loads(file.read_text("utf-8"))
        same = found["settings"] == settings and isinstance(found["runs"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{file}: no results of this experiment ({error})") from None
    if not same:
        raise StudyError(f"{path} was begun with {found['settings']}, not {settings}; choose another folder")
    return found


def _write(path, results) -> None:
    with atomic_write(path / "results.json", "w") as file:
        json.dump(results, file, indent=1)


def report(found: Experiment) -> dict:
    """The result for a file: with the machine's rates and the commit."""
    from ..bench import machine as bench_machine

    return {**found.to_dict(), "machine": bench_machine.describe()}


def write(found: Experiment, path) -> None:
    """Write :func:`report` as JSON.

    Raises:
        OSError: if it cannot be written.
    """
    reports.write_json(path, report(found))
