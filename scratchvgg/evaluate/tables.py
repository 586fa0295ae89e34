"""From predictions to the table: errors with their intervals, beside what the paper and torchvision report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .intervals import wilson
from .paper import JITTER, paper_row, torchvision_row
from .plan import Net, Plan, Row

TRAIN_SCALES = (JITTER, 256, 384)
"""The paper's, the best first."""


@dataclass
class Count:
    """One row's pictures so far: ``labelled`` ones, those whose class was not the first (``top1``) or among the first five (``top5``), and
    ``loss``, the sum of −log p of the true class."""

    labelled: int = 0
    top1: int = 0
    top5: int = 0
    loss: float = 0.0


class Tally:
    """Counts the lines of predictions.jsonl; what it holds grows only with the broken pictures.

    Args:
        keys: of the rows.

    Attributes:
        images: lines counted. rows: a :class:`Count` for each key. broken: file and reason of each picture that could not be read.
    """

    def __init__(self, keys: Sequence[str]):
        self.images, self.unlabelled, self.broken = 0, 0, []
        self.rows = {key: Count() for key in keys}

    def add(self, record: dict) -> None:
        """Count a line."""
        self.images += 1
        if "error" in record:
            self.broken.append({"file": record["file"], "reason": record["error"]})
            return
        if record["label"] is None:
            self.unlabelled += 1
            return
        for key, count in self.rows.items():
            said = record["rows"][key]
            count.labelled += 1
            count.top1 += said["rank"] > 1
            count.top5 += said["rank"] > 5
            count.loss -= said["log_probability"]

    def counts(self) -> dict:
        """``images``, ``labelled``, ``unlabelled`` (predicted, but in no error) and ``broken`` ones."""
        labelled = self.images - self.unlabelled - len(self.broken)
        return {"images": self.images, "labelled": labelled, "unlabelled": self.unlabelled, "broken": self.broken}


def result_rows(rows: Sequence[Row], tally: Tally, nets: Sequence[Net], plan: Plan, train_scale=None) -> list[dict]:
    """The table: for each row its errors and, where there is one, the paper's and torchvision's figure for this very evaluation.

    Args:
        train_scale: side S, or (least, most), of the pictures that the nets were trained on. None: not known; then the paper's row for the test
            scales is taken, of the nets trained on the widest range of sides if there are several.

    Returns:
        Dicts of ``key``, ``net``, ``protocol``, ``scales``, ``images`` (labelled ones), ``top1_error`` and ``top5_error`` (per cent),
        ``top1_interval`` and ``top5_interval`` (Wilson's, 95 %, per cent), ``loss`` (mean of −log p of the true class, natural), ``paper``
        (``table``, ``train_scale``, ``top1_error``, ``top5_error``) and ``torchvision`` (``top1_error``, ``top5_error``). What is not there is
        None.
    """
    table = []
    for row in rows:
        count, members = tally.rows[row.key], [nets[i] for i in dict.fromkeys(part.net for part in row.parts)]
        n = count.labelled
        table.append({
            "key": row.key, "net": row.net, "protocol": row.protocol, "scales": list(row.scales), "images": n,
            **{f"{name}_error": 100 * wrong / n if n else None for name, wrong in (("top1", count.top1), ("top5", count.top5))},
            **{f"{name}_interval": _interval(wrong, n) for name, wrong in (("top1", count.top1), ("top5", count.top5))},
            "loss": count.loss / n if n else None, **_references(row, members, plan, train_scale),
        })
    return table


def _interval(k: int, n: int) -> list[float]:
    return [100 * end for end in wilson(k, n)]


def _references(row: Row, members: Sequence[Net], plan: Plan, train_scale) -> dict:
    crops, names = {plan.crop or net.preset.crop_size for net in members}, [net.architecture for net in members]
    if crops != {224}:
        return {"paper": None, "torchvision": None}
    sides = TRAIN_SCALES if train_scale is None else (train_scale,)
    paper = next(filter(None, (paper_row(names, row.protocol, row.scales, side) for side in sides)), None)
    accuracy = torchvision_row(names[0], row.protocol, row.scales) if len(names) == 1 else None
    return {
        "paper": paper and {"table": paper.table, "train_scale": paper.members[0][1], "top1_error": paper.top1, "top5_error": paper.top5},
        "torchvision": accuracy and {"top1_error": round(100 - accuracy[0], 3), "top5_error": round(100 - accuracy[1], 3)},
    }
