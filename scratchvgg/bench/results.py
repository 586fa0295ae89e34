"""Where reports go: JSON, CSV and pictures, each whole or not there at all."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from pathlib import Path

from ..weights.atomic import atomic_write

RESULTS = Path("benchmarks") / "results"


def default_folder(title: str) -> Path:
    """``benchmarks/results/<title>-<date>-<time>`` below the current folder."""
    return RESULTS / f"{title}-{time.strftime('%Y%m%d-%H%M%S')}"


def write_json(path, report: dict) -> None:
    """A report as JSON; numbers that JSON does not have (NaN, Inf) become null.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        json.dump(_plain(report), file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_csv(path, rows: list[dict]) -> None:
    """The plain values of rows, a column for each key that any of them has.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, (dict, list, tuple))))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path, "w") as file:
        file.write(text.getvalue())


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
