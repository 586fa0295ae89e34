"""Arrays as pictures that lie within the page."""

from __future__ import annotations

import base64
import io

import numpy as np

COLOURS = 255


def png(pixels: np.ndarray, alt: str, scale: int = 1, css: str = ""):
    """An ``<img>`` of pixels, as a PNG in a ``data:`` address.

    Args:
        pixels: uint8 (H, W) or (H, W, 3).
        alt: what it shows, for those who cannot see it.
        scale: each pixel becomes so many on each side, hard-edged.
        css: classes.

    Raises:
        ValueError: for another shape or type.
        ImportError: naming the extra, without Pillow or jinja2.
    """
    from markupsafe import Markup

    data, (height, width) = encode(pixels), pixels.shape[:2]
    return Markup('<img class="{}" src="data:image/png;base64,{}" alt="{}" width="{}" height="{}" loading="lazy">').format(
        f"pixels {css}".strip() if scale > 1 else css, base64.b64encode(data).decode(), alt, width * scale, height * scale)


def encode(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG of uint8 (H, W) or (H, W, 3).

    Raises:
        ValueError, ImportError: as :func:`png`.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"pixels: expected uint8 (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("pictures need Pillow: pip install 'scratchvgg[images]'") from None
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return file.getvalue()


def jpeg(pixels: np.ndarray, alt: str, quality: int = 85, css: str = ""):
    """An ``<img>`` of a photograph, as a JPEG: a fifth of a PNG's bytes. Arguments and errors as :func:`png`, uint8 (H, W, 3) only."""
    from markupsafe import Markup

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels: expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("pictures need Pillow: pip install 'scratchvgg[images]'") from None
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality, optimize=True)
    return Markup('<img class="{}" src="data:image/jpeg;base64,{}" alt="{}" width="{}" height="{}" loading="lazy">').format(
        css, base64.b64encode(file.getvalue()).decode(), alt, pixels.shape[1], pixels.shape[0])


def grey(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """uint8 (H, W) of real values: ``low`` black, ``high`` white (by default the least and the greatest); NaN is black."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    return np.round(COLOURS * np.clip((values - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def tiles(pieces, columns: int, gap: int = 1, ground: int = 128) -> np.ndarray:
    """Pictures of one size, uint8 (H, W) or (H, W, 3), side by side in rows of ``columns`` with ``gap`` pixels of grey between them.

    Raises:
        ValueError: for none, or for pictures of several sizes.
    """
    pieces = [np.asarray(piece) for piece in pieces]
    if not pieces or any(piece.shape != pieces[0].shape for piece in pieces):
        raise ValueError(f"tiles: expected pictures of one size, got {sorted({piece.shape for piece in pieces})}")
    height, width, *colours = pieces[0].shape
    rows = -(-len(pieces) // columns)
    sheet = np.full((rows * (height + gap) - gap, min(columns, len(pieces)) * (width + gap) - gap, *colours), ground, np.uint8)
    for number, piece in enumerate(pieces):
        row, column = divmod(number, columns)
        sheet[row * (height + gap) : row * (height + gap) + height, column * (width + gap) : column * (width + gap) + width] = piece
    return sheet
