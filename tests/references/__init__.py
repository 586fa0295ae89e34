"""Stored outputs of torch: what the core suite compares with where torch is not installed.

One npz per family of ``tests/ops/cases``, made by ``python -m tests.references.make``. In it

- ``index``: JSON, case → its inputs and its results and gradients, each as [dtype, shape], in order;
- ``float64``, ``float32``, ``int64``, …: the elements of all of them, end to end, in one vector per stored type.

Inputs are float32 values, the truth is torch in float64 on them (rounded to 41 bits, 1/200 of the tolerance), and beside each floating result
stands its dtype and torch's RMS error in float32 (the largest of five draws).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.harness import Outcome

FOLDER = Path(__file__).parent


class Reference(NamedTuple):
    """What is stored of one case: the inputs in float64 (or integers), torch's outcome on them in float64, its kinds and errors in float32."""

    inputs: list[np.ndarray]
    truth: Outcome
    kinds32: dict[str, str]
    errors32: dict[str, float]

    def peer(self, dtype: str) -> Outcome:
        """What torch gives in ``dtype``, up to rounding: the truth in the dtypes that torch's results have."""
        if dtype == "float64":
            return self.truth

        def cast(name, value):
            return value.astype(self.kinds32[name]) if name in self.kinds32 else value

        names = list(self.truth.named())[: len(self.truth.results)]
        gradients = {n: cast(f"gradient of {n}", g) for n, g in self.truth.gradients.items()}
        return Outcome([cast(n, r) for n, r in zip(names, self.truth.results, strict=True)], gradients)


class Vectors:
    """Arrays end to end, one vector per dtype, taken out in the order in which they were put in."""

    def __init__(self, stored=None):
        self.parts: dict[str, list[np.ndarray]] = {}
        self.stored, self.position = stored, {}

    def put(self, array: np.ndarray) -> list:
        """Append; returns [dtype, shape] for the index."""
        self.parts.setdefault(array.dtype.name, []).append(array.reshape(-1))
        return [array.dtype.name, list(array.shape)]

    def take(self, dtype: str, shape: list[int]) -> np.ndarray:
        """The next array of that dtype."""
        start = self.position.get(dtype, 0)
        self.position[dtype] = end = start + int(np.prod(shape, dtype=np.int64))
        return self.stored[dtype][start:end].reshape(shape)


def load(family: str) -> dict[str, Reference]:
    """The references of one family by case name; empty if none are stored."""
    path = FOLDER / f"{family}.npz"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    vectors = Vectors(arrays)
    return {name: _decode(entry, vectors) for name, entry in json.loads(str(arrays["index"])).items()}


def _decode(entry, vectors) -> Reference:
    def take(kind):
        array = vectors.take(*kind)
        return array.astype(np.float64) if array.dtype == np.float32 else array

    inputs = [take(kind) for kind in entry["inputs"]]
    results = [r["plain"] if "plain" in r else vectors.take(*r["kind"]).astype(r["dtype"]) for r in entry["results"]]
    gradients = {n: None if kind is None else vectors.take(*kind) for n, kind in entry["gradients"].items()}
    return Reference(inputs, Outcome(results, gradients), entry["kinds32"], entry["errors32"])
