"""What the examples of kernels over NHWC arrays share: arrays, VGG-16's activations, and windows in NumPy."""

from __future__ import annotations

import numpy as np

from ..example_arrays import random_array

LARGE = ((64, 64, 224, 224), (64, 512, 28, 28))
"""(N, C, H, W) of conv1_2's and conv4_2's output with 64 images."""
LARGE_TYPES = "float32", "bfloat16"


def random_planes(backend, rng, shape, dtype, rectified: bool = False):
    """Normal numbers (N, C, H, W), channels last in memory; ``rectified``: the negative ones are 0, so that maxima have ties."""
    n, c, h, w = shape
    out = random_array(backend, rng, (n, h, w, c), dtype)
    if rectified:
        out *= out > 0
    return out.transpose(0, 3, 1, 2)


def corners(x):
    """The four pixels of every 2 × 2 window, (4, N, C, ⌊H / 2⌋, ⌊W / 2⌋)."""
    h, w = (n // 2 * 2 for n in x.shape[2:])
    return np.stack([x[:, :, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)])


def to_winners(g, place, shape):
    """g of every 2 × 2 window at the pixel ``place`` of it, 0 elsewhere; (N, C, H, W) of ``shape``."""
    out = np.zeros(shape)
    h, w = (n // 2 * 2 for n in shape[2:])
    for k in range(4):
        out[:, :, k // 2 : h : 2, k % 2 : w : 2] = np.where(place == k, g, 0)
    return out


class Windows:
    """Sliding windows over padded planes, in NumPy.

    Args:
        size, kernel, stride, padding, dilation, out: (vertical, horizontal).
    """

    def __init__(self, size, kernel, stride, padding, dilation, out):
        self.size, self.kernel, self.stride, self.padding, self.dilation, self.out = size, kernel, stride, padding, dilation, out

    def __str__(self):
        named = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return f"{self.kernel[0]}x{self.kernel[1]} windows on {self.size[0]}x{self.size[1]}, " + ", ".join(f"{k} {v}" for k, v in named.items())

    def padded(self, x, value):
        """x (N, C, H, W) with ``value`` around it, as far as any window reaches."""
        reach = [
            (o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(self.out, self.stride, self.kernel, self.dilation, strict=True)
        ]
        pads = [(p, max(0, r - p - n)) for p, r, n in zip(self.padding, reach, self.size, strict=True)]
        return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)

    def places(self):
        """Where offset k of all windows lies in the padded planes, for every k."""
        def along(axis, offset):
            start = offset * self.dilation[axis]
            return slice(start, start + (self.out[axis] - 1) * self.stride[axis] + 1, self.stride[axis])

        return [(slice(None), slice(None), along(0, r), along(1, s)) for r in range(self.kernel[0]) for s in range(self.kernel[1])]

    def each(self, x, value=0.0):
        """(R·S, N, C, P, Q): what every window sees."""
        wide = self.padded(x, value)
        return np.stack([wide[place] for place in self.places()])

    def spread(self, parts):
        """The transpose of :meth:`each`: ``parts`` (R·S, N, C, P, Q) added up where they came from, (N, C, H, W)."""
        wide = self.padded(np.zeros((*parts.shape[1:3], *self.size)), 0.0)
        for place, part in zip(self.places(), parts, strict=True):
            wide[place] += part
        (top, left), (h, w) = self.padding, self.size
        return wide[:, :, top : top + h, left : left + w]


SMALL_WINDOWS = (
    Windows((6, 8), (2, 2), (2, 2), (0, 0), (1, 1), (3, 4)),
    Windows((7, 6), (3, 3), (2, 2), (1, 1), (1, 1), (4, 3)),
    Windows((5, 7), (3, 2), (1, 2), (1, 0), (1, 1), (5, 4)),  # ceil_mode: the last windows hang over the edge
)
