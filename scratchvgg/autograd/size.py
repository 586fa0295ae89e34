"""The shape of a tensor."""

from __future__ import annotations

import math


class Size(tuple):
    """A tuple of sizes with torch's ``numel``; its slices are shapes too."""

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self)

    def __getitem__(self, index):
        part = super().__getitem__(index)
        return Size(part) if isinstance(index, slice) else part

    def __repr__(self):
        return f"Size({list(self)})"
