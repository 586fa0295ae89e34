"""Which net a state dict belongs to, by names and shapes alone: ``best_match(sv.load("some.pth"))``.

Candidates are the twelve nets of the paper and :func:`cifar_vgg` on the same configurations. The number of classes is that of the file's
last linear layer. No weights are read, converted or made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from .. import nn
from ..weights import layouts
from .registry import get_model

_NETS = {"vgg16": "D", "vgg16_bn": "D", "vgg19": "E", "vgg19_bn": "E", "vgg11": "A", "vgg11_bn": "A", "vgg13": "B", "vgg13_bn": "B",
         "vgg_c": "C", "vgg_c_bn": "C", "vgg_a_lrn": "A-LRN", "vgg_a_lrn_bn": "A-LRN"}  # of equal matches, the first


@dataclass(frozen=True)
class Match:
    """How a state dict compares with one net.

    Attributes:
        name: of the net's builder; ``get_model(name, num_classes=…, **options)`` builds it.
        num_classes: rows of the last linear layer; None if the file has no classifier.
        missing: entries that the net has and the file lacks; a batch norm's counter may be missing.
        unexpected: entries that the file has and the net lacks.
        mismatched: name → (shape in the file, shape in the net).
        matched: number of entries with the right name and shape.
        options: further arguments of the builder.
    """

    name: str
    num_classes: int | None
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    matched: int
    options: dict = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether the net loads the file with ``strict=True``."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def features_only(self) -> bool:
        """Whether the file is this net's convolutions, whole, and nothing of its classifier."""
        return self.num_classes is None and self.matched > 0 and not self.unexpected and not self.mismatched and not _features(self.missing)

    def __str__(self):
        net = self.name + (f"({', '.join(f'{k}={v!r}' for k, v in self.options.items())})" if self.options else "")
        if self.exact:
            return f"{net}, {self.num_classes} classes, all {self.matched} entries match"
        if self.features_only:
            return f"{net} without classifier, all {self.matched} entries of its features match"
        if not self.matched:
            return "no VGG: none of its names and shapes fit"
        counts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        wrong = ", ".join(f"{len(names)} {what} ({next(iter(names))}{', …' * (len(names) > 1)})" for what, names in counts.items() if names)
        return f"no net here; nearest is {net}: {self.matched} entries match, {wrong}"


def rank(state: Mapping) -> list[Match]:
    """All candidates, the best match first.

    What counts is first the number of convolution entries that do not fit, then of classifier entries (none, if the file has no classifier);
    of equals the paper's nets come before ``cifar_vgg``.

    Args:
        state: a state dict, or what ``load`` returned: wrapped, prefixed or in another layout (:mod:`scratchvgg.weights.layouts`).

    Raises:
        WeightsError: if there are no weights in it.
    """
    shapes = {name: entry.shape for name, entry in layouts.plan(layouts.find_state_dict(state)).items()}
    return sorted((_compare(shapes, *candidate) for candidate in _candidates()), key=lambda match: _distance(match, shapes))


def best_match(state: Mapping) -> Match:
    """The first of :func:`rank`; look at its ``exact``, for a file of another kind of net has a nearest VGG too."""
    return rank(state)[0]


def _candidates():
    """(name, options) of every net, in the order of preference."""
    for name in _NETS:
        yield name, {}
    for name, config in _NETS.items():
        yield "cifar_vgg", {"config": config, "batch_norm": name.endswith("_bn")}


@cache
def _shapes(name, options):
    """Entry → shape of a net with one class, built without values."""
    with nn.init.skip():
        net = get_model(name, num_classes=1, **dict(options), **({"init_weights": False} if name in _NETS else {}))
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def _compare(shapes, name, options):
    wanted = dict(_shapes(name, tuple(options.items())))
    last = next(key for key in reversed(wanted) if key.endswith(".weight"))
    heads = [s for key, s in shapes.items() if key.startswith("classifier.") and key.endswith(".weight") and len(s) == 2]
    num_classes = shapes[last][0] if len(shapes.get(last, ())) == 2 else heads[-1][0] if heads else None
    for key in (last, last.removesuffix("weight") + "bias"):
        wanted[key] = (num_classes or 1000, *wanted[key][1:])
    missing = tuple(key for key in wanted if key not in shapes and not key.endswith(".num_batches_tracked"))
    unexpected = tuple(key for key in shapes if key not in wanted)
    mismatched = {key: (shapes[key], shape) for key, shape in wanted.items() if key in shapes and shapes[key] != shape}
    matched = sum(shapes.get(key) == shape for key, shape in wanted.items())
    return Match(name, num_classes, missing, unexpected, mismatched, matched, options)


def _distance(match, shapes):
    wrong = [*match.missing, *match.unexpected, *match.mismatched]
    convolutions = len(_features(wrong))
    has_classifier = len(_features(shapes)) < len(shapes)
    return convolutions, (len(wrong) - convolutions) * has_classifier


def _features(names):
    return [name for name in names if name.startswith("features.")]
