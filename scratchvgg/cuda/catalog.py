"""All kernel files at once: found by name, compiled on all cores, each entry with its resources and its occupancy."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..array import parallel_for
from . import registry
from .arch import ArchitectureError
from .compile import Compiled, compile_kernel_file
from .launch_size import THREADS
from .messages import CompileError
from .occupancy import Occupancy, UnknownLimits, occupancy
from .resources import Resources
from .sources import kernel_sources

USUAL_BLOCK = THREADS  # what an entry without __launch_bounds__ is launched with


@dataclass(frozen=True)
class Batch:
    """What came of compiling several files: those that did, the errors of those that did not, and why others are not for this architecture."""

    compiled: list[Compiled]
    failed: dict[Path, CompileError]
    left_out: dict[Path, ArchitectureError]


def compile_files(files: Iterable[Path], arch: str, tell: Callable[[int, int], None] = lambda done, total: None) -> Batch:
    """Compile files for one architecture, several at a time (NVRTC works outside Python's lock).

    Args:
        files: kernel files.
        arch: as "sm_90".
        tell: called with the number of files done and of all, in any thread, whenever one is done.

    Raises:
        ImportError: without NVRTC or CUDA's headers.
    """
    files = list(files)
    outcome, lock = {}, threading.Lock()

    def task(file: Path) -> None:
        try:
            result = compile_kernel_file(file, arch)
        except (CompileError, ArchitectureError) as error:
            result = error
        with lock:
            outcome[file] = result
            tell(len(outcome), len(files))

    tell(0, len(files))
    parallel_for(task, sorted(files, key=lambda file: file.stat().st_size, reverse=True))  # the long ones first: they would end last
    of = {kind: {file: outcome[file] for file in files if isinstance(outcome[file], kind)} for kind in (Compiled, CompileError, ArchitectureError)}
    return Batch(list(of[Compiled].values()), of[CompileError], of[ArchitectureError])


def entry_occupancy(needs: Resources) -> Occupancy | None:
    """The occupancy of an entry at its largest block, or at :data:`USUAL_BLOCK` where it names none; without dynamic shared memory.

    None for an architecture whose limits are not in the table of :mod:`~scratchvgg.cuda.occupancy`.
    """
    try:
        return occupancy(needs.arch, needs.threads or USUAL_BLOCK, needs.registers, needs.shared, needs.barriers)
    except UnknownLimits:
        return None


@dataclass(frozen=True)
class Selection:
    """What a user's names mean: files to compile, those of them that are meant as a whole, and patterns of entries in the others."""

    files: list[Path]
    whole: list[Path]
    patterns: list[str]

    def takes(self, file: Path, entry: str) -> bool:
        """Whether an entry of a file is meant."""
        return file in self.whole or any(fnmatch.fnmatchcase(entry, pattern) for pattern in self.patterns)


def select(names: Sequence[str] = ()) -> Selection:
    """Find what ``names`` mean: none of them, every file in ``kernels/``; else each a file there (``"relu"``), the path of a file
    (``"my_conv.cu"``), an entry (``"relu_forward_f32"``) or a pattern of entries (``"*_f32"``).

    Raises:
        FileNotFoundError: for a path where there is no file.
        KeyError: for a name that means nothing.
    """
    sources = kernel_sources()
    whole, patterns, files = [], [], []
    for name in names or sources:
        if name in sources:
            whole.append(sources[name].resolve())
        elif name.endswith(".cu"):
            whole.append(Path(name).resolve(strict=True))
        else:
            patterns.append(name)
            files += sources.values() if set(name) & set("*?[") else [registry.get(name).file]
    return Selection(sorted({*whole, *(file.resolve() for file in files)}, key=lambda file: file.stem), whole, patterns)
