"""How far a convolution is from the truth, which is the same sum in float64 (im2col, rounding error about 1e-16).

Errors are in units of the largest true number: max |y − truth| / max |truth|. An algorithm's bound is relative to S = Σ |x|·|w|, the same
sum over absolute values; ``bound_unit`` = max S / max |truth| brings it to the same unit. Where the truth would take long, whole images or whole
channels of the result are drawn, and only those are computed, exactly, and compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import conv
from ..array import CPU, get_backend
from ..array.dtypes import as_dtype

BUDGET = 8_000_000_000  # multiply–accumulates of the truth: some tenths of a second


@dataclass
class Operands:
    """Arrays of a problem, channels-last in memory: ``x`` and ``dy`` from N(0, 1), ``w`` from N(0, 2 / fan-in), ``bias`` from N(0, 1)."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray
    dy: np.ndarray

    @classmethod
    def draw(cls, problem: conv.Problem, dtype, seed: int = 0) -> Operands:
        """For a problem, in ``dtype``."""
        rng, backend = np.random.default_rng(seed), get_backend(CPU)

        def normal(shape, std=1.0):
            out = backend.empty(shape, dtype, "channels_last")
            rows = out.transpose(0, 2, 3, 1)
            rows[...] = rng.standard_normal(rows.shape, np.float32) * np.float32(std)
            return out

        fan_in = problem.C // problem.groups * problem.R * problem.S
        w = normal(problem.w_shape, (2 / fan_in) ** 0.5)
        return cls(normal(problem.x_shape), w, rng.standard_normal(problem.K, np.float32).astype(as_dtype(dtype).numpy), normal(problem.y_shape))


@dataclass
class Truth:
    """What a pass should give, or a drawn part of it.

    Attributes:
        where: index of that part in the result.
        value: float64.
        bound_unit: max S / max |value|; multiplies an algorithm's ``error_bound``.
        drawn: share of the result that is compared, 1.0 if all.
    """

    where: tuple
    value: np.ndarray
    bound_unit: float
    drawn: float

    def errors(self, result) -> tuple[float, float]:
        """Largest error and root mean square of the errors, both over the largest true number; NaN if the result has one."""
        difference = result[self.where].astype(np.float64) - self.value
        largest = np.abs(self.value).max(initial=0.0) or 1.0
        return float(np.abs(difference).max(initial=0.0) / largest), float(np.sqrt(np.mean(np.square(difference))) / largest)


def truth(problem: conv.Problem, which: str, operands: Operands, relu: bool = True, budget: int = BUDGET) -> Truth:
    """The true result of a pass; of ``forward`` with bias and, with ``relu``, max(·, 0).

    Args:
        budget: multiply–accumulates that may be spent; beyond, a part is drawn.
    """
    part, where, pick = _draw(problem, which, budget)
    backend, exact = get_backend(CPU), conv.get("im2col")
    arrays = {name: getattr(operands, name)[index].astype(np.float64) for name, index in pick.items()}
    value = _compute(exact, backend, part, which, arrays)
    size = float(_compute(exact, backend, part, which, {name: np.abs(a) for name, a in arrays.items()}).max(initial=0.0))
    if which == "forward" and relu:
        np.maximum(value, 0, out=value)
    largest = float(np.abs(value).max(initial=0.0)) or 1.0
    return Truth(where, value, size / largest, value.size / max(1, _size(problem, which)))


def _compute(algorithm, backend, problem, which, arrays):
    if which == "forward":
        return algorithm.forward(backend, problem, arrays["x"], arrays["w"], arrays["bias"])
    if which == "grad_input":
        return algorithm.grad_input(backend, problem, arrays["dy"], arrays["w"])
    return algorithm.grad_weight(backend, problem, arrays["dy"], arrays["x"])


def _size(problem, which) -> int:
    return int(np.prod({"forward": problem.y_shape, "grad_input": problem.x_shape, "grad_weight": problem.w_shape}[which]))


def _draw(problem, which, budget):
    """The smaller problem, its place in the result, and where its operands are cut from: images first, then groups or channels."""
    g, rng = problem, np.random.default_rng(0)
    images, channels = slice(None), slice(None)
    share = budget / max(1, g.macs)
    if share < 1 and which != "grad_weight":
        count = max(1, int(g.N * share))
        images, share = np.sort(rng.choice(g.N, count, replace=False)), share * g.N / count
        g = replace(g, N=count)
    wide = g.C if which == "grad_input" else g.K
    if share < 1 and g.groups == 1:
        channels = np.sort(rng.choice(wide, max(1, int(wide * share)), replace=False))
        g = replace(g, C=len(channels)) if which == "grad_input" else replace(g, K=len(channels))
    inputs, outputs = (channels, slice(None)) if which == "grad_input" else (slice(None), channels)
    pick = {"x": _cut(images, inputs), "w": _cut(outputs, inputs), "bias": outputs, "dy": _cut(images, outputs)}
    return g, {"forward": pick["dy"], "grad_input": pick["x"], "grad_weight": pick["w"]}[which], pick


def _cut(first, second):
    """An index of rows ``first`` and columns ``second``: both may be arrays."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first[:, None], second[None, :]
    return first, second
