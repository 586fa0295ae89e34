"""The weight-randomisation check of maps: J. Adebayo et al., "Sanity checks for saliency maps", arXiv 1810.03292, section 3.

A map that explains a net must change when the net forgets. From the last layer down, the weights are replaced by random ones, one layer more at
each stage (the cascade), and each method draws its map again, for the same class. Its likeness with the map of the whole net is told by the rank
correlation of the pixels and by SSIM. A method whose maps hardly change while the upper layers are random does not show what these have
learnt. Guided backpropagation is known for that: its maps follow the picture's edges. Maps with signs are compared with their signs.
One picture is an anecdote: repeat the check on several.

The net itself is not touched: a copy forgets.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field

import numpy as np

from ...array import Generator
from ...autograd import as_tensor, no_grad
from ..colours import paint
from ..errors import StudyError
from ..shown import Shown
from . import METHODS, find_methods
from .result import Attribution
from .scope import ClassScore, as_picture, forward, hooked, undisturbed
from .similarity import edges, rank_correlation, ssim

INSENSITIVE = 0.75  # mean rank correlation while the upper half of the layers is random


@dataclass
class Stage:
    """One step of the cascade.

    Attributes:
        layer: the lowest layer that is random now, and all above it; empty for the whole net.
        random: how many are.
        ranks, structure: method → rank correlation, SSIM with the map of the whole net.
        maps: method → the map over its top (:meth:`Attribution.normalised`), float32 (H, W). signed: method → whether it has signs.
    """

    layer: str
    random: int
    ranks: dict[str, float] = field(default_factory=dict)
    structure: dict[str, float] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    signed: dict[str, bool] = field(default_factory=dict)


@dataclass
class Sanity(Shown):
    """The check of several methods.

    Attributes:
        target: the class that all maps are for. methods: their names. layers: how many have weights.
        stages: first the whole net, then with more and more random layers.
        edges: method → rank correlation of the whole net's map with the picture's edges.
    """

    title = "Do the maps depend on what the net learnt?"

    target: ClassScore
    methods: list[str]
    layers: int
    stages: list[Stage]
    edges: dict[str, float]

    def upper_half(self, method: str) -> float:
        """Mean rank correlation over the stages at which at most half of the layers are random (at least the first one)."""
        early = [s for s in self.stages[1:] if 2 * s.random <= self.layers] or self.stages[1:2]
        return float(np.mean([_known(s.ranks[method]) for s in early]))

    def verdict(self, method: str) -> tuple[str, str]:
        """("good" or "bad", a sentence)."""
        value = self.upper_half(method)
        if value > INSENSITIVE:
            return "bad", (f"hardly changes while the upper half of the layers forgets: rank correlation {value:.2f} (above {INSENSITIVE}): "
                           "it shows the picture more than what the net learnt")
        return "good", f"changes when the upper half of the layers forgets: rank correlation {value:.2f} (at most {INSENSITIVE})"

    def to_dict(self) -> dict:
        """Plain values."""
        return {"target": self.target.to_dict(), "layers": self.layers, "threshold": INSENSITIVE,
                "stages": [{"layer": s.layer, "random": s.random, "rank_correlation": s.ranks, "ssim": s.structure} for s in self.stages],
                "edges": self.edges, "verdicts": {m: {"verdict": self.verdict(m)[0], "upper_half": self.upper_half(m)} for m in self.methods}}

    def series(self) -> list[dict]:
        """Curves of the rank correlation over the number of random layers."""
        return [{"name": m, "x": [s.random for s in self.stages], "y": [_known(s.ranks[m]) for s in self.stages]} for m in self.methods]

    def rows(self) -> list[list[str]]:
        """Cells: random from, how many, then rank correlation and SSIM of each method."""
        return [[s.layer or "none", f"{s.random} of {self.layers}",
                 *(f"{_known(table[m]):.2f}" for m in self.methods for table in (s.ranks, s.structure))] for s in self.stages]

    def __str__(self):
        from ..tables import table

        heads = ["random from", "layers", *(f"{m} {what}" for m in self.methods for what in ("rank", "SSIM"))]
        verdicts = [f"{m}: {self.verdict(m)[1]}" for m in self.methods]
        return "\n".join([table(self.rows(), heads), *verdicts, "rank correlation with the picture's edges: "
                          + ", ".join(f"{m} {_known(self.edges[m]):.2f}" for m in self.methods)])

    def to_html(self):
        """Verdicts, curves, maps of each stage, table."""
        from ..page import render

        chosen = self.stages if len(self.stages) <= 7 else [self.stages[round(i * (len(self.stages) - 1) / 6)] for i in range(7)]
        return render("sections/sanity.html", it=self, shown=chosen, paint=paint, small=_small)


def _known(value: float) -> float:
    """NaN (a map without any difference) is no likeness."""
    return value if np.isfinite(value) else 0.0


def check(model, x, target=None, *, methods="gradient,guided,grad-cam", stages: int | None = None, seed: int = 0, preset=None, categories=None,
          progress=None, **options) -> Sanity:
    """Let a copy of the net forget from the top, and compare maps.

    Args:
        model, x, target, preset, categories: as for each method.
        methods: names of :data:`~scratchvgg.study.attribution.METHODS`, a sequence or with commas.
        stages: at how many stages to draw maps, evenly spread; by default after each layer. All layers are random at the last.
        seed: of the random weights. Matrices and filters are drawn from N(0, s²), s their own standard deviation, so signals keep their size; biases
            and what belongs to single channels (of a batch norm) change places.
        progress: called with a line of text at each stage.
        options: of the methods; each goes to those that know it.

    Raises:
        StudyError: as the methods; and for fewer than one stage. RuntimeError: what the net raises.
    """
    names, generator = find_methods(methods), Generator(seed)
    if stages is not None and stages < 1:
        raise StudyError(f"stages: expected 1 or more, got {stages}")
    forgetful, order = copy.deepcopy(model), []
    with undisturbed(forgetful), hooked(forgetful, lambda n, m: bool(list(m.parameters(recurse=False))), lambda n, m, _: order.append((n, m))):
        chosen = forward(forgetful, as_picture(forgetful, x), target, categories).target
    order = list(dict.fromkeys(reversed(order)))  # from the top, each once
    if not order:
        raise StudyError("model: no layer with weights ran")
    count = len(order) if stages is None else min(stages, len(order))
    looks = {round((i + 1) * len(order) / count) for i in range(count)}
    whole = Stage("", 0)
    first = _draw(forgetful, x, chosen, names, preset, categories, options, whole)
    known = edges(first[names[0]].picture)
    result = Sanity(chosen, names, len(order), [whole], {m: rank_correlation(np.abs(first[m].map), known) for m in names})  # edges have no sign
    for number, (name, module) in enumerate(order, 1):
        _forget(module, generator)
        if number in looks:
            if progress:
                progress(f"sanity: {number} of {len(order)} layers random (from {name} up)")
            stage = Stage(name, number)
            _draw(forgetful, x, chosen, names, preset, categories, options, stage)
            result.stages.append(stage)
    for stage in result.stages:
        for m in names:
            stage.ranks[m] = rank_correlation(stage.maps[m], whole.maps[m])
            stage.structure[m] = ssim(_lifted(stage, m), _lifted(whole, m))
    return result


def _small(map: np.ndarray, side: int = 112) -> np.ndarray:
    """Means of blocks, so that no side is longer than ``side``."""
    block = -(-max(map.shape) // side)
    height, width = (n // block * block for n in map.shape)
    return map[:height, :width].reshape(height // block, block, width // block, block).mean((1, 3))


def _lifted(stage, method) -> np.ndarray:
    """The map in 0…1: with signs, 0 becomes 0.5."""
    return (stage.maps[method] + 1) / 2 if stage.signed[method] else stage.maps[method]


def _draw(model, x, chosen, names, preset, categories, options, stage) -> dict[str, Attribution]:
    drawn = {}
    for name in names:
        known = inspect.signature(METHODS[name]).parameters
        own = {key: value for key, value in options.items() if key in known}
        drawn[name] = METHODS[name](model, x, chosen.index, preset=preset, categories=categories, **own)
        stage.maps[name], stage.signed[name] = drawn[name].normalised().astype(np.float32), drawn[name].signed
    return drawn


def _forget(module, generator: Generator) -> None:
    """Random numbers for the module's own weights (not its children's)."""
    single = [tensor for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)] if tensor.ndim == 1]
    order = {n: generator.permutation(n) for n in sorted({tensor.shape[0] for tensor in single})}
    with no_grad():
        for tensor in module.parameters(recurse=False):
            if tensor.ndim > 1:
                drawn = np.empty(tensor.shape, np.float64 if tensor.dtype.itemsize == 8 else np.float32)
                generator.fill_normal(drawn, std=_deviation(tensor.backend.to_numpy(tensor.array)))
                tensor.copy_(as_tensor(drawn).to(tensor.device, tensor.dtype))
        for tensor in single:
            moved = tensor.backend.to_numpy(tensor.array)[order[tensor.shape[0]]]
            tensor.copy_(as_tensor(moved).to(tensor.device, tensor.dtype))


def _deviation(values: np.ndarray) -> float:
    """Standard deviation, row by row of the first dimension: the 100 million weights of a fully connected layer need no second copy."""
    sums = [(part.sum(dtype=np.float64), np.square(part, dtype=np.float64).sum()) for part in (row.astype(np.float64) for row in values)]
    first, second = np.sum(sums, 0) / values.size
    return float(np.sqrt(max(second - first**2, 0.0)))
