"""What do net A's layers and scale jitter bring? Four trainings of one net: layers from net A or random weights, one scale or jittered.

Everything else is the same: data, net, seed, order of the pictures, schedule. Net A is trained once a seed, at the fixed scale, and shared.
The arms are tested as the paper tests (sections 4.1 and 4.2): dense evaluation with mirror images at one scale, and at three.

A folder holds it all, and a run that was stopped goes on in it::

    recipe.toml                    of the arm with net A and scale jitter
    results.json                   number of seeds; what each finished arm showed
    seed-0/net-a/ A-fixed/ A-jittered/ random-fixed/ random-jittered/      run folders (scratchvgg.train.run_folder)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import evaluate
from ..data.images import to_picture
from ..data.presets import ImageClassification
from ..weights.atomic import atomic_write
from . import build, checkpoint, from_net_a
from .errors import RunError
from .loop import Trainer
from .recipe import Recipe, RecipeError
from .run_folder import RunFolder, create, open_existing

ARMS = tuple((init, scale) for init in ("random", "A") for scale in ("fixed", "jittered"))
_AT_ONCE = 250  # pictures in memory while testing


@dataclass(frozen=True)
class Result:
    """What an arm showed, over all seeds.

    Attributes:
        init: ``"A"`` or ``"random"``. scale: ``"fixed"`` or ``"jittered"``.
        train_scale: S, or (Smin, Smax).
        images: in the test set.
        scales: the test scales Q of the two tests: (one, several).
        errors: wrongly classified images of each seed in the two tests: (one scale, several scales).
        epochs: of each seed. seconds: training time of each seed, net A's not counted.
    """

    init: str
    scale: str
    train_scale: int | tuple[int, int]
    images: int
    scales: tuple[tuple[int, ...], tuple[int, ...]]
    errors: tuple[list[int], list[int]]
    epochs: list[int]
    seconds: list[float]

    def error(self, test: int) -> tuple[float, float, float]:
        """(rate, low, high) of top-1 errors in test 0 (one scale) or 1 (several), fractions: the mean over seeds, with Wilson's 95 % interval for
        that many test images. The interval says nothing of how trainings differ."""
        mean = float(np.mean(self.errors[test]))
        return mean / self.images, *evaluate.wilson(round(mean), self.images)


class Ablation:
    """The four trainings in one folder.

    Args:
        recipe: of the full method: ``init_from = "A"`` and ``scale_max`` above ``scale_min``, which is the fixed scale of the other arms.
        seeds: repeat everything with so many seeds, ``recipe.seed`` and the next ones.
        plain: plain lines even in a terminal.
        say: is given a line at each stage.

    Attributes:
        outcome: of the training that a signal stopped, or None.

    Raises:
        RecipeError: if the recipe has no scales to compare, or a net that has no net A below it.
    """

    def __init__(self, recipe: Recipe, seeds: int = 1, plain: bool = False, say: Callable[[str], None] = print):
        if recipe.crop is None:
            raise RecipeError("crop: an ablation compares scales, and needs a recipe with crop, scale_min and scale_max (paper, paper_small)")
        self.least, self.most = build.scales(recipe)
        if self.least == self.most:
            raise RecipeError(f"scale_max: must be above scale_min for a comparison of fixed and jittered scale, got {self.most}")
        self.recipe, self.seeds, self._plain, self._say, self.outcome = recipe.replace(init_from="A"), seeds, plain, say, None
        if from_net_a.recipe_of(self.recipe) is None:
            raise RecipeError(f"model: an ablation needs a net deeper than A, got {recipe.model} {recipe.model_options or ''}".rstrip())
        self._data: dict[str, tuple] = {}

    def check(self) -> None:
        """Open the data and build a net, before a folder is made.

        Raises:
            RecipeError, DataError: as :class:`Trainer`.
        """
        recipe = self.recipe.replace(scale_min=self.least, scale_max=self.least)
        self._data = {"fixed": build.datasets(recipe)}
        Trainer(recipe, self._plain, self._data["fixed"])

    def run(self, folder: RunFolder) -> list[Result] | None:
        """Train and test what is not done yet in ``folder``. Returns a result for each of :data:`ARMS`, or None if a signal stopped it.

        Raises:
            RunError: if a training in the folder was begun with another recipe, or goes on in another process. NonFiniteError, DataError,
            WeightsError: as :meth:`Trainer.run`.
        """
        self.path, self._done = folder.path, read_results(folder)["arms"]
        self._write()
        for number in range(self.seeds):
            if not self._train_and_test(f"seed-{number}", self.recipe.seed + number):
                return None
        return self.results()

    def results(self) -> list[Result]:
        """What the finished arms showed, over all seeds."""
        rows = []
        for init, scale in ARMS:
            found = [self._done[f"seed-{number}/{init}-{scale}"] for number in range(self.seeds)]
            train_scale = self.least if scale == "fixed" else (self.least, self.most)
            rows.append(Result(init, scale, train_scale, found[0]["images"], self._test_scales(scale), tuple(
                [arm["errors"][test] for arm in found] for test in range(2)), [arm["epochs"] for arm in found], [arm["seconds"] for arm in found]))
        return rows

    # ---- one seed ----------------------------------------------------------------------------------------------------

    def _train_and_test(self, place, seed) -> bool:
        """All arms of a seed; False if a signal stopped it."""
        fixed = self.recipe.replace(seed=seed, scale_min=self.least, scale_max=self.least)
        waiting = [(init, scale) for init, scale in ARMS if f"{place}/{init}-{scale}" not in self._done]
        net_a = self.path / place / from_net_a.FOLDER
        if any(init == "A" for init, _ in waiting) and self._train(from_net_a.recipe_of(fixed), net_a, "fixed") is None:
            return False
        for init, scale in waiting:
            recipe = self.recipe.replace(
                seed=seed, name=f"{init}-{scale}", init_from=str(net_a / "last.ckpt") if init == "A" else None, scale_min=self.least,
                scale_max=self.least if scale == "fixed" else self.most)
            trained = self._train(recipe, self.path / place / recipe.name, scale)
            if trained is None:
                return False
            self._done[f"{place}/{recipe.name}"] = {**trained, **self._test(self.path / place / recipe.name, recipe, scale)}
            self._write()
        return True

    def _train(self, recipe, path, scale) -> dict | None:
        """Train in a folder, or go on there. {"epochs", "seconds"}, or None if a signal stopped it."""
        self._say(f"\n{path}: {recipe.model} {recipe.model_options.get('config', '')}, training scale "
                  f"{self.least if scale == 'fixed' else f'{self.least} to {self.most}'}, "
                  f"{'layers of net A' if recipe.init_from else 'random weights'}")
        folder = open_existing(path) if path.exists() else create(recipe, path)
        theirs = folder.read_recipe()
        moved = {"init_from": theirs.init_from, "device": recipe.device} if theirs.init_from and recipe.init_from else {"device": recipe.device}
        if theirs.replace(device=recipe.device) != recipe.replace(**moved):
            raise RunError(f"{path} was begun with another recipe; choose another folder (--out)")
        if scale not in self._data:
            self._data = {scale: build.datasets(recipe)}  # the other scale's pictures make room
        trainer = Trainer(recipe, self._plain, self._data[scale])
        outcome = trainer.run(folder)
        if not outcome.finished:
            self.outcome = outcome
            return None
        return {"epochs": trainer.epoch, "seconds": round(outcome.seconds, 1)}

    def _test(self, path, recipe, scale) -> dict:
        """{"images", "errors": [at one scale, at several]} of the last weights: the best ones would be chosen by the test set."""
        net, state = checkpoint.load_model(path / "last.ckpt")
        net.to(build.backend(recipe).device)
        about = state["data"]
        preset = ImageClassification(recipe.crop, recipe.crop, tuple(about["mean"]), tuple(about["std"]))
        pictures, errors = self._data[scale][1].dataset, [0, 0]
        with build.convolutions(recipe):
            for start in range(0, len(pictures), _AT_ONCE):
                items = [pictures[i] for i in range(start, min(start + _AT_ONCE, len(pictures)))]
                images, labels = [to_picture(image) for image, _ in items], np.array([label for _, label in items])
                for test, scales in enumerate(self._test_scales(scale)):
                    found = evaluate.posteriors(net, images, "dense", scales, preset, batch_size=recipe.eval_batch_size)
                    errors[test] += int((found.argmax(1) != labels).sum())
        shown = ", ".join(f"{100 * wrong / len(pictures):.2f} %" for wrong in errors)
        self._say(f"{path}: top-1 error at one scale and at several: {shown}")
        return {"images": len(pictures), "errors": errors}

    def _test_scales(self, scale) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(one, several) test scales: S and S ± S/8 for a fixed S (256 ± 32 in the paper), the middle and the ends of a jittered one. None is
        smaller than the crop, which is what the net's window wants."""
        if scale == "fixed":
            one, step = self.least, max(1, self.least // 8)
            return (one,), tuple(sorted({max(self.recipe.crop, one - step), one, one + step}))
        middle = (self.least + self.most) // 2
        return (middle,), (self.least, middle, self.most)

    def _write(self):
        with atomic_write(self.path / "results.json", "w") as file:
            json.dump({"seeds": self.seeds, "arms": self._done}, file, indent=1)


def read_results(folder: RunFolder) -> dict:
    """``results.json`` of a folder: {"seeds": number, "arms": {place: {"images", "errors", "epochs", "seconds"}}}; one seed and no arms without one.

    Raises:
        RunError: if it is no such file.
    """
    path = folder.path / "results.json"
    if not path.exists():
        return {"seeds": 1, "arms": {}}
    try:
        results = json.loads(path.read_text("utf-8"))
        if not isinstance(results["seeds"], int) or not isinstance(results["arms"], dict):
            raise TypeError("seeds and arms are missing")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: no results of an ablation ({error})") from None
    return results


def paper_errors(recipe: Recipe, scale: str) -> tuple[float, float] | None:
    """Top-1 errors in per cent, at one scale and at several, that the paper reports for the recipe's configuration trained at S = 256 (``"fixed"``)
    or in [256, 512] (``"jittered"``), with layers of net A and dense evaluation (Tables 3 and 4). None where it has no such experiment."""
    config = recipe.model_options.get("config", recipe.model)
    config, train_scale = config if isinstance(config, str) else "", 256 if scale == "fixed" else (256, 512)
    several = evaluate.test_scales(train_scale)
    rows = [evaluate.paper_row(config, "dense", scales, train_scale) for scales in (several[1], several)]
    return None if None in rows else (rows[0].top1, rows[1].top1)
