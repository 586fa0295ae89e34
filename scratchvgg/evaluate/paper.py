"""What the paper reports on ILSVRC-2012's validation images (Simonyan & Zisserman, arXiv 1409.1556, Tables 3 to 6), and torchvision.

Errors and accuracies are in per cent. A train scale S is the shorter side of a training picture: fixed, or jittered in (least, most).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TrainScale = int | tuple[int, int]
Member = tuple[str, TrainScale, tuple[int, ...]]  # configuration, train scale, test scales

CONFIGS = {"vgg11": "A", "vgg_a_lrn": "A-LRN", "vgg13": "B", "vgg_c": "C", "vgg16": "D", "vgg19": "E"}
"""Builders of the paper's nets; with batch norm they are not the paper's."""


@dataclass(frozen=True)
class PaperRow:
    """A line of one of the paper's tables.

    Attributes:
        table: its number.
        members: the nets whose posteriors are averaged: (configuration, train scale, test scales) each.
        protocol: ``"dense"``, ``"multicrop"`` or ``"both"``.
        top1, top5: validation errors, per cent.
    """

    table: int
    members: tuple[Member, ...]
    protocol: str
    top1: float
    top5: float


JITTER = (256, 512)


def test_scales(train_scale: TrainScale) -> tuple[int, ...]:
    """The Q of multi-scale testing (§4.2): S − 32, S, S + 32 for a fixed S; least, middle and most of a jittered one.

    Raises:
        ValueError: for an interval that does not rise.
    """
    if isinstance(train_scale, int):
        return train_scale - 32, train_scale, train_scale + 32
    least, most = train_scale
    if least >= most:
        raise ValueError(f"train_scale: expected (least, most), got {train_scale}")
    return least, (least + most) // 2, most


test_scales.__test__ = False  # a name of the field, not a test


def _single(config, train_scale, top1, top5):
    scale = train_scale if isinstance(train_scale, int) else sum(train_scale) // 2
    return PaperRow(3, ((config, train_scale, (scale,)),), "dense", top1, top5)


def _multi(config, train_scale, top1, top5, protocol="dense", table=4):
    return PaperRow(table, ((config, train_scale, test_scales(train_scale)),), protocol, top1, top5)


def _fused(members, protocol, top1, top5):
    return PaperRow(6, tuple((config, s, test_scales(s)) for config, s in members), protocol, top1, top5)


_SUBMITTED = (("D", 256), ("D", 384), ("D", JITTER), ("C", 256), ("C", 384), ("E", 256), ("E", 384))
_BEST = (("D", JITTER), ("E", JITTER))

TABLES: tuple[PaperRow, ...] = (
    _single("A", 256, 29.6, 10.4), _single("A-LRN", 256, 29.7, 10.5), _single("B", 256, 28.7, 9.9),
    _single("C", 256, 28.1, 9.4), _single("C", 384, 28.1, 9.3), _single("C", JITTER, 27.3, 8.8),
    _single("D", 256, 27.0, 8.8), _single("D", 384, 26.8, 8.7), _single("D", JITTER, 25.6, 8.1),
    _single("E", 256, 27.3, 9.0), _single("E", 384, 26.9, 8.7), _single("E", JITTER, 25.5, 8.0),
    _multi("B", 256, 28.2, 9.6),
    _multi("C", 256, 27.7, 9.2), _multi("C", 384, 27.8, 9.2), _multi("C", JITTER, 26.3, 8.2),
    _multi("D", 256, 26.6, 8.6), _multi("D", 384, 26.5, 8.6), _multi("D", JITTER, 24.8, 7.5),
    _multi("E", 256, 26.9, 8.7), _multi("E", 384, 26.7, 8.6), _multi("E", JITTER, 24.8, 7.5),
    _multi("D", JITTER, 24.6, 7.5, "multicrop", 5), _multi("D", JITTER, 24.4, 7.2, "both", 5),
    _multi("E", JITTER, 24.6, 7.4, "multicrop", 5), _multi("E", JITTER, 24.4, 7.1, "both", 5),
    _fused(_SUBMITTED, "dense", 24.7, 7.5),
    _fused(_BEST, "dense", 24.0, 7.1), _fused(_BEST, "multicrop", 23.9, 7.2), _fused(_BEST, "both", 23.7, 6.8),
)  # fmt: skip
"""Tables 3 (one scale), 4 (several scales), 5 (dense against crops; its dense rows are those of Table 4) and 6 (several nets)."""

_ROWS = {(frozenset(row.members), row.protocol): row for row in TABLES}


def paper_row(net: str | Sequence[str], protocol: str, scales: int | Iterable[int], train_scale: TrainScale | None) -> PaperRow | None:
    """The paper's figure for an evaluation.

    Args:
        net: a builder's name or a configuration's (``"vgg16"``, ``"D"``); several for their fusion.
        protocol: as in :class:`PaperRow`.
        scales: the test scales Q, in any order.
        train_scale: of all nets; None if it is not known.

    Returns:
        None if the paper has no such experiment: another protocol, scale or net, batch norm, an unknown train scale.
    """
    if train_scale is None:
        return None
    nets = [net] if isinstance(net, str) else list(net)
    scales = (scales,) if isinstance(scales, int) else tuple(sorted(scales))
    train_scale = train_scale if isinstance(train_scale, int) else tuple(train_scale)
    members = [(CONFIGS.get(name, name), train_scale, scales) for name in nets]
    return find_row(members, protocol)


def find_row(members: Iterable[Member], protocol: str) -> PaperRow | None:
    """As :func:`paper_row`, for nets that differ in their scales: (configuration, train scale, test scales in rising order) each."""
    members = list(members)
    return _ROWS.get((frozenset(members), protocol)) if len(set(members)) == len(members) else None


TORCHVISION: dict[str, tuple[float, float]] = {
    "vgg11": (69.020, 88.628), "vgg11_bn": (70.370, 89.810), "vgg13": (69.928, 89.246), "vgg13_bn": (71.586, 90.374),
    "vgg16": (71.592, 90.382), "vgg16_bn": (73.360, 91.516), "vgg19": (72.376, 90.876), "vgg19_bn": (74.218, 91.842),
}  # fmt: skip
"""Accuracies top-1 and top-5 of torchvision's ``IMAGENET1K_V1`` weights: one centre crop of 224 pixels at scale 256."""


def torchvision_row(net: str, protocol: str, scales: int | Iterable[int], crop: int = 224) -> tuple[float, float] | None:
    """torchvision's (top-1, top-5) accuracy of its weights if it was measured by this very protocol, else None."""
    scales = (scales,) if isinstance(scales, int) else tuple(scales)
    return TORCHVISION.get(net) if (protocol, scales, crop) == ("center", (256,), 224) else None
