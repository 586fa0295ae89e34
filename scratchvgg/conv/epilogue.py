"""What follows a convolution and can be done on its output while that is still in cache: scale, ReLU, 2×2 max-pool.

    y = pool(relu(scale · (x ⋆ w) + bias))

Each step is optional. Maximum and ReLU are monotone and round nothing, so their order does not matter: pooling first leaves a
quarter of the work for ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Epilogue:
    """The steps after a convolution.

    Attributes:
        scale: (K,) or None; multiplies the sums before the bias is added (batch normalisation in evaluation).
        relu: max(·, 0).
        pool: maximum over windows of 2×2 pixels, stride 2; an odd last row or column is dropped. The output is (N, K, P // 2, Q // 2).
        winners: uint8 array of the pooled shape, or None; receives the place 2·i + j of each window's maximum, the first of equals.
            A NaN wins over every number, the first NaN over later ones.
    """

    scale: Any = None
    relu: bool = False
    pool: bool = False
    winners: Any = None

    @property
    def trivial(self) -> bool:
        """Nothing to do."""
        return self.scale is None and not self.relu and not self.pool

    def shape(self, problem) -> tuple[int, int, int, int]:
        """Of the result."""
        n, k, p, q = problem.y_shape
        return (n, k, p // 2, q // 2) if self.pool else (n, k, p, q)

    def activate(self, xp, y) -> None:
        """ReLU in place, if it is asked for."""
        if self.relu:
            xp.maximum(y, 0, out=y)

    def reduce(self, backend, corners, out, winners=None) -> None:
        """out = max of the four ``corners`` of each window (row-major, equal shapes, any strides), then ReLU.

        Args:
            corners: four arrays; the first two are overwritten.
            out: where the maximum goes; may be the first corner.
            winners: uint8 of the same shape, or None.
        """
        xp = backend.xp
        a, b, c, d = corners
        if winners is not None:
            self._place(backend, corners, winners)
        xp.maximum(a, b, out=a)
        xp.maximum(c, d, out=b)
        xp.maximum(a, b, out=out)
        self.activate(xp, out)

    @staticmethod
    def _place(backend, corners, winners):
        """The first of the largest: 2·(bottom beats top) + (right beats left in that row)."""
        xp = backend.xp
        a, b, c, d = corners
        top, bottom = xp.maximum(a, b), xp.maximum(c, d)
        lower = bottom > top
        right = xp.where(lower, d > c, b > a)
        xp.multiply(lower.view(xp.uint8), 2, out=winners)
        winners += right.view(xp.uint8)
        peak = xp.maximum(top, bottom)
        if xp.isnan(peak.max(initial=-xp.inf)):
            for place in (3, 2, 1, 0):
                xp.copyto(winners, place, where=xp.isnan(corners[place]))

    def apply(self, backend, y, out=None):
        """All steps on a finished convolution ``y`` (N, K, P, Q) without bias missing; used by algorithms that do not fuse.

        ``y`` is overwritten; the result is ``y`` itself, or ``out``, or a new array when pooling.
        """
        xp = backend.xp
        if not self.pool:
            self.activate(xp, y)
            if out is None or out is y:
                return y
            out[...] = y
            return out
        n, k, p, q = y.shape
        if out is None:
            out = backend.empty((n, k, p // 2, q // 2), y.dtype, "channels_last")
        rows, columns = p // 2 * 2, q // 2 * 2
        corners = [y[:, :, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]
        self.reduce(backend, corners, out, self.winners)
        return out


PLAIN = Epilogue()
