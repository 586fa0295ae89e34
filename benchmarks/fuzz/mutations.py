"""What is done to a file: changes of its bytes, or of the text within it with lengths and checksums put right again.

A mutation is a small program that hypothesis draws, so a failing one is shrunk to the fewest and smallest changes.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile

from hypothesis import strategies as st

NUMBERS = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", struct.pack("<q", 1 << 40),
           struct.pack("<q", -1), struct.pack("<q", (1 << 63) - 1), b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]
PICKLE = [b"cposix\nsystem\n", b"cbuiltins\neval\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"U\x04true", b"\x85",
          b"R", b"b", b"Q", b"(", b"t", b"0", b"2", b"h\x00", b"q\x00", b"\x8a\x08" + b"\x7f" * 8, b"}", b"]", b")", b"s", b"u", b".",
          b"\x8c\x06system", b"\x93", b"i", b"o", b"\x81", b"\x82\x01", b"\x95" + b"\xff" * 8, b"J\xff\xff\xff\x7f",
          b"K\xff", b"M\xff\xff", b"F1e999\n", b"I01\n", b"N"]
TEXT = [b"-1", b"0", b"4611686018427387904", b"1e9", b"null", b"[", b"]", b"{", b"}", b'"', b",", b'"F64"', b'"BF16"', b'"data_offsets"', b'"shape"',
        b'"array"', b'"axes"', b'"tuple"', b'"dict"', b"[[[[[[[[", b"\\u0000"]
_place = st.integers(0, 1 << 20)


def programs(words: list[bytes]):
    """Lists of changes; ``words`` are put in or written over now and then."""
    change = st.one_of(
        st.tuples(st.just("flip"), _place, st.integers(0, 7)),
        st.tuples(st.just("set"), _place, st.integers(0, 255)),
        st.tuples(st.just("cut"), _place, st.integers(1, 64)),
        st.tuples(st.just("over"), _place, st.sampled_from(words)),
        st.tuples(st.just("insert"), _place, st.sampled_from(words)),
        st.tuples(st.just("repeat"), _place, st.integers(1, 64)),
        st.tuples(st.just("end"), _place, st.just(0)),
    )
    return st.lists(change, min_size=1, max_size=4)


def apply(program, content: bytes) -> bytes:
    """``content`` after the changes; places are taken modulo its length."""
    data = bytearray(content)
    for kind, place, what in program:
        at = place % (len(data) + 1) if kind == "insert" or not data else place % len(data)
        if kind == "insert":
            data[at:at] = what
        elif kind == "over":
            data[at : at + len(what)] = what
        elif kind == "end":
            del data[at:]
        elif data:
            if kind == "flip":
                data[at] ^= 1 << what
            elif kind == "set":
                data[at] = what
            elif kind == "cut":
                del data[at : at + what]
            else:
                data[at:at] = data[at : at + what]
    return bytes(data)


def inside_zip(program, content: bytes, choice: int) -> bytes:
    """One member changed, all checksums and sizes right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen = choice % len(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (name, data) in enumerate(members):
            archive.writestr(zipfile.ZipInfo(name), apply(program, data) if number == chosen else data)
    return out.getvalue()


def inside_header(program, content: bytes, choice: int) -> bytes:
    """The JSON of a safetensors file changed, its length right."""
    length = struct.unpack("<Q", content[:8])[0]
    header = apply(program, content[8 : 8 + length])
    if choice % 2:
        header = _another_number(header, choice)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _another_number(header: bytes, choice: int) -> bytes:
    """One number of one entry replaced, if the header is JSON still."""
    try:
        entries = json.loads(header)
        name = sorted(entries)[choice // 2 % len(entries)]
        numbers = entries[name][("shape", "data_offsets")[choice // 64 % 2]]
        numbers[choice // 128 % len(numbers)] = (0, 1, -1, 1 << 62, 1 << 64, 7)[choice // 512 % 6]
        return json.dumps(entries).encode()
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError):
        return header


INSIDE = {"torch": inside_zip, "npz": inside_zip, "safetensors": inside_header}
WORDS = {"torch": PICKLE + NUMBERS, "torch-legacy": PICKLE + NUMBERS, "safetensors": TEXT + NUMBERS, "npz": TEXT + NUMBERS, "keras": NUMBERS}
