"""Pieces of an image that fit the cache, and products that BLAS does without packing."""

from __future__ import annotations

SMALL_PRODUCT = 1_000_000
"""OpenBLAS with AVX-512 multiplies (m, k) · (k, n) with m·n·k up to this straight from memory, without packing either operand first: measured
1.3 to 3 times the rate of larger products when a side is short. Elsewhere narrow panels cost little, because they lie in one piece."""


def padded_block(backend, tag, image, images, rows, columns, dtype):
    """A zero-bordered copy of part of an NHWC ``image``.

    Args:
        tag: names the scratch buffer.
        image: (N, H, W, C), any strides.
        images, rows, columns: half-open ranges; rows and columns may reach outside the image, where the copy is zero.

    Returns:
        (n, rows, columns, C) of ``dtype``, C-contiguous scratch.
    """
    _, height, width, channels = image.shape
    (n0, n1), (r0, r1), (c0, c1) = images, rows, columns
    block = backend.workspace(tag, (n1 - n0, r1 - r0, c1 - c0, channels), dtype)
    top, bottom = min(max(0, r0), height), max(min(height, r1), 0)
    left, right = min(max(0, c0), width), max(min(width, c1), 0)
    if bottom <= top or right <= left:
        block[...] = 0
        return block
    if top > r0:
        block[:, : top - r0] = 0
    if bottom < r1:
        block[:, bottom - r0 :] = 0
    if left > c0:
        block[:, :, : left - c0] = 0
    if right < c1:
        block[:, :, right - c0 :] = 0
    block[:, top - r0 : bottom - r0, left - c0 : right - c0] = image[n0:n1, top:bottom, left:right]
    return block


def panel_width(rows: int, depth: int, width: int) -> int:
    """How many columns of a (depth, width) matrix to multiply at a time with ``rows`` rows: the widest divisor that stays a small product."""
    fitting = [d for d in range(16, width + 1) if width % d == 0 and rows * depth * d <= SMALL_PRODUCT]
    return max(fitting, default=width)


def even_ranges(total: int, most: int) -> list[tuple[int, int]]:
    """Cut ``range(total)`` into as few half-open pieces of at most ``most`` as possible, all nearly equal."""
    count = -(-total // max(1, most))
    edges = [total * i // count for i in range(count + 1)] if count else []
    return list(zip(edges, edges[1:], strict=False))
