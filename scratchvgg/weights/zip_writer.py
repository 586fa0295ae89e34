"""Zip archives of stored members whose data can be mapped: each begins at a multiple of 64 bytes and is streamed once.

The layout is the one PyTorch's writer gives its files: sizes and CRC-32 follow the data (general purpose bit 3), the padding is an extra field
named ``FB`` of the local header, and the end is in the zip64 form. Format: PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib

ALIGNMENT = 64
_FLAGS = 0x0808  # data descriptor, names in UTF-8
_DATE = 0x0021  # 1 January 1980: equal contents give equal files
_ONES = _LIMIT = 0xFFFFFFFF  # sizes and offsets from here on are in the zip64 extra field, and all ones stand in their own


class ZipWriter:
    """Writes members one after the other; leaving the ``with`` block writes the central directory.

    Args:
        file: an open binary file; only ``write`` is called.
    """

    def __init__(self, file):
        self._file, self._position = file, 0
        self._entries: list[tuple[bytes, int, int, int]] = []  # name, CRC, size, offset of the local header

    def add(self, name: str, size: int, pieces) -> int:
        """Store the bytes of ``pieces`` (``size`` in all) as member ``name``; the CRC-32 is returned."""
        encoded, offset = name.encode(), self._position
        wide = _wide_fields(size, size, offset)
        start = offset + 30 + len(encoded) + len(wide) + 4
        padding = -start % ALIGNMENT
        self._write(struct.pack("<4s5H3I2H", b"PK\3\4", 45 if wide else 20, _FLAGS, 0, 0, _DATE, 0, 0, 0, len(encoded), len(wide) + 4 + padding))
        self._write(encoded + wide + struct.pack("<2sH", b"FB", padding) + b"Z" * padding)
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            self._write(piece)
        if self._position != start + padding + size:
            raise ValueError(f"ZipWriter: {name!r} was announced with {size} bytes and has {self._position - start - padding}")
        self._write(struct.pack("<4sIQQ" if wide else "<4sIII", b"PK\7\x08", crc, size, size))
        self._entries.append((encoded, crc, size, offset))
        return crc

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self._finish()

    def _finish(self):
        start = self._position
        for name, crc, size, offset in self._entries:
            wide = _wide_fields(size, size, offset)
            self._write(struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45 if wide else 20, _FLAGS, 0, 0, _DATE, crc, _narrow(size), _narrow(size),
                                    len(name), len(wide), 0, 0, 0, 0, _narrow(offset)) + name + wide)
        end, count = self._position, len(self._entries)
        self._write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, end - start, start))
        self._write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        self._write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), _narrow(end - start), _narrow(start), 0))

    def _write(self, data):
        self._file.write(data)
        self._position += len(data)


def _narrow(value: int) -> int:
    return value if value < _LIMIT else _ONES


def _wide_fields(*values: int) -> bytes:
    """The zip64 extra field: 64-bit forms of those of the sizes and the offset that 32 bits cannot hold; empty if all fit."""
    wide = [value for value in values if value >= _LIMIT]
    return struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
