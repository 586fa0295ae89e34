"""Machine code (SASS) in words, each stretch under the source line it was made from."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .compile import Compiled
from .toolkit import find_program, missing

_PLACE = re.compile(r'\s*//## File "([^"]+)", line (\d+)(.*)')
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(.*?)\s*;")
_LABEL = re.compile(r"(\.L_x_\d+):")


def disassemble(compiled: Compiled, entry: str) -> str:
    """One entry of a compiled file.

    Raises:
        KeyError: if the file has no such entry.
        ImportError: without nvdisasm; it says what to install.
        RuntimeError: if nvdisasm cannot read the CUBIN (one older than the compiler).
    """
    if entry not in compiled.resources:
        raise KeyError(f"{compiled.file.name} has no entry {entry!r}; it has {', '.join(compiled.resources)}")
    lines = _section(_nvdisasm(compiled.path), entry)
    needs = compiled.resources[entry]
    head = f"{entry} for {compiled.arch}: {needs.instructions} instructions, {needs.registers} registers"
    return "\n".join([head, *_with_sources(lines)])


def sass_of(compiled: Compiled, entry: str) -> list[str]:
    """The instructions of one entry, in order: ``"FFMA R4, R2, R3, R4"``. Errors of :func:`disassemble`."""
    return [match[2] for line in _section(_nvdisasm(compiled.path), entry) if (match := _INSTRUCTION.match(line))]


@functools.lru_cache(maxsize=2)
def _nvdisasm(cubin: Path) -> str:
    """What nvdisasm says of a whole CUBIN, with the places in the source."""
    program = find_program("nvdisasm")
    if program is None:
        raise missing("nvdisasm", "disassembling")
    done = subprocess.run([program.path, "--print-line-info-inline", "--print-code", cubin], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program.path}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def _section(text: str, entry: str) -> list[str]:
    begin = text.index(f"\n.text.{entry}:\n")
    end = text.find("\n//----", begin + 1)
    return text[begin:end].splitlines()[2:]


def _with_sources(lines: list[str]) -> Iterator[str]:
    shown, innermost = None, True
    for line in lines:
        place, instruction, label = _PLACE.match(line), _INSTRUCTION.match(line), _LABEL.match(line)
        if place:
            if innermost and place.group(1, 2) != shown:
                shown = place.group(1, 2)
                yield f"  {Path(place[1]).name}:{place[2]}    {_line(place[1], int(place[2]))}"
            innermost = "inlined at" not in place[3]  # the callers of an inlined line follow it
        elif instruction:
            yield f"    {instruction[1]}  {instruction[2]}"
        elif label:
            yield f"  {label[1]}:"


def _line(file: str, number: int) -> str:
    lines = _lines(file)
    return lines[number - 1].strip() if number <= len(lines) else ""


@functools.lru_cache(maxsize=16)
def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
