"""What is to be computed: nets, pictures, protocols and scales, and the rows of the table that follow from them.

The *parts* of the work are (net, protocol, scale Q) for the protocols that stand by themselves. The posterior (class probabilities) of every
row of the table is the mean of some parts':

===================  =======================================================
dense at Q           the part itself
dense at Q₁, Q₂, Q₃  the three parts: the paper's multi-scale evaluation (§4.2)
both                 those of dense and those of multicrop (§4.3)
net 1 + net 2        those of either net (§4.4)
===================  =======================================================
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..array import Generator
from . import protocols as registry

TYPICAL = (375, 500)
"""Height and width, in pixels, of the picture by which work is estimated: ImageNet's commonest."""


class Part(NamedTuple):
    """What is computed once: net number, protocol, scale."""

    net: int
    protocol: str
    scale: int


@dataclass(frozen=True)
class Net:
    """A net to test.

    Attributes:
        name: in the table: its builder's, with ``#2`` and so on behind it if there are several of a kind.
        model: maps (N, 3, H, W) to logits.
        preset: how its pictures are cut and normalised.
        classes: size of its output.
        identity: what tells its weights from others, such as a SHA-256; a run goes on only with the same.
    """

    name: str
    model: object
    preset: object
    classes: int
    identity: dict = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The builder's name, by which the paper's figures are found."""
        return self.name.partition("#")[0]


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in an order.

    Attributes:
        names: one each, the same wherever the files lie.
        labels: int64 (N,), −1 = unlabelled.
        read: gives picture i as Pillow's RGB image, or raises DataError.
    """

    names: Sequence[str]
    labels: np.ndarray
    read: Callable[[int], object]

    def __len__(self):
        return len(self.names)

    def some(self, limit: int | None) -> Pictures:
        """``limit`` of them, drawn at random (a folder is sorted by class), always the same and in their order; all if there are no more."""
        if limit is None or limit >= len(self):
            return self
        chosen = sorted(Generator(0).permutation(len(self))[:limit].tolist())
        return Pictures([self.names[i] for i in chosen], self.labels[chosen], lambda i: self.read(chosen[i]))

    def digest(self) -> str:
        """SHA-256 of names and labels."""
        return hashlib.sha256(json.dumps([list(self.names), self.labels.tolist()]).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """A row of the table: ``key`` names it in predictions.jsonl; its posterior is the mean over ``parts``."""

    net: str
    protocol: str
    scales: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        """``vgg16 dense@256,384,512``"""
        return f"{self.net} {self.protocol}@{','.join(map(str, self.scales))}"


@dataclass(frozen=True)
class Plan:
    """What to compute.

    Args:
        protocols: names of :data:`~scratchvgg.evaluate.protocols.PHOTO_PROTOCOLS`, and ``"both"``.
        scales: Q, length of the pictures' shorter side; several add rows for the mean over them.
        crop: side of the crops (None: each net's own).
        average: what dense evaluation averages over space: ``"scores"`` as in the paper, or ``"softmax"``.
        flip: add the mirror image in dense and multi-crop evaluation.
        batch_size: crops that go through a net at once.
        top: classes a row in predictions.jsonl.

    Raises:
        ValueError: for an unknown or repeated protocol or scale, or a number below 1.
    """

    protocols: tuple[str, ...]
    scales: tuple[int, ...]
    crop: int | None = None
    average: str = "scores"
    flip: bool = True
    batch_size: int = 16
    top: int = 5

    def __post_init__(self):
        known = (*registry.PHOTO_PROTOCOLS, *registry.FUSED)
        for name, values, allowed in (("protocols", self.protocols, known), ("scales", self.scales, None)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name}: expected one or more different ones, got {', '.join(map(str, values)) or 'none'}")
            for value in values:
                if allowed is not None and value not in allowed:
                    raise ValueError(f"{name}: expected some of {', '.join(allowed)}, got {value!r}")
        if self.average not in ("scores", "softmax"):
            raise ValueError(f"average: expected scores or softmax, got {self.average!r}")
        for name, value in (("scales", min(self.scales)), ("batch_size", self.batch_size), ("top", self.top)):
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")

    def rows(self, nets: Sequence[str]) -> list[Row]:
        """The table's rows for nets of these names: scale by scale, then all scales; net by net, then all nets."""
        sets = [(q,) for q in self.scales] + ([self.scales] if len(self.scales) > 1 else [])
        who = [(name, (i,)) for i, name in enumerate(nets)] + ([("+".join(nets), tuple(range(len(nets))))] if len(nets) > 1 else [])
        return [
            Row(name, protocol, scales, tuple(Part(n, p, q) for n in numbers for p in _singles(protocol) for q in scales))
            for protocol in self.protocols for scales in sets for name, numbers in who
        ]

    def cost(self, part: Part, crop: int) -> float:
        """Forward passes a picture of :data:`TYPICAL` size takes, in those of one crop."""
        return registry.cost(part.protocol, TYPICAL, part.scale, crop, self.flip)

    def step(self, crop: int) -> int:
        """Pictures worked on together: as many as fill a batch with the crops of the most demanding part."""
        parts = {part for row in self.rows(["net"]) for part in row.parts}
        return max(1, self.batch_size // math.ceil(max(self.cost(part, crop) for part in parts)))


def _singles(protocol: str) -> tuple[str, ...]:
    return registry.FUSED.get(protocol, (protocol,))
