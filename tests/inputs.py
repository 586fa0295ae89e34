"""What a case draws for each argument: ``normal(2, 3)`` is a recipe for a 2 × 3 array, drawn when a case runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Input:
    """One argument: ``draw(rng)`` makes the array. Floating arrays take the variant's dtype and, if ``grad``, want a gradient."""

    draw: Callable[[np.random.Generator], np.ndarray]
    grad: bool = True

    def frozen(self) -> Input:
        """The same without a gradient."""
        return Input(self.draw, grad=False)


def normal(*shape, mean=0.0, std=1.0) -> Input:
    """N(mean, std²)."""
    return Input(lambda rng: rng.normal(mean, std, shape))


def uniform(low, high, *shape) -> Input:
    """Uniform in [low, high): positive arguments of log and sqrt, probabilities, saturating ranges."""
    return Input(lambda rng: rng.uniform(low, high, shape))


def off_zero(*shape, gap=0.2) -> Input:
    """Either sign, |x| ≥ gap: away from the kinks of relu and abs and the pole of 1/x."""
    return Input(lambda rng: (gap + np.abs(rng.normal(0, 1, shape))) * rng.choice([-1.0, 1.0], shape))


def distinct(*shape, step=0.25) -> Input:
    """A shuffled grid of multiples of ``step`` plus step/2: no ties, no zeros, exact in float16 up to 2¹¹ elements."""
    count = int(np.prod(shape))
    return Input(lambda rng: ((rng.permutation(count) - count // 2) * step + step / 2).reshape(shape))


def tied(*shape) -> Input:
    """Small whole numbers with many ties, zeros among them: the traps of max, sort and relu. Differences mean nothing there."""
    return Input(lambda rng: rng.integers(-2, 3, shape).astype(float))


def integers(low, high, *shape, dtype="int64") -> Input:
    """Whole numbers in [low, high)."""
    return Input(lambda rng: rng.integers(low, high, shape).astype(dtype), grad=False)


def booleans(*shape) -> Input:
    """True and False, equally often."""
    return Input(lambda rng: rng.random(shape) < 0.5, grad=False)


def array(values, dtype=None, grad=True) -> Input:
    """These very values."""
    return Input(lambda rng: np.array(values, dtype), grad)
