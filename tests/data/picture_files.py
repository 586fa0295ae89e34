"""Picture files that Pillow does not write: bombs in a few bytes, made by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png(width: int, height: int, *chunks: tuple[bytes, bytes], rows: bytes = b"") -> bytes:
    """A grey PNG whose header says ``width`` × ``height``, with the chunks before its data."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def bmp(width: int, height: int) -> bytes:
    """A header without pixels."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    """A screen of that size and a frame that fills it, without data."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\0;"


def webp(width: int, height: int) -> bytes:
    """A lossless frame of that size (at most 16384 a side), without data."""
    data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(16)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff(width: int, height: int) -> bytes:
    """An uncompressed grey strip of that size that is not there."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1), (278, 4, height),
            (279, 4, width * height % 2**32)]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags) + bytes(4)


def ppm(width: int, height: int) -> bytes:
    """A header without pixels."""
    return b"P6\n%d %d\n255\n" % (width, height)


def progressive_jpeg(width: int, height: int, scans: int) -> bytes:
    """A grey JPEG with so many scans, of which all but the first say nothing new in ten bytes each."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(stream, "JPEG", progressive=True)
    data, place, out, starts = stream.getvalue(), 2, b"\xff\xd8", []
    while data[place + 1] != 0xD9:
        marker, size = data[place + 1], struct.unpack(">H", data[place + 2:place + 4])[0]
        segment, place = data[place:place + 2 + size], place + 2 + size
        if marker == 0xDA:  # a scan: its header, then data up to the next marker
            starts.append(segment)
            while not (data[place] == 0xFF and data[place + 1] not in (0, *range(0xD0, 0xD8))):
                place += 1
            continue
        out += segment[:5] + struct.pack(">HH", height, width) + segment[9:] if marker == 0xC2 else segment
    return out + starts[0] + bytes(16) + (starts[-1] + bytes(2)) * (scans - 1) + b"\xff\xd9"


HEADERS = {"bmp": bmp, "gif": gif, "webp": webp, "tif": tiff, "ppm": ppm, "png": png}
