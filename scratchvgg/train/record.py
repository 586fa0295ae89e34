"""record.jsonl: how every layer is doing while a net is trained (``scratchvgg train --record``).

One JSON object a line. The first says what is recorded::

    {"kind": "about", "format": 1, "version", "recipe", "model", "data", "classes": C, "ln_classes": ln C, "batch_size", "images", "every",
     "total_steps", "precision", "layers": [{"name", "type", "parameters"}, ...]}            every module without children, in order

and every later one is a step::

    {"kind": "record", "step", "epoch_progress", "loss", "accuracy", "lr", "grad_norm", "end": null, "layers": [
      {"name", "type", "activation": {...}, "gradient": {...} or null, "weight": {"mean", "std", "norm"} or null,
       "weight_gradient": {"mean", "std", "norm"} or null, "update", "update_ratio"}, ...]}                    in the order of execution

* ``step`` counts from 1; weights and activations are those before it, ``loss`` and ``accuracy`` those of its batch.
* ``activation`` and ``gradient`` (of the loss with respect to the layer's output) are described in :mod:`.layer_statistics`. They carry a
  histogram in every :data:`HISTOGRAMS`-th recorded step, and in those of the beginning.
* ``weight_gradient`` is that of the whole batch's step: unscaled (float16), and before ``clip_norm``; ``grad_norm`` is the 2-norm of all
  parameters' together.
* ``update`` is ‖Δw‖, the 2-norm of what the optimiser's step added to ``weight`` (an EMA or Lookahead comes after), ``update_ratio`` is
  ‖Δw‖ / ‖w‖; null in layers without a weight that is trained. 0 if a float16 step was left out.
* ``end`` is null, but in a line that tells of the step at which training ended with a NaN or an infinity: the reason in words. There the whole
  batch is run, and nothing is known of weight gradients and updates.

Steps are recorded by :class:`Cadence`: the first :data:`BEGINNING`, then every N-th. Numbers have six significant digits.

**The training is not changed by a bit.** Hooks on layers would do that: where somebody looks at its inside, a run of layers is not fused, and a batch
norm fused with its ReLU rounds differently. So activations and gradients come from a run of their own, just before the step: with the same weights,
on the batch's first :data:`IMAGES` images, without fusion. It puts back gradients, running statistics and random numbers, and has no say in which
convolution algorithms are pinned. Weight gradients and updates are read from the step itself.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from . import layer_statistics as look
from . import metrics
from .recipe import Recipe, RecipeError

FORMAT = 1
IMAGES = 128  # of a batch that the activations are those of
BEGINNING = 10  # steps that are all recorded: what goes wrong at once does so here
LINES = 300  # that a run is cut into
SHARE = 0.05  # of the training's time that recording may take, on average after the beginning
COST = 2.0  # of a recorded step beyond a plain one, in steps, if the whole batch is looked at: 1.4 to 1.8 measured for the recipes' nets
HISTOGRAMS = 8


@dataclass(frozen=True)
class Cadence:
    """Which steps are recorded: the first :data:`BEGINNING`, and every ``every``-th.

    By default about :data:`LINES` lines in a run, but fewer where they would take more than :data:`SHARE` of its time: looking at ``images`` of a
    batch costs about :data:`COST` · images / batch_size steps.
    """

    every: int

    @classmethod
    def of(cls, recipe: Recipe, batch_size: int, total_steps: int) -> Cadence:
        """The recipe's ``record_every``, or the default."""
        cost = COST * min(1.0, IMAGES / batch_size)
        return cls(recipe.record_every or max(round(total_steps / LINES), math.ceil(cost / SHARE)))

    def due(self, step: int) -> bool:
        """Whether step number ``step`` (from 1) is recorded."""
        return step <= BEGINNING or step % self.every == 0

    def histograms(self, step: int) -> bool:
        """Whether it is recorded with histograms."""
        return step <= BEGINNING or step % (HISTOGRAMS * self.every) == 0


def check(recipe: Recipe) -> None:
    """Raise RecipeError if what the recipe says about recording cannot be done."""
    if recipe.record_every is not None and not recipe.record:
        raise RecipeError("record_every: needs record = true (--record)")
    if recipe.record and recipe.cuda_graph:
        raise RecipeError("record: a step that is one CUDA graph cannot be looked into; leave out cuda_graph or record")


def read(path) -> tuple[dict, list[dict]]:
    """(the line about the run, the recorded steps) of a run folder or a ``record.jsonl``; a half-written last line is left out.

    Raises:
        FileNotFoundError: if there is none. ValueError: if the file is no record.
    """
    path = Path(path)
    path = path / "record.jsonl" if path.is_dir() else path
    try:
        lines = metrics.read(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a record of layers: {error}") from None
    if not lines or not all(isinstance(line, dict) for line in lines) or lines[0].get("kind") != "about" or lines[0].get("format") != FORMAT:
        raise ValueError(f"{path}: not a record of layers (its first line should be about the run, format {FORMAT})")
    return lines[0], [line for line in lines if line.get("kind") == "record"]


class Recorder:
    """Writes record.jsonl. In a step that is :meth:`due`: :meth:`begin`, then the step itself, which calls :meth:`saw` after forward and
    :meth:`gradients` after backward, then :meth:`end`.

    Args:
        recipe, model, classes: of the run (classes: how many).
        batch_size, total_steps: of it.
    """

    def __init__(self, recipe: Recipe, model, classes: int, batch_size: int, total_steps: int):
        self.cadence = Cadence.of(recipe, batch_size, total_steps)
        self._model = model
        self._about = {
            "format": FORMAT, "version": __version__, "recipe": recipe.name, "model": recipe.model, "data": recipe.data, "classes": classes,
            "ln_classes": look.significant(math.log(classes)), "batch_size": batch_size, "images": min(IMAGES, batch_size),
            "every": self.cadence.every, "total_steps": total_steps, "precision": recipe.precision,
            "layers": [{"name": name, "type": type(module).__name__, "parameters": sum(p.numel() for p in module.parameters())}
                       for name, module in _leaves(model)],
        }
        self._log: metrics.MetricsLog | None = None
        self._layers: list[dict] | None = None  # of the step at work

    def open(self, path, position: int) -> None:
        """Begin to write, after cutting the file back to ``position`` bytes."""
        self._log = metrics.MetricsLog(path, position)
        if self._log.position() == 0:
            self._log.write("about", **self._about)

    def position(self) -> int:
        """Bytes so far, after they have reached the disk."""
        return self._log.position()

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()

    # ---- one step ------------------------------------------------------------------------------------------------

    def begin(self, step: int, run: Callable, scale: float) -> None:
        """Look at the layers before the step: ``run()`` gives the loss of the batch's first images times ``scale``."""
        self._layers = look.probe(self._model, run, scale=scale, histogram=self.cadence.histograms(step))
        self._weights = _weights(self._model)
        self._before = {}
        for layer in self._layers:
            weight = self._weights.get(layer["name"])
            layer |= {"weight": None, "weight_gradient": None, "update": None, "update_ratio": None}
            if weight is not None:
                layer["weight"] = look.moments(weight.backend, weight.array)
                if weight.requires_grad:
                    self._before[layer["name"]] = weight.array.copy()

    @property
    def active(self) -> bool:
        """A step is being recorded."""
        return self._layers is not None

    def saw(self, loss, logits, labels) -> None:
        """The step's loss and logits (N, classes)."""
        if self.active:
            self._result = loss.detach(), logits.detach(), labels

    def gradients(self) -> None:
        """After the step's backward; the parameters' gradients are unscaled and not clipped."""
        total = 0.0
        for parameter in self._model.parameters():
            if parameter.grad is not None:
                total += (look.moments(parameter.backend, parameter.grad.array)["norm"] or math.nan) ** 2
        self._norm = math.sqrt(total) if math.isfinite(total) else None
        for layer in self._layers:
            weight = self._weights.get(layer["name"])
            if weight is not None and weight.grad is not None:
                layer["weight_gradient"] = look.moments(weight.backend, weight.grad.array)

    def end(self, step: int, epoch_progress: float, lr: float) -> None:
        """After the optimiser's step: write the line."""
        for layer in self._layers:
            before = self._before.get(layer["name"])
            if before is not None:
                weight = self._weights[layer["name"]]
                layer["update"] = look.distance(weight.backend, weight.array, before)
                if layer["update"] is not None and layer["weight"]["norm"]:
                    layer["update_ratio"] = look.significant(layer["update"] / layer["weight"]["norm"])
        loss, logits, labels = self._result
        with logits.backend.quiet():
            right = int((logits.array.argmax(1) == labels.array).sum())
        self._write(step, epoch_progress, lr, loss.item(), right / labels.array.shape[0], look.significant(self._norm), None)

    def broken(self, step: int, epoch_progress: float, lr: float, run: Callable, scale: float, reason: str) -> None:
        """Training ends at this step, before any update: look at the layers once more, on ``run()``'s whole batch."""
        self._layers = look.probe(self._model, run, scale=scale, histogram=True)
        for layer in self._layers:
            weight = _weights(self._model).get(layer["name"])
            layer |= {"weight": None if weight is None else look.moments(weight.backend, weight.array), "weight_gradient": None, "update": None,
                      "update_ratio": None}
        self._write(step, epoch_progress, lr, math.nan, None, None, reason)

    def _write(self, step, epoch_progress, lr, loss, accuracy, norm, end):
        self._log.write("record", step=step, epoch_progress=round(epoch_progress, 4), loss=look.significant(loss), accuracy=accuracy,
                        lr=look.significant(lr), grad_norm=norm, end=end, layers=self._layers)
        self._layers = self._weights = self._before = self._result = None


def _leaves(model):
    return [(name or type(module).__name__, module) for name, module in model.named_modules() if not list(module.children())]


def _weights(model) -> dict:
    """Name of a module without children → its ``weight``."""
    return {name: module.weight for name, module in _leaves(model) if getattr(module, "weight", None) is not None}


def opened(recorder: Recorder | None):
    """A context that closes the recorder, if there is one."""
    return contextlib.nullcontext() if recorder is None else contextlib.closing(recorder)
