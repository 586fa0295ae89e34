"""Dropout: N. Srivastava et al., JMLR 15 (2014). Random numbers come from the default Philox generator."""

from __future__ import annotations

from . import functional as F
from .module import Module


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, zero each element with probability ``p`` and divide the others by 1 − p; else the identity.

    Raises:
        ValueError: unless 0 ≤ p ≤ 1.
    """

    def forward(self, input):
        """Apply."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """As :class:`Dropout`, but whole channels of (N, C, H, W)."""

    def forward(self, input):
        """Apply."""
        return F.dropout2d(input, self.p, self.training, self.inplace)
