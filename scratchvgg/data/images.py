"""A picture file becomes an upright RGB picture; its scaling and cropping are torchvision's, to the last bit.

H, W: height and width in pixels. Pillow's own size is (W, H), the sizes of crops are (H, W) as in torchvision.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import numpy as np

from .errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif")
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")  # what is looked for in a file, whatever it is called: no PostScript
MAX_BYTES = 1 << 29  # some decoders take in the whole file
MAX_SCANS = 500  # of a progressive JPEG; usual are about ten. Ten bytes can say "pass over all pixels once more"
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright


def read_picture(path):
    """A picture file as a Pillow image of mode RGB, turned upright as its EXIF says; of an animation the first frame.

    Grey and palettes become RGB, CMYK as Pillow converts it. Of 16 (or 32) bits of grey the upper eight of sixteen are kept, grey in
    floating point is clipped to 0…255. An alpha channel is dropped, not blended: what shows is the colour under the transparency,
    as in torchvision (``convert("RGB")``). Colour profiles are ignored. Pillow's global settings stay as they are, and any number
    of threads may read at once.

    Raises:
        DataError: naming the file and the reason, if it is missing, unreadable, no file, no picture (of :data:`FORMATS`), cut short,
            a bomb, or larger than Pillow's ``Image.MAX_IMAGE_PIXELS`` (89 million; Pillow itself only warns up to twice that).
        ImportError: naming the extra, if Pillow is missing.
    """
    image_module = _pillow()
    name = os.fsdecode(path)
    try:
        with _open(path) as file, image_module.open(file, formats=_formats(image_module)) as picture:
            _check_pixels(image_module, *picture.size)
            if picture.format in ("JPEG", "MPO"):
                _check_scans(file)
            picture.load()
            return _upright(image_module, to_rgb(picture), picture)
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file") from None
    except image_module.UnidentifiedImageError:
        raise DataError(f"{name}: it cannot be read as a picture (it is none of {', '.join(FORMATS)}, or its header is broken)") from None
    except Exception as error:  # decoders meet a broken file with many kinds of exception
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise DataError(f"{name}: it cannot be read as a picture ({reason})") from None


_THROUGH = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}  # what RGB is reached through: palettes with alpha, colours times alpha


def to_rgb(picture):
    """A Pillow image of any mode as one of mode RGB, by the rules of :func:`read_picture`."""
    if picture.mode.startswith("I"):
        values = np.clip(np.asarray(picture), 0, 65535) >> 8
        picture = _pillow().fromarray(values.astype(np.uint8))
    elif picture.mode == "F":
        values = np.clip(np.nan_to_num(np.asarray(picture), posinf=255, neginf=0), 0, 255)
        picture = _pillow().fromarray(values.astype(np.uint8))
    elif picture.mode in _THROUGH:
        picture = picture.convert(_THROUGH[picture.mode])
    return picture.convert("RGB")


def resized_size(width: int, height: int, size: int) -> tuple[int, int]:
    """(W, H) after :func:`resize_shorter`: the shorter side is ``size``, the longer one int(size · longer / shorter), cut, not rounded.

    Raises:
        ValueError: if ``size`` is no positive integer.
        DataError: if a long, thin picture would become larger than Pillow's ``Image.MAX_IMAGE_PIXELS``.
    """
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"size: expected a positive integer (pixels of the shorter side), got {size!r}")
    shorter, longer = sorted((width, height))
    other = int(int(size) * longer / shorter)
    after = (size, other) if width <= height else (other, size)
    check_scaled((width, height), after)
    return after


def check_scaled(before: tuple[int, int], after: tuple[int, int], name="a picture") -> None:
    """Refuse to scale a long, thin picture to one that would not be read, it would be so large. Sizes are (W, H).

    Raises:
        DataError: beginning with ``name``.
    """
    limit, pixels = _pillow().MAX_IMAGE_PIXELS, after[0] * after[1]
    if limit is not None and pixels > max(limit, before[0] * before[1]):
        raise DataError(f"{name}: scaled from {before[0]} × {before[1]} to {after[0]:,} × {after[1]:,} it would have more pixels than "
                        f"the {limit:,} of PIL.Image.MAX_IMAGE_PIXELS: refused")


def resize_shorter(picture, size: int):
    """Scaled so that the shorter side is ``size`` pixels (:func:`resized_size`): torchvision's ``Resize(size)``, bilinear with antialias.

    Raises:
        As :func:`resized_size`.
    """
    return picture.resize(resized_size(*picture.size, size), _pillow().Resampling.BILINEAR)


def center_crop(picture, size: int | tuple[int, int]):
    """The central ``size`` (an integer, or (H, W)); a smaller picture is padded with black. Halves are rounded as torchvision rounds them."""
    height, width = _pair(size)
    left, top = _start(picture.width, width), _start(picture.height, height)
    return picture.crop((left, top, left + width, top + height))


def five_crop(picture, size: int | tuple[int, int]) -> tuple:
    """The crops of ``size`` (an integer, or (H, W)) at top left, top right, bottom left, bottom right and the centre.

    Raises:
        ValueError: if the picture is smaller than a crop.
    """
    height, width = _pair(size)
    if height > picture.height or width > picture.width:
        raise ValueError(f"size: a crop of {height} × {width} (H × W) is larger than the picture of {picture.height} × {picture.width}")
    right, bottom = picture.width - width, picture.height - height
    corners = [picture.crop((left, top, left + width, top + height)) for top in (0, bottom) for left in (0, right)]
    return (*corners, center_crop(picture, (height, width)))


def ten_crop(picture, size: int | tuple[int, int]) -> tuple:
    """:func:`five_crop` of the picture, then of its mirror image."""
    return five_crop(picture, size) + five_crop(picture.transpose(_pillow().Transpose.FLIP_LEFT_RIGHT), size)


def to_array(picture) -> np.ndarray:
    """The pixels of an RGB picture: uint8 (3, H, W), contiguous, writable."""
    return np.array(np.asarray(picture).transpose(2, 0, 1), np.uint8, order="C")


def to_picture(array: np.ndarray):
    """The picture with the pixels uint8 (3, H, W).

    Raises:
        ValueError: for another shape or type.
    """
    if getattr(array, "dtype", None) != np.uint8 or array.ndim != 3 or array.shape[0] != 3:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"array: expected uint8 (3, H, W), got {got}")
    return _pillow().fromarray(np.ascontiguousarray(array.transpose(1, 2, 0)))


def list_pictures(folder) -> list[str]:
    """The picture files (by :data:`EXTENSIONS`) in a folder and its subfolders, in natural order: ``2.png`` before ``10.png``.

    Raises:
        DataError: if the folder, or one in it, cannot be read.
    """
    def refuse(error: OSError):
        raise DataError(f"{error.filename}: {error.strerror}") from None

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = (name for name in folders if not name.startswith("."))
        found += [os.path.join(place, name) for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
    return sorted(found, key=lambda path: ([_natural(part) for part in Path(path).parts], path))


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _pillow():
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading pictures needs Pillow: pip install 'scratchvgg[images]'") from None
    return Image


def _formats(image_module) -> list[str]:
    image_module.init()
    return [name for name in FORMATS if name in image_module.OPEN]


def _open(path):
    """The file, which is checked first to be one: opening a pipe would wait for a writer."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file")
    if not found.st_size:
        raise ValueError("it is empty")
    if found.st_size > MAX_BYTES:
        raise ValueError(f"it has {found.st_size:,} bytes, the limit is {MAX_BYTES:,}")
    return open(path, "rb")


def _check_pixels(image_module, width: int, height: int) -> None:
    limit = image_module.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ValueError(f"its {width} × {height} pixels are more than the {limit:,} of PIL.Image.MAX_IMAGE_PIXELS")


def _check_scans(file) -> None:
    place, scans = file.tell(), 0
    file.seek(0)
    while part := file.read(1 << 20):
        scans += part.count(b"\xff\xda")  # in compressed data 0 or a restart marker follows 255
    file.seek(place)
    if scans > MAX_SCANS:
        raise ValueError(f"its JPEG has {scans:,} scans, the limit is {MAX_SCANS}")


def _upright(image_module, rgb, picture):
    """``rgb`` turned as the EXIF (or XMP) of ``picture`` says; unreadable EXIF says nothing."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # as many kinds as decoders have; the pixels are whole
        return rgb
    turn = image_module.Transpose
    turns = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
             6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90}
    return rgb.transpose(turns[orientation]) if orientation in turns else rgb


def _start(whole: int, part: int) -> int:
    """Where a central part begins. torchvision rounds (whole − part) / 2 to even for a crop, and down to the smaller padding on the left."""
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)


def _pair(size) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0 for side in pair):
        raise ValueError(f"size: expected a positive integer or a pair (height, width) of them, got {size!r}")
    return int(pair[0]), int(pair[1])
