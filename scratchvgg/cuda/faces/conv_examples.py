"""What the examples of convolution kernels share: problems, operands in memory order, and the three passes by NumPy in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}
"""RMS error relative to the RMS of the result."""
MAKES = {"forward": "y", "grad_input": "dx", "grad_weight": "dw"}


@dataclass(frozen=True)
class Shape:
    """A convolution problem as faces read it; the attributes are those of :class:`scratchvgg.conv.Problem`."""

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int = 3
    S: int = 3
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def P(self) -> int:
        """Output height."""
        return (self.H + sum(self.padding[0]) - self.dilation[0] * (self.R - 1) - 1) // self.stride[0] + 1

    @property
    def Q(self) -> int:
        """Output width."""
        return (self.W + sum(self.padding[1]) - self.dilation[1] * (self.S - 1) - 1) // self.stride[1] + 1

    @property
    def depth(self) -> int:
        """R·S·C / groups: columns of the column matrix."""
        return self.R * self.S * self.C // self.groups

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, w and y in memory."""
        g = self
        return {"x": (g.N, g.H, g.W, g.C), "w": (g.K, g.R, g.S, g.C // g.groups), "y": (g.N, g.P, g.Q, g.K)}

    @property
    def operations(self) -> int:
        """Multiplications and additions of a pass, borders counted in full."""
        return 2 * self.N * self.P * self.Q * self.K * self.depth

    def __str__(self):
        more = [f"{name} {value}" for name, value in (("stride", self.stride), ("dilation", self.dilation)) if value != (1, 1)]
        more += [f"groups {self.groups}"] * (self.groups > 1)
        return ", ".join([f"{self.N}x{self.H}x{self.W}x{self.C} * {self.K}x{self.R}x{self.S}", *more])


SMALL = {
    "vgg": Shape(2, 8, 6, 5, 12),
    "first": Shape(1, 3, 7, 6, 8),
    "odd": Shape(2, 5, 5, 7, 6, 2, 3, (2, 1), ((0, 1), (2, 1)), (1, 2)),
    "groups": Shape(1, 8, 5, 6, 6, groups=2),
    "1x1": Shape(1, 12, 5, 6, 20, 1, 1, (2, 2), ((0, 0), (0, 0))),
    "wide": Shape(1, 20, 9, 8, 68),
}
VGG = {
    f"conv{name}": Shape(64, c, size, size, k)
    for name, c, k, size in (
        ("1_1", 3, 64, 224), ("1_2", 64, 64, 224), ("2_1", 64, 128, 112), ("2_2", 128, 128, 112), ("3_1", 128, 256, 56), ("3_2", 256, 256, 56),
        ("4_1", 256, 512, 28), ("4_2", 512, 512, 28), ("5", 512, 512, 14),
    )
}  # fmt: skip
"""The convolutions of VGG-16 with 64 images of 224×224."""


def random(backend, rng, shape, dtype):
    """Normal numbers; large arrays repeat a million of them."""
    size = int(np.prod(shape))
    block = backend.asarray(rng.standard_normal(min(size, 1 << 20)).astype(np.float32)).astype(np.dtype(dtype_of(dtype)))
    return backend.asarray(backend.xp.resize(block, shape))


def dtype_of(name: str):
    """The NumPy type of that name."""
    from ...array.dtypes import as_dtype

    return as_dtype(name).numpy


def columns(g, x) -> np.ndarray:
    """The column matrix of every group, (groups, N·P·Q, R·S·C / groups), in float64."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), *g.padding, (0, 0)))
    taps = [padded[_seen(g, r, s)].reshape(g.N * g.P * g.Q, g.groups, -1) for r in range(g.R) for s in range(g.S)]
    return np.stack(taps, 2).transpose(1, 0, 2, 3).reshape(g.groups, -1, g.depth)


def scattered(g, columns) -> np.ndarray:
    """The transpose of :func:`columns`: (N, H, W, C) sums."""
    (top, bottom), (left, right) = g.padding
    dx = np.zeros((g.N, g.H + top + bottom, g.W + left + right, g.C))
    taps = columns.reshape(g.groups, g.N, g.P, g.Q, g.R, g.S, -1).transpose(4, 5, 1, 2, 3, 0, 6).reshape(g.R, g.S, g.N, g.P, g.Q, g.C)
    for r in range(g.R):
        for s in range(g.S):
            dx[_seen(g, r, s)] += taps[r, s]
    return dx[:, top : top + g.H, left : left + g.W]


def reference(g, which: str, a, b) -> np.ndarray:
    """A pass in float64 from its operands in memory order: x and w, dy and w, or dy and x."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if which == "forward":
        return (columns(g, a) @ _matrix(g, b).transpose(0, 2, 1)).transpose(1, 0, 2).reshape(g.shapes["y"])
    slope = a.reshape(-1, g.groups, g.K // g.groups).transpose(1, 0, 2)
    if which == "grad_input":
        return scattered(g, slope @ _matrix(g, b))
    return (slope.transpose(0, 2, 1) @ columns(g, b)).reshape(g.shapes["w"])


def operands(backend, rng, g, which: str, dtype):
    """Random operands of a pass and an array for its result."""
    names = {"forward": "xwy", "grad_input": "ywx", "grad_weight": "yxw"}[which]
    a, b, out = (g.shapes[name] for name in names)
    return random(backend, rng, a, dtype), random(backend, rng, b, dtype), backend.empty(out, dtype)


def _matrix(g, w):
    return w.reshape(g.groups, g.K // g.groups, g.depth)


def _seen(g, r, s):
    """The padded pixels that tap (r, s) reads."""
    rows, across = (
        slice(tap * d, tap * d + (count - 1) * step + 1, step)
        for tap, d, count, step in zip((r, s), g.dilation, (g.P, g.Q), g.stride, strict=True)
    )
    return slice(None), rows, across
