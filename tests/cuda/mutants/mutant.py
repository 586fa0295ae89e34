"""What a mutant is, and how it is made and run.

A mutant is a kernel file with one small mistake, made from the real file by replacing one piece of text. The launches of its examples (those of
``registry.examples``) take its entries, and one named check has to find it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, registry
from scratchvgg.cuda.sources import kernel_folder, kernel_sources

_STAMP = re.compile(r"^[A-Z][A-Z0-9_]*\(.*\)$")  # a line that makes entries of a template for one type


@dataclass(frozen=True)
class Mutant:
    """A kernel file with one mistake.

    Attributes:
        file: the kernel file; its name without the suffix.
        why: the mistake, in words.
        old, new: what is replaced (it occurs once) and by what.
        by: the check that must find it, a name of :data:`CHECKS`.
        on: pattern of the titles of the examples that are run, until one shows the mistake.
        says: pattern that occurs in the finding.
        header: the header that is edited, in place of the kernel file.
        keep: pattern of the stamps that are compiled; the other types would only take time.
    """

    file: str
    why: str
    old: str
    new: str
    by: str
    on: str
    says: str = ""
    header: str | None = None
    keep: str = r"\bf32\b"

    @property
    def edited(self) -> Path:
        """The file with the mistake."""
        return kernel_folder() / self.header if self.header else kernel_sources()[self.file]


def write(mutant: Mutant, folder: Path) -> tuple[Path, Path]:
    """The kernel file without and with the mistake, in two new folders of ``folder``.

    Raises:
        ValueError: if the text to replace does not occur exactly once.
    """
    text = mutant.edited.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.edited.name} has {text.count(mutant.old)} times, not once: {mutant.old!r}")
    files = []
    for kind in ("right", "wrong"):
        home = folder / kind
        home.mkdir()
        source = home / f"{mutant.file}.cu"
        source.write_text(_fewer_types(kernel_sources()[mutant.file].read_text(encoding="utf-8"), mutant.keep), encoding="utf-8")
        if kind == "wrong":
            if mutant.header:  # with all headers beside it, those that include it find it too
                for header in kernel_folder().glob("*.cuh"):
                    shutil.copy(header, home)
            target = home / (mutant.header or source.name)
            target.write_text(target.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        files.append(source)
    return files[0], files[1]


def _fewer_types(source: str, keep: str) -> str:
    return "".join(line for line in source.splitlines(keepends=True) if not _STAMP.match(line.rstrip()) or re.search(keep, line))


def examples(mutant: Mutant, right: Path) -> list[registry.Example]:
    """The examples that the mutant is for. Launches that only make inputs for others are left out with their types."""
    backend = get_backend(Device("emulator"))
    launch, of_file = backend.launch, registry.kernel_files()[mutant.file]

    def some(entry, *args, **options):
        with emulator.sanitize(False), emulator.substitute(mutant.file, right):
            if not of_file.has(entry) or entry in emulator.load(right).names:
                launch(entry, *args, **options)

    backend.launch = some
    try:
        return [case for _, case in registry.examples(backend, "small", mutant.file) if fnmatchcase(case.title, mutant.on)]
    finally:
        del backend.launch


# ---- checks: what each says of an example, "" if it finds nothing ---------------------------------------------------------------------


def numbers(example) -> str:
    """The reference's numbers, within the example's tolerance."""
    for name, (got, expected) in _results(example).items():
        wrong = np.sqrt(np.mean((got - expected) ** 2)) / (np.sqrt(np.mean(expected**2)) or 1.0)
        if not wrong <= example.tolerance:
            return f"{name} is off by {wrong:.1e}"
    return ""


def nan(example) -> str:
    """NaN where the reference has a number: memory that nobody has written."""
    for name, (got, expected) in _results(example).items():
        lost = int((np.isnan(got) & ~np.isnan(expected)).sum())
        if lost:
            return f"{lost} numbers of {name} are NaN"
    return ""


def order(example) -> str:
    """The same bits in every order of threads."""
    first = _bits(example)
    for which in ("reverse", 1, 2, 3):
        with emulator.order(which):
            other = _bits(example)
        for name in first:
            if first[name] != other[name]:
                return f"{name} depends on the order of threads"
    return ""


def fault(example) -> str:
    """What ends a launch with a message although nothing is sanitized: a guard zone, a crash, a deadlock, a divergent barrier."""
    try:
        example.run()
    except emulator.EmulatorError as error:
        return str(error)
    return ""


def sanitizer(kind: str):
    """The check that runs the example under ``sanitize`` and wants a finding of this kind."""

    def check(example) -> str:
        try:
            with emulator.sanitize():
                example.run()
        except emulator.EmulatorError as error:
            return str(error)
        return ""

    check.__doc__ = f"{kind} of ``sanitize``."
    return check


SANITIZER = ("memcheck", "initcheck", "racecheck", "synccheck", "ordercheck")
CHECKS = {check.__name__: check for check in (numbers, nan, order, fault)} | {kind: sanitizer(kind) for kind in SANITIZER}


def proves(mutant: Mutant, finding: str) -> bool:
    """Whether a finding is the one that the mutant must get."""
    return bool(finding) and (mutant.by not in SANITIZER or finding.startswith(f"{mutant.by}: ")) and bool(re.search(mutant.says, finding))


def _results(example):
    got, expected = example.run(), example.expected()
    return {name: (np.asarray(got[name], np.float64), np.asarray(value, np.float64)) for name, value in expected.items()}


def _bits(example):
    return {name: np.asarray(array).tobytes() for name, array in example.run().items()}
