"""Zip archives whose members are stored as they are, read by offset and believed only where every record agrees.

A zip file says everything twice: before each member, and in the directory at its end. Readers that trust one of the two can
be shown another file than readers that trust the other. Here the two must agree, and the file must be tiled without a gap:

    local header · name · extra · data · [descriptor]     once a member, from byte 0 on
    directory entry                                       once a member
    [zip64 end record · zip64 locator] · end record       up to the last byte

Nothing can hide between, before or after the members, no two overlap, and what is stored cannot be larger than the file.
The layout is that of PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..array.threads import parallel_for
from .source import LARGE, Malformed, Source

START = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s5H3I2H")  # signature, version, flags, method, time, date, crc, packed, size, name length, extra length
_ENTRY = struct.Struct("<4s6H3I5H2I")  # signature, made by, version, flags, method, time, date, crc, packed, size, lengths, disk, attributes, offset
_END = struct.Struct("<4s4H2IH")  # signature, disk, disk, entries here, entries, directory's size, directory's offset, comment length
_LOCATOR = struct.Struct("<4sIQI")  # signature, disk, zip64 end record's offset, disks
_END64 = struct.Struct("<4sQ2H2I4Q")  # signature, size of the rest, made by, version, disk, disk, entries here, entries, directory's size, offset
_DESCRIPTORS = (struct.Struct("<4sIQQ"), struct.Struct("<4sIII"))  # signature, crc, packed, size: as zip64 and plain
_DESCRIBED, _UTF8 = 1 << 3, 1 << 11  # flags: crc and sizes follow the data; the name is UTF-8
_HARMLESS = _DESCRIBED | _UTF8 | 0b110  # bits 1 and 2 speak of compression that stored members do not have
_MOST_MEMBERS, _LARGEST_DIRECTORY, _LONGEST_NAME = 1 << 14, 1 << 24, 1 << 10


@dataclass(frozen=True, slots=True)
class Member:
    """One member: ``size`` bytes from byte ``start`` of the file, whose CRC-32 should be ``crc``."""

    name: str
    start: int
    size: int
    crc: int


class ZipReader:
    """The members of a zip archive, by name, in the order of its directory, after all the claims about them were compared.

    Attributes:
        members: ``dict[str, Member]``.

    Raises:
        Malformed: if the archive is cut, compressed, encrypted, has more than 16,384 members or a directory of more than 16 MiB, names
            a member twice or by an unsafe path, or if its records disagree with each other or with the file's length.
    """

    def __init__(self, source: Source):
        self._source = source
        self.members: dict[str, Member] = {}
        count, size, start = _find_directory(source)
        if count > _MOST_MEMBERS or size > _LARGEST_DIRECTORY:
            raise Malformed(f"its directory declares {count:,} members in {size:,} bytes, more than the {_MOST_MEMBERS:,} that are read")
        directory = source.bytes(start, size)
        entries, place = [], 0
        for _ in range(count):
            entry, place = _read_entry(directory, place)
            entries.append(entry)
        if place != size:
            raise Malformed("its directory holds more than the members it declares")
        place = 0
        starts = {}
        for offset, raw, flags, crc, length in sorted(entries):
            if offset != place:
                raise Malformed(f"member {_decode(raw, flags)!r} begins at byte {offset:,}, expected {place:,}: members overlap or hide something")
            begin, place = _check_local(source, offset, raw, flags, crc, length, start)
            starts[raw] = begin
        if place != start:
            raise Malformed(f"its members end at byte {place:,} and its directory begins at {start:,}: something hides between")
        for _, raw, flags, crc, length in entries:
            name = _decode(raw, flags)
            if name in self.members:
                raise Malformed(f"member {name!r} occurs twice")
            self.members[name] = Member(name, starts[raw], length, crc)

    def bytes(self, name: str, limit: int, verify: bool = True) -> bytes:
        """A copy of a member's content, which may have at most ``limit`` bytes.

        Args:
            verify: compare it with its CRC-32.

        Raises:
            Malformed: if there is no such member, it is larger, or its CRC differs.
        """
        if name not in self.members:
            raise Malformed(f"member {name!r} is missing")
        member = self.members[name]
        if member.size > limit:
            raise Malformed(f"member {name!r} has {member.size:,} bytes, at most {limit:,} are read")
        if verify:
            self.check(name)
        return self._source.bytes(member.start, member.size)

    def check_all(self) -> None:
        """:meth:`check` every member; large files on several threads.

        Raises:
            Malformed: for the first that differs.
        """
        if self._source.shared and self._source.size >= LARGE:
            parallel_for(self.check, self.members)
        else:
            for name in self.members:
                self.check(name)

    def check(self, name: str) -> None:
        """Compare the content of a member with its CRC-32.

        Raises:
            Malformed: if they differ.
        """
        member = self.members[name]
        found = self._source.crc32(member.start, member.size)
        if found != member.crc and not any(each.crc for each in self.members.values()):
            raise Malformed("it was written without checksums (by torch after set_crc32_options(False), for example); verify=False reads it")
        if found != member.crc:
            raise Malformed(f"member {name!r} is corrupt: its CRC-32 is {found:08x}, the archive says {member.crc:08x}")


def _find_directory(source: Source) -> tuple[int, int, int]:
    """(number of members, bytes, first byte) of the directory, which ends where the end records begin."""
    tail = source.size - _END.size
    end = _END.unpack(source.bytes(tail, _END.size)) if tail >= 0 else (b"",)
    if end[0] != b"PK\x05\x06" or end[7]:
        raise Malformed("it is truncated or no zip archive (its last bytes are not the end record of one)")
    disks, (here, count, size, start) = end[1:3], end[3:7]
    at = tail - _LOCATOR.size
    locator = _LOCATOR.unpack(source.bytes(at, _LOCATOR.size)) if at >= 0 else (b"",)
    if locator[0] == b"PK\x06\x07":
        tail = at - _END64.size
        end64 = _END64.unpack(source.bytes(tail, _END64.size)) if tail >= 0 else (b"",)
        if end64[0] != b"PK\x06\x06" or end64[1] != _END64.size - 12 or locator[1:] != (0, tail, 1):
            raise Malformed("its zip64 end record is not where its locator says")
        for value, narrow, ones in zip(end64[4:], end[1:7], (0xFFFF,) * 4 + (0xFFFFFFFF,) * 2, strict=True):
            if narrow not in (value, ones):
                raise Malformed(f"its two end records disagree: {narrow:,} and {value:,}")
        disks, (here, count, size, start) = end64[4:6], end64[6:10]
    if disks != (0, 0) or here != count:
        raise Malformed("it is one part of an archive in several")
    if start + size != tail:
        raise Malformed(f"its directory should end at byte {tail:,} and ends at {start + size:,}")
    return count, size, start


def _read_entry(directory: bytes, place: int) -> tuple[tuple, int]:
    """((local header's offset, raw name, flags, crc, size), place of the next entry) of the directory's entry at ``place``."""
    if place + _ENTRY.size > len(directory):
        raise Malformed("its directory is shorter than the members it declares")
    (signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length, disk, _, _,
     offset) = _ENTRY.unpack_from(directory, place)
    place += _ENTRY.size
    after = place + name_length + extra_length + comment_length
    if signature != b"PK\x01\x02" or after > len(directory):
        raise Malformed("its directory is corrupt")
    raw = directory[place : place + name_length]
    extra = directory[place + name_length : place + name_length + extra_length]
    size, packed, offset = _widen(extra, size, packed, offset)
    name = _decode(raw, flags)
    if flags & ~_HARMLESS or method or packed != size:
        raise Malformed(f"member {name!r} is compressed or encrypted (method {method}, flags {flags:#x}); only stored members are read")
    if disk:
        raise Malformed("it is one part of an archive in several")
    return (offset, raw, flags, crc, size), after


def _decode(raw: bytes, flags: int) -> str:
    """The name, if it is the relative path of a file: no empty parts, ``.`` or ``..``, no backslash, colon or control characters."""
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise Malformed(f"a member's name is not UTF-8: {raw[:80]!r}") from None
    if len(raw) > _LONGEST_NAME or {"", ".", ".."} & set(name.split("/")) or "\\" in name or not name.isprintable() or name[1:2] == ":":
        raise Malformed(f"the name of member {name[:80]!r} is not a plain path inside the archive: refused")
    return name


def _widen(extra: bytes, *values: int) -> list[int]:
    """``values`` with those that are all ones in 32 bits replaced from the zip64 field of ``extra``, in order."""
    place, wide = 0, b""
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            if wide or place + 4 + length > len(extra):
                raise Malformed("a member's zip64 field is corrupt")
            wide = extra[place + 4 : place + 4 + length]
        place += 4 + length
    result = []
    for value in values:
        if value == 0xFFFFFFFF:
            if len(wide) < 8:
                raise Malformed("a member's zip64 field is missing or too short")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        result.append(value)
    return result


def _check_local(source: Source, offset: int, raw: bytes, flags: int, crc: int, size: int, end: int) -> tuple[int, int]:
    """(first byte of the data, byte after the member), after its local header was compared with the directory's entry."""
    header = source.bytes(offset, _LOCAL.size)
    signature, _, local_flags, method, _, _, local_crc, packed, local_size, name_length, extra_length = _LOCAL.unpack(header)
    rest = source.bytes(offset + _LOCAL.size, name_length + extra_length)
    disagree = Malformed(f"the directory and the header of member {_decode(raw, flags)!r} disagree")
    if signature != START or method or local_flags != flags or rest[:name_length] != raw:
        raise disagree
    start = offset + _LOCAL.size + len(rest)
    after = start + size
    if after > end:
        raise Malformed(f"member {_decode(raw, flags)!r} declares {size:,} bytes and would reach past the members' end")
    said = (local_crc, *_widen(rest[name_length:], local_size, packed))
    if said != (crc, size, size) and not (flags & _DESCRIBED and said == (0, 0, 0)):
        raise disagree
    if not flags & _DESCRIBED:
        return start, after
    for layout in _DESCRIPTORS:
        if after + layout.size <= end and layout.unpack(source.bytes(after, layout.size)) == (b"PK\x07\x08", crc, size, size):
            return start, after + layout.size
    raise disagree
