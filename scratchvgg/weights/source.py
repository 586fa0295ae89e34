"""A weights file as a range of bytes: nothing that it claims about itself is believed before it was compared with its length.

A file on disk is mapped *privately*: an array is a window on the file, read when it is touched, and what is written to the
array stays in this process (copy on write). Whatever cannot be mapped is read into fresh memory: open files without a
descriptor, and arrays that lie in the file where their element type may not (float32 at an odd address).
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import mmap as memory_map
import os
import stat
import zlib

import numpy as np

from ..array.threads import parallel_for

_PIECE = 1 << 22  # bytes per read where the file is not mapped
_SUMMED = 1 << 20  # bytes read at once for a checksum: they stay in the cache
LARGE = 1 << 25  # bytes from which on several threads are worth their start
_MOST_AXES = 32


class Malformed(ValueError):
    """The reason, without the file's name, why a file is refused; the outermost reader makes a ``WeightsError`` of it."""


class Source:
    """The bytes of one file; :func:`open_source` makes it.

    Attributes:
        name: the path as it was given, or what the open file calls itself.
        size: the file's length in bytes.
        shared: whether several threads may read at once.
    """

    def __init__(self, name: str, size: int, file, mapped: np.ndarray | None, descriptor: int | None = None):
        self.name, self.size, self._file, self._mapped, self._descriptor = name, size, file, mapped, descriptor
        self.shared = mapped is not None or descriptor is not None

    def bytes(self, start: int, count: int) -> bytes:
        """A copy of ``count`` bytes from ``start``.

        Raises:
            Malformed: if they are not all in the file.
        """
        self._check(start, count)
        if self._mapped is not None:
            return self._mapped[start : start + count].tobytes()
        return self._read(start, np.empty(count, np.uint8)).tobytes()

    def array(self, start: int, dtype, shape, strides=None) -> np.ndarray:
        """A writable array on the file's bytes from ``start``; it outlives the open file and never writes to it.

        Args:
            dtype: the elements' type, as they lie in the file.
            shape: the lengths of the axes.
            strides: elements (not bytes) from one index of an axis to the next; C order by default.

        Raises:
            Malformed: before anything is allocated, if the array would reach past the end of the file or its strides are refused (:func:`extent`).
        """
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise Malformed(f"it declares an array of {dtype}: references to objects are refused")
        count = extent(shape, strides)
        self._check(start, count * dtype.itemsize)
        if self._mapped is not None and start % dtype.alignment == 0 and count:
            flat = np.ndarray(count, dtype, self._mapped, start)
        else:
            flat = _fresh(count, dtype)
            self._read(start, flat.view(np.uint8) if dtype.itemsize else flat)
        return window(flat, 0, shape, strides)

    def crc32(self, start: int, count: int) -> int:
        """The CRC-32 of ``count`` bytes from ``start``, a piece at a time. A mapped file is read for it all the same: pages of the mapping that were
        touched would count as this process's memory, and a damaged file is to be refused in little.

        Raises:
            Malformed: if they are not all in the file.
        """
        self._check(start, count)
        if self._mapped is not None and self._descriptor is None:
            return zlib.crc32(self._mapped[start : start + count])
        crc, piece = 0, np.empty(min(count, _SUMMED), np.uint8)
        for place in range(start, start + count, _SUMMED):
            crc = zlib.crc32(self._read(place, piece[: start + count - place]), crc)
        return crc

    def _check(self, start: int, count: int) -> None:
        if start < 0 or count < 0 or start + count > self.size:
            raise Malformed(f"it is truncated or corrupt: it declares bytes {start:,} to {start + count:,}, the file has {self.size:,}")

    def _read(self, start: int, target: np.ndarray) -> np.ndarray:
        """Fill ``target``, an array of bytes, from the file's bytes at ``start``."""
        view = memoryview(target)
        if self._descriptor is not None:
            places = range(0, len(view), _PIECE)
            task = functools.partial(self._read_piece, view, start)
            parallel_for(task, places) if len(view) >= LARGE else [task(place) for place in places]
            return target
        self._file.seek(start)
        while len(view):
            piece = self._file.read(min(len(view), _PIECE)) if not hasattr(self._file, "readinto") else None
            done = self._file.readinto(view) if piece is None else len(piece)
            if not done:
                raise Malformed("it ended early: it became shorter while it was read")
            if piece is not None:
                view[:done] = piece
            view = view[done:]
        return target

    def _read_piece(self, view: memoryview, start: int, place: int) -> None:
        """Fill the piece of ``view`` that begins at ``place``; ``view`` begins at byte ``start`` of the file."""
        piece = view[place : place + _PIECE]
        while len(piece):
            done = os.preadv(self._descriptor, [piece], start + place)
            if not done:
                raise Malformed("it ended early: it became shorter while it was read")
            place, piece = place + done, piece[done:]


def _fresh(count: int, dtype: np.dtype) -> np.ndarray:
    """Memory for ``count`` elements that are read at once. NumPy would ask for huge pages: where memory is in pieces the system takes several
    times as long to put those together as to read the file. All pages at once take a third less time than each at its first use."""
    size = count * dtype.itemsize
    if size >= LARGE and hasattr(memory_map, "MAP_ANONYMOUS"):
        flags = memory_map.MAP_PRIVATE | memory_map.MAP_ANONYMOUS | getattr(memory_map, "MAP_POPULATE", 0)
        with contextlib.suppress(OSError):
            return np.ndarray(count, dtype, memory_map.mmap(-1, size, flags=flags))
    return np.empty(count, dtype)


def extent(shape, strides=None) -> int:
    """Elements between an array's first and last, both included: what it needs of its memory; 0 if it is empty.

    Args:
        shape: the lengths of the axes.
        strides: elements from one index of an axis to the next; C order by default.

    Raises:
        Malformed: for lengths or strides that are not integers from 0 to 2⁶³, more than 32 axes, a zero stride along an axis longer
            than 1, or strides that put more elements than the extent has places (each would be counted twice).
    """
    shape, strides = tuple(shape), None if strides is None else tuple(strides)
    for numbers, what in ((shape, "shape"), (strides or (), "strides")):
        if len(numbers) > _MOST_AXES or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
            raise Malformed(f"it declares an array whose {what} {_shown(numbers)} are not at most {_MOST_AXES} integers from 0 on")
    count = math.prod(shape)
    if strides is None or not count:
        if strides is not None and len(strides) != len(shape):
            raise Malformed(f"it declares an array of shape {shape} with {len(strides)} strides")
        return count
    if len(strides) != len(shape):
        raise Malformed(f"it declares an array of shape {shape} with {len(strides)} strides")
    if any(n > 1 and s == 0 for n, s in zip(shape, strides, strict=True)):
        raise Malformed(f"it declares an array of shape {shape} with strides {strides}: a stride of 0 repeats elements, refused")
    span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if count > span:
        raise Malformed(f"it declares {count:,} elements of shape {shape}, strides {strides} in {span:,} places: overlapping, refused")
    return span


def window(flat: np.ndarray, offset: int, shape, strides=None) -> np.ndarray:
    """The array of ``shape`` and ``strides`` (in elements) whose first element is ``flat[offset]``; it shares ``flat``'s memory.

    Args:
        flat: the contiguous memory, of shape (n,).

    Raises:
        Malformed: if it is not inside ``flat``, or for the reasons of :func:`extent`.
    """
    span = extent(shape, strides)
    if type(offset) is not int or offset < 0 or offset + span > len(flat):
        raise Malformed(f"it declares a tensor of {span:,} elements from element {_shown(offset)} on, its storage has {len(flat):,}")
    step = flat.dtype.itemsize
    try:
        if not span:
            return flat[:0].reshape(shape)
        steps = None if strides is None else [(s if n > 1 else 1) * step for n, s in zip(shape, strides, strict=True)]
        return np.ndarray(shape, flat.dtype, flat, offset * step, steps)
    except (ValueError, OverflowError):  # NumPy's own limits on shapes
        raise Malformed(f"it declares an array of shape {_shown(shape)}, which cannot be represented") from None


def _shown(value) -> str:
    text = repr(value) if type(value) is not int or abs(value) < 1 << 128 else "a huge integer"
    return text if len(text) < 200 else text[:200] + "…"


def name_of(f) -> str:
    """What messages call ``f``, a path or an open file."""
    name = f if isinstance(f, (str, bytes, os.PathLike)) else getattr(f, "name", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else "the open file"


@contextlib.contextmanager
def open_source(f, mmap: bool = True):
    """A context manager that gives a :class:`Source` on ``f``, a path or an open binary file (of which all is read, wherever it stands).

    Args:
        mmap: map the file; otherwise, and for open files that are not plain files, arrays are read into fresh memory.
            While mapped arrays live, the file must not be cut shorter in place (replacing or deleting it is safe).

    Raises:
        Malformed: for a directory, a device, a pipe, an empty file, a file opened as text or one that cannot seek.
        TypeError: if ``f`` is neither a path nor an open file. OSError: if the path cannot be opened.
    """
    if hasattr(f, "read") and hasattr(f, "seek"):
        yield _source(f, name_of(f), mmap)
        return
    try:
        path = os.fspath(f)
    except TypeError:
        raise TypeError(f"expected a path or an open binary file, got a {type(f).__name__}") from None
    if os.path.isdir(path):
        raise Malformed("it is a directory, not a file")
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        yield _source(file, name_of(path), mmap)


def _open_at_once(path, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would wait for ever


def _source(file, name: str, mmap: bool) -> Source:
    if isinstance(file, io.TextIOBase):
        raise Malformed("it was opened as text; open it with mode 'rb'")
    plain = isinstance(getattr(file, "raw", file), io.FileIO)  # not, for instance, a GzipFile, whose descriptor is the compressed file's
    if plain and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise Malformed("it is a device or a pipe, not a file")
    try:
        if plain and file.writable():
            file.flush()
        size = file.seek(0, os.SEEK_END)
    except (OSError, ValueError) as error:
        raise Malformed(f"the open file cannot seek ({error}); read it into io.BytesIO first") from None
    if not size:
        raise Malformed("it is empty: truncated or no weights file at all")
    mapped = None
    if mmap and plain:
        with contextlib.suppress(OSError, ValueError):  # file systems that cannot map: read instead
            mapped = np.frombuffer(memory_map.mmap(file.fileno(), size, access=memory_map.ACCESS_COPY), np.uint8)
    return Source(name, size, file, mapped, file.fileno() if plain and hasattr(os, "preadv") else None)
