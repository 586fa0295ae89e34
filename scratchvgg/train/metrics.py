"""metrics.jsonl: one JSON object a line; what a checkpoint does not know of is cut off on resuming.

``{"kind": "run", ...}`` describes the machine (one more after each resume), ``"step"`` is a logging interval, ``"epoch"`` an epoch.
"""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

from ..weights.atomic import atomic_write


class MetricsLog:
    """Appends lines to a file, each flushed.

    Args:
        path: the file; it is made if it is missing.
        position: cut the file back to so many bytes first (None: keep all but a half-written last line).
    """

    def __init__(self, path, position: int | None = None):
        self._file = open(path, "ab")  # noqa: SIM115 - held until close()
        if position is None:
            position = Path(path).read_bytes().rfind(b"\n") + 1
        if position < self._file.seek(0, os.SEEK_END):
            self._file.truncate(position)
            self._file.seek(position)

    def write(self, kind: str, **values) -> None:
        """Add a line. Numbers that JSON cannot say (NaN, infinities) become null."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"kind": kind, **plain}).encode() + b"\n")
        self._file.flush()

    def position(self) -> int:
        """Bytes so far, after they have reached the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path, kind: str | None = None) -> list[dict]:
    """The lines of a metrics file (those of one ``kind``); a half-written last line is left out."""
    text = Path(path).read_text("utf-8")
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [line for line in lines if kind is None or line["kind"] == kind]


def write_csv(path, epochs: list[dict]) -> None:
    """The epochs' lines as a table."""
    columns = [name for name in (epochs[0] if epochs else {}) if name != "kind"]
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(epochs)
