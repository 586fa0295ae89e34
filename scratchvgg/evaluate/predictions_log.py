"""predictions.jsonl: what each row of the table said of each picture, one line a picture, in the order of the list.

A line is a JSON object with ``index``, ``file``, ``label`` (null: unlabelled) and either ``error``, the reason why the picture could not be
read, or ``rows``: for each row of the table the likeliest ``classes`` and their ``probabilities``, best first, the ``rank`` of the true class
(1: the likeliest; of equals the first) and its ``log_probability`` (natural logarithm); both are null without a label.

Pictures are worked on in steps of a few, and the lines of a step are written together. What a killed process left of an unfinished step is
cut off when the run goes on, and the whole step is done again: the same pictures are computed together as in a run without interruption,
so that every sum rounds the same way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

import numpy as np

from ..data import DataError

SMALLEST = np.finfo(np.float64).tiny  # a probability of 0 has no logarithm


def describe(posterior: np.ndarray, label: int, top: int) -> dict:
    """One row's opinion of one picture.

    Args:
        posterior: float64 (classes,), probabilities.
        label: the true class, −1 if unknown.
        top: how many classes to name.
    """
    best = np.argsort(-posterior, kind="stable")[:top]
    rank = log_probability = None
    if label >= 0:
        own = posterior[label]
        rank = 1 + int((posterior > own).sum()) + int((posterior[:label] == own).sum())
        log_probability = float(np.log(max(own, SMALLEST)))
    return {"classes": best.tolist(), "probabilities": posterior[best].tolist(), "rank": rank, "log_probability": log_probability}


class PredictionsLog:
    """The file, held against other processes until :meth:`close`.

    Args:
        path: made if it is missing.

    Raises:
        DataError: if another process is writing it.
    """

    def __init__(self, path):
        self.path = path
        self._file = open(path, "ab+")  # noqa: SIM115 - held until close()
        with suppress(ImportError):  # Windows: one process at a time is up to the user
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise DataError(f"{path}: another process is writing it") from None

    def replay(self, step: int, total: int) -> Iterator[dict]:
        """The lines of whole steps; when they are exhausted, what follows them is cut off.

        Args:
            step: pictures a step.
            total: pictures in all; the last step may be shorter.

        Raises:
            DataError: for a line before the last that is damaged or out of order.
        """
        kept, unfinished = 0, []
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        for index, line in enumerate(iter(self._file.readline, b"")):
            record = _parsed(line)
            if record is None and self._file.tell() == size:
                break  # the torn end of a killed process
            if record is None or record.get("index") != index or index >= total:
                raise DataError(f"{self.path}: line {index + 1} is damaged or not picture {index}'s; start anew in another folder")
            unfinished.append(record)
            if (index + 1) % step == 0 or index + 1 == total:
                yield from unfinished
                kept, unfinished = self._file.tell(), []
        self._file.truncate(kept)
        self._file.seek(kept)

    def append(self, records: Iterable[dict]) -> None:
        """Add a step's lines; they are with the operating system when this returns."""
        self._file.write("".join(json.dumps(record, allow_nan=False) + "\n" for record in records).encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file and let it go."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _parsed(line: bytes) -> dict | None:
    """The object of a whole line, else None."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
