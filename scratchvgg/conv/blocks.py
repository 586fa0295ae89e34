"""Pieces of an image that fit the cache, and products that BLAS does without packing."""

from __future__ import annotations

import functools
import itertools

from ..array.threads import blas_architectures, parallel_for


@functools.cache
def small_product() -> int:
    """The largest m·n·k of a product (m, k) · (k, n) that BLAS does straight from memory, without packing its operands; 0 if it always packs.

    OpenBLAS with AVX-512 kernels does so up to 10⁶; measured, that is 1.1 to 3 times the rate of products a little larger, and near
    the machine's peak even for a dozen rows. So large products are cut into small ones there, and left alone elsewhere.
    """
    return 1_000_000 if blas_architectures() & {"SkylakeX", "Cooperlake", "SapphireRapids"} else 0


ROWS = 12
"""Rows that the AVX-512 kernel takes at a time."""

STRIP = 4 * ROWS
"""Rows that a panel leaves room for in a small product."""

COPIED = 1 << 16
"""Numbers of a matrix that one task copies."""

DEPTH = 512
"""Products added up one after the other, at most."""


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
    fitting = [d for d in range(16, width + 1) if width % d == 0 and rows * depth * d <= small_product()]
    return max(fitting, default=width)


def panels(xp, matrix):
    """A (depth, width) matrix as (panels, depth, width / panels), each panel one piece of memory, for :func:`multiply`."""
    depth, width = matrix.shape
    wide = min(panel_width(STRIP, min(depth, DEPTH), width), width)
    out = xp.empty((width // wide, depth, wide), matrix.dtype)

    def copy(part):
        out[slice(*part)] = matrix[:, part[0] * wide : part[1] * wide].reshape(depth, -1, wide).swapaxes(0, 1)

    parallel_for(copy, even_ranges(len(out), max(1, COPIED // (depth * wide))))
    return out


def multiply(backend, a, filters, out) -> None:
    """out = a · matrix for a (rows, depth), ``filters = panels(matrix)`` and out (rows, width), as many small products.

    Long sums are added up in stretches of :data:`DEPTH` products, as BLAS does in large products: their rounding error grows with the
    square root of a stretch, not of the whole. ``a`` and ``out`` may have any distance between rows, but no other strides.
    """
    xp, (_, depth, wide) = backend.xp, filters.shape
    if small_product() == 0 or (len(filters) == 1 and len(a) * depth * wide <= small_product() and depth <= DEPTH):
        xp.matmul(a, filters[0], out=out)
        return
    stretches = even_ranges(depth, DEPTH)
    for number, (start, end) in enumerate(stretches):
        target = out if number == 0 else backend.workspace("blocks.stretch", out.shape, out.dtype)
        _strips(xp, a[:, start:end], filters[:, start:end], target)
        if number:
            out += target


def _strips(xp, a, filters, out):
    """out = a · matrix, so many rows at a time that each product with a panel is small."""
    count, depth, wide = filters.shape
    rows = len(a)
    strip = min(rows, max(ROWS, small_product() // max(1, depth * wide) // ROWS * ROWS), 8 * ROWS)
    whole = rows // max(1, strip) * strip
    for part in (slice(0, whole), slice(whole, rows)):
        some, target = a[part], out[part]
        if not len(some):
            continue
        length = strip if part.start == 0 else len(some)
        some = some.reshape(-1, 1, length, depth)
        xp.matmul(some, filters, out=target.reshape(len(some), length, count, wide).swapaxes(1, 2))


def even_ranges(total: int, most: int) -> list[tuple[int, int]]:
    """Cut ``range(total)`` into as few half-open pieces of at most ``most`` as possible, all nearly equal."""
    count = -(-total // max(1, most))
    edges = [total * i // count for i in range(count + 1)] if count else []
    return list(itertools.pairwise(edges))


def pixel_pieces(images: int, rows: int, columns: int, pixels: int) -> list[tuple[int, int, int, int]]:
    """Cut images of rows × columns into pieces (n0, n1, p0, p1) of about ``pixels`` pixels: several images, or rows of one.

    The first row of a piece is even, so that windows of pooling are not cut.
    """
    if rows * columns == 0:
        return []
    if rows * columns <= pixels:
        step = pixels // (rows * columns)
        return [(n, min(images, n + step), 0, rows) for n in range(0, images, step)]
    count = -(-rows * columns // pixels)
    step = max(2, -(-rows // (2 * count)) * 2)
    return [(n, n + 1, p, min(rows, p + step)) for n in range(images) for p in range(0, rows, step)]


def batches(pieces, most):
    """Consecutive pieces together, up to ``most`` tiles."""
    batch, tiles = [], 0
    for piece in pieces:
        if batch and tiles + piece.tiles > most:
            yield batch
            batch, tiles = [], 0
        batch.append(piece)
        tiles += piece.tiles
    if batch:
        yield batch
