"""A file from the network, whole and verified or not at all.

Bytes go to ``NAME.part``. A cut connection goes on where it stopped (HTTP ``Range``), in this call or in a later one.
Only a file of the right size and digest is renamed to its name, after fsync: whoever sees the name sees the whole file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .filelock import file_lock
from .progress import Progress

_CHUNK = 1 << 18
_DIGITS = {"md5": 32, "sha256": 64}
_PAUSE = 0.5  # seconds before the first retry; doubled for each further one, up to 8


class DownloadError(OSError):
    """A file that could not be had; the message says from where to get it by hand and where to put it."""


class _Interrupted(Exception):
    """A failure that another attempt may mend."""


class _Corrupt(Exception):
    """The bytes are complete and wrong."""


@dataclass(frozen=True)
class _Expected:
    """What is known of the file beforehand."""

    size: int | None
    digests: dict[str, str]  # hashlib name -> the beginning (or all) of the hexadecimal digest

    def fault(self, path: Path) -> str | None:
        """Why the file at ``path`` is not the wanted one; ``None`` if it is."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes instead of {self.size:,}"
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self.digests}
        if hashes:
            with open(path, "rb") as file:
                while chunk := file.read(1 << 20):
                    for digest in hashes.values():
                        digest.update(chunk)
        for name, wanted in self.digests.items():
            found = hashes[name].hexdigest()
            if not found.startswith(wanted):
                return f"its {name.upper()} is {found}, expected {wanted}{'…' if len(wanted) < len(found) else ''}"
        return None

    def __str__(self):
        parts = [f"{self.size:,} bytes"] if self.size is not None else []
        parts += [f"{name.upper()} {wanted}{'' if len(wanted) == _DIGITS[name] else '…'}" for name, wanted in self.digests.items()]
        return f" ({', '.join(parts)})" if parts else ""


def fetch(url: str, destination, *, size: int | None = None, md5: str | None = None, sha256: str | None = None,
          sha256_prefix: str | None = None, progress: bool = True, timeout: float = 30, retries: int = 3) -> Path:
    """Make sure that ``destination`` is the file at ``url``; returns its path.

    A file that is there already and fits is kept, and nothing is asked of the network. Two processes may fetch the same
    file at once: one works, the other waits and finds it done.

    Args:
        url: ``http://``, ``https://`` or ``file://``.
        destination: path of the file (missing folders are made).
        size, md5, sha256, sha256_prefix: what the file must be, as far as known (bytes; hexadecimal digests; torch's
            weight files carry the first eight digits of their SHA-256 in their name).
        progress: show amount, rate and time left on stderr.
        timeout: seconds of silence after which a connection counts as cut.
        retries: further attempts after one that brought no new byte.

    Raises:
        DownloadError: if the file cannot be had, or what came is not the file described.
        ValueError: for another kind of URL or a malformed digest.
    """
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise ValueError(f"fetch: expected an http, https or file URL, got {url!r}")
    expected = _Expected(size, _digests(md5=md5, sha256=sha256, sha256_prefix=sha256_prefix))
    destination = Path(destination)
    fault = expected.fault(destination) if destination.is_file() else "missing"
    if fault is None:
        return destination
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(destination.with_name(destination.name + ".lock")):
            if destination.is_file() and not expected.fault(destination):
                return destination
            if not expected.digests:
                part.unlink(missing_ok=True)  # nothing would tell whether an old part belongs to this file
            _Transfer(url, part, expected, Progress(destination.name, progress), timeout).run(retries)
            _settle(part, destination)
    except (_Interrupted, _Corrupt, OSError, http.client.HTTPException) as error:
        other = f"The file that is there is another one: {fault}. " if destination.is_file() else ""
        raise DownloadError(
            f"cannot download {destination.name}: {_reason(error)}. {other}"
            f"Get {url}{expected} and put it at {destination.absolute()}, then run the same command again."
        ) from error
    return destination


def _digests(md5, sha256, sha256_prefix) -> dict[str, str]:
    found = {}
    for argument, name, value, digits in (("md5", "md5", md5, "{32}"), ("sha256_prefix", "sha256", sha256_prefix, "{1,64}"),
                                          ("sha256", "sha256", sha256, "{64}")):
        if value is not None:
            if not re.fullmatch(f"[0-9a-fA-F]{digits}", value):
                count = digits[1:-1].replace(",", " to ")
                raise ValueError(f"fetch: {argument} must be {count} hexadecimal digits, got {value!r}")
            found[name] = value.lower()
    return found


class _Transfer:
    """The making of one ``.part`` file out of as many connections as it takes."""

    def __init__(self, url: str, part: Path, expected: _Expected, shown: Progress, timeout: float):
        self.url, self.part, self.expected, self.shown, self.timeout = url, part, expected, shown, timeout
        self.local = urlsplit(url).scheme == "file"
        self.version: str | None = None  # the server's name for the version of the file that the part belongs to

    def run(self, retries: int) -> None:
        """Attempt, go on after cuts, begin anew once if resumed bytes prove wrong; ends with a verified part."""
        resumed = self.part.exists()
        failures, best = 0, _length(self.part)
        while True:
            try:
                self.attempt()
                fault = self.expected.fault(self.part)
                if fault is None:
                    return
                self.part.unlink()
                if not resumed:
                    raise _Corrupt(f"what {urlsplit(self.url).netloc or 'the file system'} gave is not the file: {fault}")
                resumed, best, self.version = False, 0, None
            except (_Interrupted, OSError, http.client.HTTPException) as error:
                if not _passing(error):
                    raise
                length = _length(self.part)
                failures = 0 if length > best else failures + 1
                resumed, best = length > 0, max(best, length)
                if failures > retries:
                    raise _Interrupted(f"{_reason(error)} (gave up after {retries} retries)") from error
                time.sleep(min(_PAUSE * 2 ** max(failures - 1, 0), 8))

    def attempt(self) -> None:
        """One connection: append what is missing to the part."""
        have = _length(self.part)
        if self.expected.size is not None and have >= self.expected.size:
            return  # complete (or too long: the check finds it)
        headers = {"User-Agent": "scratchvgg", "Accept-Encoding": "identity"}
        if have and not self.local and (self.version or self.expected.digests):
            headers["Range"] = f"bytes={have}-"
            if self.version:
                headers["If-Range"] = self.version
        try:
            response = urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                self.refused(error.code, error.reason)
        with response:
            start = _start(response, have)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdecimal() else None
            self.check(response, total)
            etag = response.headers.get("ETag")
            self.version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
            self.copy(response, start, total)

    def refused(self, code: int, reason: str):
        """The server answered with an error: raise what says whether another attempt makes sense."""
        if code == 416:  # the part is not a beginning of the file
            self.part.unlink(missing_ok=True)
        kind = _Interrupted if code in (408, 416, 425, 429) or code >= 500 else _Corrupt
        raise kind(f"the server answered {code} {reason}") from None

    def check(self, response, total: int | None) -> None:
        """Refuse, before a byte is written, what cannot be the file: a web page, or a wrong length."""
        page = response.headers.get_content_type() in ("text/html", "application/xhtml+xml")
        if page and not self.local and not self.part.name.endswith((".html.part", ".htm.part")):
            raise _Corrupt("the server answered with a web page instead of the file (a login page or a proxy?)")
        if total is not None and self.expected.size is not None and total != self.expected.size:
            raise _Corrupt(f"the server offers {total:,} bytes, expected {self.expected.size:,}")

    def copy(self, response, start: int, total: int | None) -> None:
        """Write the answer from byte ``start`` of the part on, never more than ``total`` or the size expected."""
        limit = total if total is not None else self.expected.size
        done = start
        with open(self.part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            self.shown.begin(done, limit)
            while chunk := response.read1(_CHUNK):
                done += len(chunk)
                if limit is not None and done > limit:
                    raise _Corrupt(f"the server sent more than {limit:,} bytes")
                file.write(chunk)
                self.shown.update(done)
            file.flush()
            os.fsync(file.fileno())
        self.shown.end(done)
        if limit is not None and done < limit:
            raise _Interrupted(f"the connection was cut after {done:,} of {limit:,} bytes")


def _start(response, have: int) -> int:
    """Where in the file the answer begins: 0 for a server that ignores Range (or whose file changed)."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise _Interrupted(f"the server sent the range {response.headers.get('Content-Range')!r} when asked for bytes {have}-")
    return have


def _passing(error: Exception) -> bool:
    """Whether another attempt may mend it: a cut or a silence, but not a missing network, certificate, file or disk space."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, (_Interrupted, TimeoutError, ConnectionError, http.client.HTTPException))


def _settle(part: Path, destination: Path) -> None:
    """Give the finished part its name, and have the folder remember it through a power cut."""
    os.replace(part, destination)
    with contextlib.suppress(OSError):  # not every system opens folders
        folder = os.open(destination.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: BaseException) -> str:
    """An error in words: what lies beneath urllib's wrapper."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server fell silent"
    return str(cause) or type(cause).__name__
