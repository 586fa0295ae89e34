"""The two lists of a zip archive must agree, and nothing may lie anywhere else."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchvgg.weights.source import Malformed, open_source
from scratchvgg.weights.zip_reader import Member, ZipReader

from .torch_files import check_refused

CONTENTS = {"a": b"first", "folder/b.bin": bytes(100), "empty": b"", "ü": b"last" * 9}


def members(content):
    with open_source(io.BytesIO(content)) as source:
        archive = ZipReader(source)
        for name in archive.members:
            archive.check(name)
        return archive.members


def zipped(contents=CONTENTS, compression=zipfile.ZIP_STORED, unseekable=False, wide=False) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(Stream(target) if unseekable else target, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=wide) as member:
                member.write(content)
    return target.getvalue()


class Stream:
    """Takes bytes one after the other, as a socket does: sizes and checksums must then follow the data."""

    def __init__(self, target):
        self.write, self.flush = target.write, target.flush


def by_hand(contents, local=(), entry=(), end=(), before=b"", between=b"", after=b"", flags=0, repeat=1) -> bytes:
    """An archive whose records say what ``local``, ``entry`` and ``end`` (dicts) claim instead of the truth, for the first member."""
    body, directory = bytearray(before), bytearray()
    for index, (name, content) in enumerate(contents.items()):
        raw = name if isinstance(name, bytes) else name.encode()
        truth = {"flags": flags, "method": 0, "crc": zlib.crc32(content), "packed": len(content), "size": len(content), "name": raw, "extra": b"",
                 "offset": len(body), "disk": 0}
        said, listed = (truth | dict(claims) if index == 0 else truth for claims in (local, entry))
        body += struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, said["flags"], said["method"], 0, 0x21, said["crc"], said["packed"], said["size"],
                            len(said["name"]), len(said["extra"])) + said["name"] + said["extra"] + content + said.get("descriptor", b"")
        for _ in range(repeat):
            directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, listed["flags"], listed["method"], 0, 0x21, listed["crc"],
                                     listed["packed"], listed["size"], len(listed["name"]), len(listed["extra"]), 0, listed["disk"], 0, 0,
                                     listed["offset"])
            directory += listed["name"] + listed["extra"]
    truth = {"disk": 0, "here": len(contents) * repeat, "count": len(contents) * repeat, "size": len(directory), "offset": len(body + between)}
    truth |= dict(end)
    last = struct.pack("<4s4H2IH", b"PK\x05\x06", truth["disk"], 0, *(truth[key] for key in ("here", "count", "size", "offset")), 0)
    return bytes(body + between + directory + last + after)


TWO = {"a": b"12345", "b": b"678"}


def test_what_the_standard_library_writes():
    for options in ({}, {"wide": True}, {"unseekable": True}, {"wide": True, "unseekable": True}):
        content = zipped(**options)
        found = members(content)
        assert list(found) == list(CONTENTS)
        for name, member in found.items():
            assert content[member.start : member.start + member.size] == CONTENTS[name]
            assert member == Member(name, member.start, len(CONTENTS[name]), zlib.crc32(CONTENTS[name]))


def test_what_numpy_writes(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(5), b=np.ones((2, 3)))
    assert list(members((tmp_path / "x.npz").read_bytes())) == ["a.npy", "b.npy"]


def test_what_torch_writes():
    torch = pytest.importorskip("torch")
    target = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": torch.zeros(0)}, target)
    found = members(target.getvalue())
    assert {"archive/data.pkl", "archive/data/0", "archive/data/1"} <= set(found) and found["archive/data/0"].start % 64 == 0


def test_by_hand():
    assert list(members(by_hand(TWO))) == ["a", "b"]


def test_more_than_four_gigabytes(tmp_path):
    """Sizes of 64 bits: a member of 5 GiB, of which the disk has none, and one after it."""
    path, size = tmp_path / "large.zip", 5 << 30
    with open(path, "wb") as file:
        wide = struct.pack("<2H2Q", 1, 16, size, size)
        local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0x21, 7, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(wide)) + b"a" + wide
        second = len(local) + size
        file.write(local)
        file.seek(second)
        file.write(struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0x21, zlib.crc32(b"xyz"), 3, 3, 1, 0) + b"bxyz")
        start = file.tell()
        file.write(struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0x21, 7, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(wide), 0, 0, 0, 0, 0))
        file.write(b"a" + wide)
        place = struct.pack("<2HQ", 1, 8, second)
        file.write(struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0x21, zlib.crc32(b"xyz"), 3, 3, 1, len(place), 0, 0, 0, 0, 0xFFFFFFFF))
        file.write(b"b" + place)
        end = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, end - start, start))
        file.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, end - start, 0xFFFFFFFF, 0))
    with open_source(path) as source:
        archive = ZipReader(source)
        assert archive.members["a"].size == size and archive.bytes("b", 10) == b"xyz"


CLAIMS = {
    "name": ({"local": {"name": b"c"}}, "disagree"),
    "size here": ({"local": {"size": 4}}, "disagree"),
    "size there": ({"entry": {"size": 4}}, "compressed"),
    "smaller there": ({"entry": {"size": 4, "packed": 4}}, "disagree"),
    "smaller in both": ({"entry": {"size": 4, "packed": 4}, "local": {"size": 4, "packed": 4}}, "overlap or hide"),
    "larger in both": ({"entry": {"size": 6, "packed": 6}, "local": {"size": 6, "packed": 6}}, "overlap or hide"),
    "beyond the end": ({"entry": {"size": 1 << 31, "packed": 1 << 31}, "local": {"size": 1 << 31, "packed": 1 << 31}}, "past the members' end"),
    "crc": ({"local": {"crc": 1}}, "disagree"),
    "crc in both": ({"local": {"crc": 1}, "entry": {"crc": 1}}, "CRC-32"),
    "deflated": ({"local": {"method": 8}, "entry": {"method": 8}}, "compressed"),
    "deflated here": ({"local": {"method": 8}}, "disagree"),
    "encrypted": ({"flags": 1}, "encrypted"),
    "patched data": ({"flags": 1 << 5}, "encrypted"),
    "flags": ({"local": {"flags": 1 << 11}}, "disagree"),
    "descriptor missing": ({"flags": 8, "local": {"crc": 0, "size": 0, "packed": 0}}, "disagree"),
    "descriptor wrong": ({"flags": 8, "local": {"crc": 0, "size": 0, "packed": 0, "descriptor": struct.pack("<4sIII", b"PK\x07\x08", 1, 5, 5)}},
                         "disagree"),
    "offset": ({"entry": {"offset": 1}}, "overlap or hide"),
    "offset of the other": ({"entry": {"offset": 36}}, "overlap or hide"),
    "disk": ({"entry": {"disk": 1}}, "several"),
    "zip64 missing": ({"entry": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}}, "zip64"),
    "zip64 short": ({"entry": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": struct.pack("<2HQ", 1, 8, 5)}}, "zip64"),
    "zip64 cut": ({"entry": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": struct.pack("<2H", 1, 16)}}, "zip64"),
    "zip64 huge": ({"entry": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": struct.pack("<2H2Q", 1, 16, 1 << 62, 1 << 62)}},
                   "past the members' end"),
    "hidden before": ({"before": b"#!/bin/sh\n"}, "overlap or hide"),
    "hidden between": ({"between": b"more"}, "hides between"),
    "hidden after": ({"after": b"more"}, "truncated or no zip"),
    "fewer entries": ({"end": {"count": 1, "here": 1}}, "more than the members"),
    "more entries": ({"end": {"count": 3, "here": 3}}, "shorter than the members"),
    "entries elsewhere": ({"end": {"here": 1}}, "several"),
    "another disk": ({"end": {"disk": 1}}, "several"),
    "directory's size": ({"end": {"size": 10}}, "should end at"),
    "directory's place": ({"end": {"offset": 0xFFFFFFF0}}, "should end at"),
    "entries twice": ({"repeat": 2}, "overlap or hide"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_records_that_disagree_are_refused(case):
    claims, reason = CLAIMS[case]
    check_refused(lambda: members(by_hand(TWO, **claims)), reason, megabytes=1)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "a//b", "a/", "./a", "a/./b", "..\\a", "C:a", "a\0b", "a\nb", "", "x" * 2000,
                                  "\x1b[2J", b"\xff\xfe"])
def test_names_that_are_no_plain_paths_are_refused(name):
    check_refused(lambda: members(by_hand({name: b"1"}, flags=1 << 11)), "plain path|UTF-8")


def test_a_name_that_occurs_twice():
    with pytest.warns(UserWarning, match="Duplicate"):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("a", b"1")
            archive.writestr("a", b"2")
    check_refused(lambda: members(target.getvalue()), "occurs twice")


def test_compressed_archives_and_bombs():
    bomb = zipped({"a": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 17
    check_refused(lambda: members(bomb), "compressed", megabytes=1)


def test_too_many_members():
    check_refused(lambda: members(by_hand({}, end={"count": 0x4000, "here": 0x4000})), "shorter than")
    check_refused(lambda: members(by_hand({}, end={"count": 0x4001, "here": 0x4001})), "declares 16,385 members")
    many = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 0, 0) + struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    many += struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0, 0, 0)
    check_refused(lambda: members(many), "declares 1,152,921,504,606,846,976 members")


def test_a_comment_is_refused():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = b"hello"
    check_refused(lambda: members(target.getvalue()), "no zip archive")


def test_limits_of_what_is_read_at_once():
    with open_source(io.BytesIO(zipped())) as source:
        archive = ZipReader(source)
        assert archive.bytes("a", 5) == b"first"
        with pytest.raises(Malformed, match="at most 4"):
            archive.bytes("a", 4)
        with pytest.raises(Malformed, match="'b' is missing"):
            archive.bytes("b", 4)


def test_a_flipped_bit_in_the_content_is_found():
    content = bytearray(zipped())
    content[content.index(b"first")] ^= 1
    check_refused(lambda: members(bytes(content)), "'a' is corrupt")


def test_archives_without_checksums_are_named():
    content = by_hand({"a": b"12"}, local={"crc": 0}, entry={"crc": 0})
    check_refused(lambda: members(content), "without checksums")


def test_every_cut_is_refused():
    content = zipped()
    for end in range(1, len(content)):
        with pytest.raises(Malformed):
            members(content[:end])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(zipped()) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_archives_are_refused_or_hold_what_they_held(changes):
    content = bytearray(zipped())
    for place, value in changes:
        content[place] = value
    try:
        found = members(bytes(content))
    except Malformed:
        return
    assert sorted(bytes(content[m.start : m.start + m.size]) for m in found.values()) == sorted(CONTENTS.values())
