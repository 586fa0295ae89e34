"""Which files a kernel is made of: itself and everything it includes, so that a cache notices an edit in any of them."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)
GPP_ONLY = "emulator"  # the folder that common.cuh takes headers from only when g++ compiles


def files_of(source: Path, folders: Sequence[Path]) -> list[Path]:
    """``source`` and every file that it includes, those included by included files too, in the order in which they are met.

    Conditions are not evaluated: a file in a branch that is not taken counts as well, except the emulator's own. A name that is
    in none of ``folders`` is left out (the compiler will say whether it needs it).
    """
    found, waiting = {}, [source]
    while waiting:
        path = waiting.pop()
        key = os.path.realpath(path)
        if key in found:
            continue
        found[key] = path
        for beside, name in _scan(path)[1]:
            if not name.startswith(GPP_ONLY + "/"):
                waiting += [p for p in _places(path, name, beside, folders) if p.is_file()][:1]
    return list(found.values())


def digest_of(source: Path, folders: Sequence[Path]) -> str:
    """A SHA-256, in hexadecimal, over the content of :func:`files_of`: it changes if and only if one of them does. Where they lie does not matter."""
    hashes = sorted(_scan(path)[0] for path in files_of(source, folders)[1:])
    return hashlib.sha256(b"".join([_scan(source)[0], *hashes])).hexdigest()


def _places(path: Path, name: str, beside: bool, folders: Sequence[Path]) -> list[Path]:
    return [*([path.parent / name] if beside else []), *(folder / name for folder in folders)]


def _scan(path: Path) -> tuple[bytes, tuple[tuple[bool, str], ...]]:
    """SHA-256 of a file, and what it includes as (in quotes, name)."""
    stat = os.stat(path)
    return _scan_version(str(path), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _scan_version(path: str, modified: int, size: int) -> tuple[bytes, tuple[tuple[bool, str], ...]]:
    text = Path(path).read_bytes()
    names = [(bool(quoted), (quoted or angled).decode(errors="replace")) for quoted, angled in _INCLUDE.findall(text)]
    return hashlib.sha256(text).digest(), tuple(names)
