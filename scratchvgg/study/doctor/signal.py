"""Does a signal pass through the net, and does a gradient come back? What :class:`.probe.Look` says about it."""

from __future__ import annotations

import math

from .probe import Look

CONSTANT = 1e-3  # variation of the logits, below which every image gets the same answer
FADED = 1e-3  # output of the last convolution over that of the first, root mean squares
VANISHED = 1e-4  # 2-norm of the gradient at the first layer's output over that at the last layer's
EXPLODED = 1e3  # of the convolutions alone


def relus(seen: Look) -> list[dict]:
    """The layers that are ReLUs."""
    return [layer for layer in seen.layers if layer["type"] in ("ReLU", "ReLU6")]


def dead(seen: Look) -> list[str]:
    """Names of the ReLUs whose output is zero everywhere."""
    return [layer["name"] for layer in relus(seen) if layer["activation"]["zeros"] == 1]


def fading(seen: Look) -> tuple[float, str, str] | None:
    """(output of the last convolution over that of the first, their names); None with fewer than three, or if one is not finite."""
    rows = [(layer["name"], _rms(layer["activation"])) for layer in seen.layers if layer["type"] == "Conv2d"]
    if len(rows) < 3 or any(size is None for _, size in rows) or not rows[0][1]:
        return None
    return rows[-1][1] / rows[0][1], rows[0][0], rows[-1][0]


def faded(seen: Look) -> bool:
    """The signal shrinks to less than :data:`FADED` on its way."""
    found = fading(seen)
    return found is not None and found[0] < FADED


def constant(seen: Look) -> bool:
    """Every image gets the same answer."""
    return seen.variation < CONSTANT


def gradients(seen: Look) -> list[tuple[str, float]]:
    """(layer, 2-norm of the gradient at its output) of the convolutions and linear layers that got one, in the order of execution."""
    rows = [(layer["name"], layer["gradient"]["norm"]) for layer in seen.layers if layer["type"] in ("Conv2d", "Linear") and layer["gradient"]]
    return [(name, norm) for name, norm in rows if norm is not None]


def explosion(seen: Look) -> float:
    """2-norm of the gradient at the first convolution's output over that at the last one's (a pooling behind it spreads the gradient thin); NaN
    with fewer than three."""
    rows = [layer["gradient"]["norm"] for layer in seen.layers if layer["type"] == "Conv2d" and layer["gradient"]]
    return rows[0] / rows[-1] if len(rows) > 2 and None not in rows and rows[-1] else math.nan


def return_ratio(seen: Look) -> float:
    """2-norm of the gradient at the first layer's output over that at the last layer's; NaN if that cannot be said."""
    rows = gradients(seen)
    return rows[0][1] / rows[-1][1] if len(rows) > 1 and rows[-1][1] else math.nan


def blocked(seen: Look) -> bool:
    """Nothing can be learned by the first layers: no signal comes through, or no gradient comes back."""
    return bool(dead(seen)) or faded(seen) or constant(seen) or return_ratio(seen) < VANISHED


def _rms(statistics) -> float | None:
    return None if statistics["norm"] is None else statistics["norm"] / math.sqrt(statistics["count"])
