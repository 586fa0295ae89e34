"""What the files of a run say: ``metrics.jsonl``, and ``record.jsonl`` where the run was made with ``--record``."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field

from ...train import metrics
from ...train.run_folder import RunFolder
from ..errors import StudyError

_FIELDS = {"step": ("step", "loss", "accuracy"), "epoch": ("epoch", "step", "train_loss", "train_accuracy")}


@dataclass
class Record:
    """The course of a run.

    Attributes:
        steps, epochs: the lines of these kinds; a loss that was not finite is NaN.
        planned: epochs that the recipe asks for.
        end: what ``record.jsonl`` says about a NaN or infinity that ended the run: {"step", "lr", "reason"}; else None.
        running: a process is training in the folder right now.
    """

    steps: list[dict] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    planned: int = 0
    end: dict | None = None
    running: bool = False

    @property
    def finished(self) -> bool:
        """All epochs are done."""
        return bool(self.epochs) and self.epochs[-1]["epoch"] >= self.planned

    @property
    def last_step(self) -> int:
        """Number of the last step that was written down, in one file or the other."""
        return max((*(line["step"] for line in (*self.steps, *self.epochs)), self.end["step"] if self.end else 0))

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean training loss since the line before) of the step lines, or of the epochs if there are none."""
        return [(line["step"], line["loss"]) for line in self.steps] or [(line["step"], line["train_loss"]) for line in self.epochs]

    def above(self, level: float) -> tuple[int, float] | None:
        """(step, loss) of the first line whose training loss is above ``level`` or not finite."""
        lines = [(line["step"], line.get("loss", line.get("train_loss"))) for line in (*self.steps, *self.epochs)]
        return next(((step, loss) for step, loss in sorted(lines, key=lambda line: line[0]) if not loss <= level), None)

    @property
    def train_accuracy(self) -> float | None:
        """Of the last epoch, or of the last steps before the first."""
        if self.epochs:
            return self.epochs[-1]["train_accuracy"]
        return self.steps[-1]["accuracy"] if self.steps else None

    @property
    def test_accuracy(self) -> float | None:
        """The last that was measured."""
        tested = [line["test_accuracy"] for line in self.epochs if line.get("test_accuracy") is not None]
        return tested[-1] if tested else None

    def sits_at(self, level: float, tolerance: float = 0.03) -> int:
        """Number of steps at the end of the record in which the loss stayed within ``tolerance`` · ``level`` of ``level``; 0 if the last did not."""
        since = self.last_step
        for step, loss in reversed(self.losses):
            if not abs(loss - level) <= tolerance * level:
                return self.last_step - step if step != self.last_step else 0
            since = step
        return self.last_step if since else 0


def read(folder: RunFolder, planned: int) -> Record:
    """The record of a run folder; an empty one if it has not begun.

    Raises:
        StudyError: if a file is damaged.
    """
    try:
        lines = metrics.read(folder.metrics) if folder.metrics.exists() else []
    except ValueError as error:
        raise StudyError(f"{folder.metrics}: not a file of metrics: {error}") from None
    for number, line in enumerate(lines, 1):
        wants = _FIELDS.get(line.get("kind"), ()) if isinstance(line, dict) else ("kind",)
        if any(name not in line for name in wants) or (wants and not isinstance(line["step"], int)):
            raise StudyError(f"{folder.metrics}: not a file of metrics: line {number} lacks a number: {', '.join(wants)} are expected")
        for name in ("loss", "train_loss", "test_loss"):
            if name in line and line[name] is None and not (name == "test_loss" and line.get("test_accuracy") is None):
                line[name] = math.nan
    steps, epochs = ([line for line in lines if line.get("kind") == kind] for kind in ("step", "epoch"))
    return Record(steps, epochs, planned, _end(folder), _in_use(folder))


def _end(folder) -> dict | None:
    path = folder.path / "record.jsonl"
    if not path.exists():
        return None
    from ...train import record

    try:
        _, lines = record.read(path)
    except ValueError as error:
        raise StudyError(str(error)) from None
    last = lines[-1] if lines else {}
    return {"step": last["step"], "lr": last["lr"], "reason": last["end"]} if last.get("end") else None


def _in_use(folder) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    with contextlib.suppress(OSError), open(folder.path / "lock", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
