"""A training, layer by layer over its steps: what ``record.jsonl`` and ``metrics.jsonl`` of a run folder say.

Four numbers of each layer tell most of the story: the standard deviation of its activations (does the signal get through?), the norm of the
gradient that arrives at its output (does learning get through?), the share of dead channels behind a ReLU, and ‖Δw‖ / ‖w‖, how much a step
changes the weights.
"""

from __future__ import annotations

import math
from pathlib import Path

from ..train import metrics, record
from . import verdicts
from .errors import StudyError
from .page import formats
from .shown import Shown
from .tables import table

LINES = 6  # layers in a chart of curves; the map beside it has all

SERIES = {
    "activation_std": ("Standard deviation of the activations", "std", lambda layer: layer["activation"]["std"], True),
    "gradient_norm": ("Norm of the gradient at the layer's output", "norm", lambda layer: (layer["gradient"] or {}).get("norm"), True),
    "update_ratio": ("Update of the weights, ‖Δw‖ / ‖w‖", "ratio", lambda layer: layer["update_ratio"], True),
    "dead_channels": ("Dead channels", "share", lambda layer: layer["activation"]["dead_channels"], False),
}
"""Name → (heading, label of its axis, number of a recorded layer, on a logarithmic axis)."""


class History(Shown):
    """What :func:`of_run` found.

    Attributes:
        path: of the run folder.
        about: the record's line about the run. records: its recorded steps.
        steps: lines of ``metrics.jsonl`` about intervals of steps; ``epochs``: about epochs.
        verdicts: on the training, the worst first (:func:`scratchvgg.study.verdicts.of_record`).
    """

    title = "History"

    def __init__(self, path: Path, about: dict, records: list[dict], steps: list[dict], epochs: list[dict]):
        self.path, self.about, self.records, self.steps, self.epochs = path, about, records, steps, epochs
        self.verdicts = verdicts.of_record(about, records)

    def layers(self, kind: str) -> list[str]:
        """The layers that a series is about: ReLUs and their like for ``dead_channels``, else convolutions and linear layers."""
        types = verdicts.RECTIFIERS if kind == "dead_channels" else verdicts.WEIGHTED
        return [layer["name"] for layer in self.records[-1]["layers"] if layer["type"] in types]

    def series(self, kind: str) -> dict[str, list[float | None]]:
        """Layer → a number for each recorded step, None where there is none.

        Args:
            kind: ``"activation_std"``, ``"gradient_norm"``, ``"update_ratio"`` or ``"dead_channels"``.
        """
        number = SERIES[kind][2]
        by_step = [{layer["name"]: layer for layer in line["layers"]} for line in self.records]
        return {name: [number(layers[name]) if name in layers else None for layers in by_step] for name in self.layers(kind)}

    @property
    def recorded_steps(self) -> list[int]:
        """Numbers of the recorded steps."""
        return [line["step"] for line in self.records]

    def to_dict(self) -> dict:
        """``{"about", "verdicts", "steps", "loss", "accuracy", "lr", "grad_norm", "layers", "epochs"}``: lists over the recorded steps;
        ``layers`` has one of each kind and layer."""
        return {
            "about": self.about, "verdicts": [verdict.to_dict() for verdict in self.verdicts], "steps": self.recorded_steps,
            **{key: [line[key] for line in self.records] for key in ("loss", "accuracy", "lr", "grad_norm")},
            "layers": {kind: self.series(kind) for kind in SERIES},
            "epochs": [{key: line[key] for key in ("epoch", "train_loss", "test_loss", "train_accuracy", "test_accuracy")} for line in self.epochs],
        }

    def rows(self) -> list[list[str]]:
        """Cells of the table, a row for each layer with weights: name, type, then activation's std, gradient's norm and update ratio, at the first
        recorded step and (median) at the end."""
        whole = [line for line in self.records if line["end"] is None] or self.records
        end = verdicts.median_layers(whole[-max(3, round(verdicts.END * len(whole))) :])
        last = {layer["name"]: layer for layer in end}
        first = {layer["name"]: layer for layer in self.records[0]["layers"]}
        rows = []
        for name in self.layers("gradient_norm"):
            cells = [formats.number(SERIES[kind][2](layers[name]) if name in layers else None, 3)
                     for kind in ("activation_std", "gradient_norm", "update_ratio") for layers in (first, last)]
            rows.append([name, last.get(name, first.get(name))["type"], *cells])
        return rows

    def __str__(self):
        heads = ["layer", "type", "std first", "at the end", "gradient first", "at the end", "Δw/w first", "at the end"]
        return f"{self.summary()}\n\n{verdicts.text_of(self.verdicts)}\n\n{table(self.rows(), heads, left=2)}"

    def summary(self) -> str:
        """One sentence: what was trained, how long, with how many records."""
        last = self.records[-1]
        return (f"{self.about['model']} on {self.about['data']}, {self.about['classes']} classes: {len(self.records)} recorded steps up to "
                f"{last['step']} of {self.about['total_steps']}, epoch {last['epoch_progress']:g}; activations of {self.about['images']} of "
                f"{self.about['batch_size']} images a step.")

    # ---- figures ----

    def _drawn(self, kind: str) -> dict[str, list[float | None]]:
        """The series of the layers that have numbers; nothing if they are all 0."""
        values = {name: row for name, row in self.series(kind).items() if any(v is not None for v in row)}
        return values if any(v for row in values.values() for v in row) else {}

    def curves(self) -> list[dict]:
        """Charts over the steps: ``{"title", "y_label", "log", "series"}`` with series as :func:`page.svg.lines` takes them."""
        loss = [{"name": "a batch", "x": self.recorded_steps, "y": [line["loss"] for line in self.records]}]
        if self.steps:
            loss.append({"name": "mean of an interval", "x": [line["step"] for line in self.steps], "y": [line["loss"] for line in self.steps]})
        tested = [line for line in self.epochs if line["test_loss"] is not None]
        if tested:
            loss.append({"name": "test", "x": [line["step"] for line in tested], "y": [line["test_loss"] for line in tested]})
        guess, ends = self.about["ln_classes"], [self.recorded_steps[0], self.recorded_steps[-1]]
        loss.append({"name": f"ln({self.about['classes']}) = {guess:.4g}", "x": ends, "y": [guess, guess], "dash": True})
        largest = max((y for s in loss for y in s["y"] if y is not None), default=guess)
        norm = [{"name": "all parameters", "x": self.recorded_steps, "y": [line["grad_norm"] for line in self.records]}]
        charts = [{"title": "Loss", "y_label": "loss", "log": largest > 20 * guess, "series": loss},
                  {"title": "Norm of the gradient of all parameters", "y_label": "norm", "log": True, "series": norm}]
        for kind, (heading, label, _, log) in SERIES.items():
            values = self._drawn(kind)
            chosen = _spread(list(values), LINES)
            if kind == "dead_channels":  # those with the most
                worst = sorted(values, key=lambda name: -max((v or 0 for v in values[name]), default=0))[:LINES]
                chosen = sorted(worst, key=list(values).index)
            if chosen:
                charts.append({"title": heading, "y_label": label, "log": log, "kind": kind,
                               "series": [{"name": name, "x": self.recorded_steps, "y": values[name]} for name in chosen]})
        return charts

    def histograms(self) -> list[dict]:
        """Per layer the activation's and the gradient's histogram in the first and the last record that has them."""
        having = [line for line in self.records if any(layer["activation"]["histogram"] for layer in line["layers"])]
        if not having:
            return []
        rows = []
        for name in self.layers("gradient_norm") + self.layers("dead_channels"):
            pair = [next((layer for layer in line["layers"] if layer["name"] == name), None) for line in (having[0], having[-1])]
            if None not in pair and name not in [row["name"] for row in rows]:
                rows.append({"name": name, "steps": [having[0]["step"], having[-1]["step"]],
                             "activation": [layer["activation"]["histogram"] for layer in pair],
                             "gradient": [(layer["gradient"] or {}).get("histogram") for layer in pair]})
        order = [layer["name"] for layer in self.records[-1]["layers"]]
        return sorted(rows, key=lambda row: order.index(row["name"]))

    def to_html(self):
        """Verdicts, curves, maps of layer × step, histograms at the beginning and the end."""
        from . import layer_figures
        from .page import render

        maps = [{"title": heading, "kind": kind, "svg": layer_figures.heat_map(
                    list(values), self.recorded_steps, list(values.values()), title=f"{heading}, by layer and step", log=log,
                    limits=None if log else (0.0, 1.0))}
                for kind, (heading, _, _, log) in SERIES.items() if (values := self._drawn(kind))]
        return render("sections/history.html", it=self, charts=self.curves(), maps=maps, rows=self.rows(), histograms=self.histograms(),
                      columns=layer_figures.columns)


def of_run(path) -> History:
    """The history of a run folder; half-written last lines are left out, so it may still be training.

    Raises:
        StudyError: if the folder is no run, has no record, or an empty or damaged one.
    """
    path = Path(path)
    if not (path / "recipe.toml").is_file():
        raise StudyError(f"{path}: {'no run folder, it has no recipe.toml' if path.is_dir() else 'there is no such run folder'}")
    if not (path / "record.jsonl").is_file():
        raise StudyError(f"{path}: the run has no record of its layers; train with --record to get one (or go on: train --resume {path} --record)")
    try:
        about, records = record.read(path)
    except ValueError as error:
        raise StudyError(str(error)) from None
    if not records:
        raise StudyError(f"{path}: no step is recorded yet")
    lines = []
    if (path / "metrics.jsonl").is_file():
        try:
            lines = metrics.read(path / "metrics.jsonl")
        except ValueError as error:
            raise StudyError(f"{path / 'metrics.jsonl'}: damaged: {error}") from None
    return History(path, about, records, [line for line in lines if line["kind"] == "step"], [line for line in lines if line["kind"] == "epoch"])


def _spread(names: list[str], most: int) -> list[str]:
    """At most so many of the names, evenly chosen, with the first and the last."""
    if len(names) <= most:
        return names
    return [names[math.floor(i * (len(names) - 1) / (most - 1) + 0.5)] for i in range(most)]
