"""The kernels by name: which file of ``kernels/`` an entry is in, which entries are hot, and examples of each to check and to time.

A kernel file says so itself, in comment lines before its code:

    // entries: im2col_*, col2im_*        patterns of its entries; ``<file name>_*`` if the line is missing
    // hot: im2col_vector_*               entries that time depends on: they must not spill registers
    // arch: sm_90a                       the only architecture it is for, if it uses instructions of one

Its face, ``cuda/faces/<file name>.py``, registers examples with :func:`example`. To add a kernel is to add these two files.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .sources import kernel_folder, kernel_sources

SIZES = ("small", "large")


@dataclass(frozen=True)
class KernelFile:
    """One file of ``kernels/``.

    Attributes:
        file: its path.
        entries, hot: patterns of names.
        arch: the only architecture it is for, or None.
    """

    file: Path
    entries: tuple[str, ...]
    hot: tuple[str, ...] = ()
    arch: str | None = None

    @property
    def name(self) -> str:
        """Without folder and suffix."""
        return self.file.stem

    def has(self, entry: str) -> bool:
        """Whether a name matches one of the patterns."""
        return any(fnmatchcase(entry, pattern) for pattern in self.entries)

    def is_hot(self, entry: str) -> bool:
        """Whether time depends on the entry."""
        return any(fnmatchcase(entry, pattern) for pattern in self.hot)


def kernel_files() -> dict[str, KernelFile]:
    """Every kernel file by its name."""
    return {name: describe(path) for name, path in kernel_sources().items()}


def describe(path) -> KernelFile:
    """What the comment lines of a ``.cu`` file say (anybody's, not only those of ``kernels/``)."""
    path = Path(path)
    return _described(path, path.stat().st_mtime_ns)


@functools.lru_cache(256)
def _described(path, _):
    said = dict(re.findall(r"^// (entries|hot|arch): *(.+?) *$", path.read_text(encoding="utf-8"), re.MULTILINE))
    listed = {key: tuple(re.split(r"[,\s]+", said[key])) for key in ("entries", "hot") if key in said}
    return KernelFile(path, listed.get("entries", (f"{path.stem}_*",)), listed.get("hot", ()), said.get("arch"))


def get(entry: str) -> KernelFile:
    """The file that has the entry: of several whose patterns match, the one with the longest.

    Raises:
        KeyError: if no pattern matches.
    """
    found = [(len(pattern), name) for name, file in kernel_files().items() for pattern in file.entries if fnmatchcase(entry, pattern)]
    if not found:
        raise KeyError(f"no kernel {entry!r}: no file in {kernel_folder()} has entries of that name")
    return kernel_files()[max(found)[1]]


@dataclass(frozen=True)
class Example:
    """One use of a kernel.

    Attributes:
        title: what it computes, its sizes and element type: "2x2 pool, 64x224x224x64, bf16".
        run: launches it, through the face, on arrays made beforehand; returns the results by name. It can be called again.
        expected: the same results by NumPy in float64, by name; None for examples that are only timed.
        tolerance: largest allowed RMS error relative to the RMS of the expected values.
        bytes: that a perfect kernel must read and write, each number once.
        operations: multiplications and additions that it must do.
        entry: the kernel that does the work.
    """

    title: str
    run: Callable[[], dict[str, Any]]
    expected: Callable[[], dict[str, np.ndarray]] | None = None
    tolerance: float = 1e-6
    bytes: int = 0
    operations: int = 0
    entry: str = ""


_EXAMPLES: dict[str, Callable] = {}


def example(kernel: str):
    """Decorator of ``examples(backend, rng, size)``, a generator of :class:`Example` of one kernel file.

    ``size`` is "small" (for the emulator: milliseconds, all corner cases, with ``expected``) or "large" (VGG-16's layers, to be timed on a
    GPU); ``rng`` is a NumPy generator.
    """

    def enter(function):
        _EXAMPLES[kernel] = function
        return function

    return enter


def examples(backend, size: str = "small", kernel: str | None = None, seed: int = 0) -> Iterator[tuple[str, Example]]:
    """(kernel file's name, example) of every face, or of one.

    Raises:
        ValueError: for another size. KeyError: for a kernel without examples.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    known = with_examples()
    if kernel is not None and kernel not in known:
        raise KeyError(f"no examples of kernel {kernel!r}; there are {', '.join(known)}")
    for name in known if kernel is None else (kernel,):
        for case in _EXAMPLES[name](backend, np.random.default_rng([seed, len(name)]), size):
            yield name, case


def with_examples() -> tuple[str, ...]:
    """The names of the kernel files that have examples, sorted."""
    from . import faces

    for module in pkgutil.iter_modules(faces.__path__):
        importlib.import_module(f"{faces.__name__}.{module.name}")
    return tuple(sorted(_EXAMPLES))
