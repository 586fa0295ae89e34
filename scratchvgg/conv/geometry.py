"""The shape of a convolution: everything but the numbers.

Legend, used in all of ``conv/``: N batch, C channels in, K channels out, H W input, R S filter, P Q output.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One convolution problem.

    Attributes:
        N, C, H, W, K, R, S: sizes, see the legend.
        stride, dilation: (vertical, horizontal).
        padding: ((top, bottom), (left, right)) zeros around the input.
        groups: channels are cut into this many independent convolutions.
    """

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def P(self) -> int:
        """Output height, ⌊(H + padding − dilation·(R − 1) − 1) / stride⌋ + 1."""
        return (self.H + sum(self.padding[0]) - self.dilation[0] * (self.R - 1) - 1) // self.stride[0] + 1

    @property
    def Q(self) -> int:
        """Output width."""
        return (self.W + sum(self.padding[1]) - self.dilation[1] * (self.S - 1) - 1) // self.stride[1] + 1

    @property
    def macs(self) -> int:
        """Multiply–accumulates of the forward pass, borders counted in full; each gradient takes as many."""
        return self.N * self.K * self.P * self.Q * (self.C // self.groups) * self.R * self.S

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return self.N, self.C, self.H, self.W

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """(K, C / groups, R, S)."""
        return self.K, self.C // self.groups, self.R, self.S

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """(N, K, P, Q)."""
        return self.N, self.K, self.P, self.Q

    @property
    def rows(self) -> int:
        """Input rows that one output row sees: dilation·(R − 1) + 1."""
        return self.dilation[0] * (self.R - 1) + 1

    @property
    def columns(self) -> int:
        """Input columns that one output pixel sees: dilation·(S − 1) + 1."""
        return self.dilation[1] * (self.S - 1) + 1

    def transposed(self) -> Problem:
        """The convolution of dy with the turned, transposed filter that gives dx. Stride must be 1.

        dx[h] = Σᵣ dy[h + pad − r·d] w[r] is a correlation of dy, padded by (filter reach − 1 − pad), with w turned by 180°.
        """
        (top, bottom), (left, right) = self.padding
        reach_h, reach_w = self.rows - 1, self.columns - 1
        around = (reach_h - top, reach_h - bottom), (reach_w - left, reach_w - right)
        return Problem(self.N, self.K, self.P, self.Q, self.C, self.R, self.S, (1, 1), around, self.dilation, self.groups)


def same_padding(filter_size: tuple[int, int], dilation: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding that keeps the size at stride 1; the odd element goes behind (bottom, right), as in torch."""
    total = [d * (n - 1) for n, d in zip(filter_size, dilation, strict=True)]
    return tuple((t // 2, t - t // 2) for t in total)
