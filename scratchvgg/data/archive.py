"""Takes named files out of a ``.tar.gz`` without ever extracting what the archive says.

Members are read into memory as bytes; names, links, permissions and owners of the archive never reach the file system.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from .errors import DataError

_SPARE = 1 << 20  # bytes of headers and padding
_MEMBERS = 64


class _Limited:
    """A stream that refuses to give more than ``limit`` bytes: a bomb is cut off while it unpacks."""

    def __init__(self, stream, limit: int):
        self.stream, self.left = stream, limit

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise DataError("it unpacks to far more than the data set: refused")
        chunk = self.stream.read(size)
        self.left -= len(chunk)
        return chunk


def read_members(path: Path, folder: str, names: Iterable[str], limit: int) -> dict[str, bytes]:
    """The files ``folder/name`` of an archive for each of ``names``.

    Args:
        path: a gzip-compressed tar file.
        folder: the one folder the archive may hold.
        names: files wanted.
        limit: bytes that all members together may have.

    Raises:
        DataError: if the archive is damaged, lacks a file, is larger than ``limit``, or holds links, devices, absolute
            paths, ``..`` or more than 64 members. Nothing has been written then.
    """
    names, found = set(names), {}
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=_Limited(unpacked, limit + _SPARE), mode="r|") as archive:
            for number, member in enumerate(archive):
                _check(member, number, limit)
                place, _, name = member.name.removeprefix("./").rpartition("/")
                if place == folder and name in names and member.isfile():
                    found[name] = archive.extractfile(member).read()
                    if names == found.keys():
                        return found
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path}: it is not a readable tar.gz archive, or cut short ({error})") from None
    raise DataError(f"{path}: it lacks {', '.join(f'{folder}/{name}' for name in sorted(names - found.keys()))}")


def _check(member: tarfile.TarInfo, number: int, limit: int) -> None:
    if number >= _MEMBERS:
        raise DataError(f"it holds more than {_MEMBERS} members: refused")
    if member.name.startswith(("/", "\\")) or ".." in member.name.replace("\\", "/").split("/") or ":" in member.name:
        raise DataError(f"its member {member.name!r} points out of the archive: refused")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"its member {member.name!r} is a link or a device: refused")
    if member.size > limit:
        raise DataError(f"its member {member.name!r} declares {member.size:,} bytes: refused")
