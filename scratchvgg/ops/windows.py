"""What the pools share: output sizes, and the part of the input that one offset of every window sees.

Legend: N batch, C channels, H W input, R S window, P Q output. A pool never copies its windows: offset (r, s) of all P × Q
windows is one strided slice of the input, and whatever of it lies in the padding is cut off instead of being stored.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..array import parallel_for, ranges
from .common import check_tensor, pair

_TILE = 1 << 17  # input elements a tile: its slices and temporaries stay in the L2 cache


class Windows(NamedTuple):
    """Geometry of sliding windows; every field is (vertical, horizontal)."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    out: tuple[int, int]

    def offsets(self):
        """All (k, r, s) with k = r · S + s, in row-major order: the order in which ties are decided."""
        rows, columns = self.kernel
        return [(r * columns + s, r, s) for r in range(rows) for s in range(columns)]

    def inside(self, axis: int, offset: int) -> tuple[slice, slice]:
        """(input positions, windows) along ``axis`` for a window offset, without those that fall into the padding."""
        step, start = self.stride[axis], offset * self.dilation[axis] - self.padding[axis]
        first = max(0, -(start // step))
        last = min(self.out[axis], (self.size[axis] - 1 - start) // step + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        return slice(first * step + start, (last - 1) * step + start + 1, step), slice(first, last)

    @property
    def separate(self) -> bool:
        """True if no input element lies in two windows."""
        return all(
            n == 1 or s >= (k - 1) * d + 1 for n, k, s, d in zip(self.out, self.kernel, self.stride, self.dilation, strict=True)
        )


def pool_windows(name, input, kernel_size, stride, padding, dilation=1, ceil_mode=False, too_few=RuntimeError) -> Windows:
    """Check a pool's arguments by torch's rules and return its geometry.

    Raises:
        TypeError: ``input`` is not a Tensor, or sizes are not integers.
        RuntimeError: input not (N, C, H, W) or (C, H, W), an empty dimension other than N, a non-positive kernel, stride or
            dilation, padding beyond half of the kernel, or no room for a single window.
    """
    check_planes(name, input, too_few)
    kernel = pair(name, "kernel_size", kernel_size)
    stride = kernel if stride is None or stride in ((), []) else pair(name, "stride", stride)
    padding, dilation = pair(name, "padding", padding), pair(name, "dilation", dilation)
    for argument, value in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(value) < 1:
            raise RuntimeError(f"{name}: {argument} must be positive, got {value}")
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    if min(padding) < 0 or any(p > k // 2 for p, k in zip(padding, kernel, strict=True)):
        raise RuntimeError(f"{name}: padding must be between 0 and half of the kernel {kernel}, got {padding}")
    size = tuple(input.shape[-2:])
    out = tuple(_outputs(*numbers, ceil_mode) for numbers in zip(size, reach, stride, padding, strict=True))
    if min(out) < 1:
        raise RuntimeError(f"{name}: input of {size[0]}x{size[1]} leaves no room for one window: output would be {out[0]}x{out[1]}")
    return Windows(size, kernel, stride, padding, dilation, out)


def _outputs(size, reach, stride, padding, ceil_mode):
    """Windows along one axis; with ``ceil_mode`` a last partial window counts if it starts inside the input or left padding."""
    room = size + 2 * padding - reach
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def check_planes(name, input, too_few=RuntimeError) -> None:
    """Raise unless ``input`` is a Tensor of shape (N, C, H, W) or (C, H, W) in which only N may be 0.

    ``too_few`` is the class of error for fewer than three dimensions, which torch has not made uniform.
    """
    check_tensor(name, "input", input)
    if input.ndim not in (3, 4):
        error = too_few if input.ndim < 3 else RuntimeError
        raise error(f"{name}: input must be (N, C, H, W) or (C, H, W), got shape {tuple(input.shape)}")
    if 0 in input.shape[-3:]:
        raise RuntimeError(f"{name}: only the batch dimension of input may be empty, got shape {tuple(input.shape)}")


def output_pair(name, input, output_size) -> tuple[int, int]:
    """``output_size`` of an adaptive pool: an int or a pair, None meaning the input's own size.

    Raises:
        RuntimeError: for negative sizes.
    """
    if not isinstance(output_size, (tuple, list)):
        output_size = (output_size, output_size)
    if len(output_size) != 2:
        raise RuntimeError(f"{name}: output_size must be one or two numbers, got {output_size}")
    size = tuple(n if o is None else o for o, n in zip(output_size, input.shape[-2:], strict=True))
    size = pair(name, "output_size", size)
    if min(size) < 0:
        raise RuntimeError(f"{name}: output_size must not be negative, got {size}")
    return size


def adaptive_ranges(size: int, out: int) -> list[tuple[int, int]]:
    """The input range [⌊i·size/out⌋, ⌈(i+1)·size/out⌉) of every output i."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def batched(array):
    """(C, H, W) as (1, C, H, W)."""
    return array[None] if array.ndim == 3 else array


def layout_of(array) -> str:
    """The memory order of (N, C, H, W): ``"channels_last"`` if C is the fastest, else ``"contiguous"``."""
    _, c, h, w = (abs(s) for s in array.strides)
    return "channels_last" if c <= min(h, w) else "contiguous"


def over_images(task, array) -> None:
    """Call ``task(images)`` with slices of the batch small enough for the cache, on the thread pool."""
    images, elements = array.shape[0], math.prod(array.shape[1:])
    parallel_for(lambda piece: task(slice(*piece)), ranges(images, _TILE // max(1, elements)))
