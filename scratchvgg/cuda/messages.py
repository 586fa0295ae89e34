"""What went wrong in compiling a kernel, in the words a programmer wants: file, line, the line itself, a caret."""

from __future__ import annotations

import re
from pathlib import Path

MOST = 5  # errors shown; the first is usually the cause of the rest
STATIC_SHARED = 48 << 10  # bytes of static shared memory that a block may have, on every architecture


class CompileError(RuntimeError):
    """A kernel file does not compile. The message shows where, with the source line.

    Attributes:
        file: the kernel file.
        arch: what it was compiled for.
        log: all that the compiler said.
    """

    def __init__(self, file: Path, arch: str, log: str, ptx: str = ""):
        self.file, self.arch, self.log = Path(file), arch, log
        errors = _cpp_errors(log) or _assembler_errors(log, ptx) or _limits(log) or [log.strip() or "the compiler does not say why"]
        more = f"\n… and {len(errors) - MOST} more" if len(errors) > MOST else ""
        super().__init__(f"{self.file.name} does not compile for {arch}\n" + "\n".join(errors[:MOST]) + more)


def _cpp_errors(log: str) -> list[str]:
    """The compiler's own errors: a line with file and number, the source line, the caret."""
    return [match[0].rstrip() for match in re.finditer(r"^.*\(\d+\): (?:catastrophic )?error.*(?:\n[ \t]+.*)*", log, re.MULTILINE)]


def _assembler_errors(log: str, ptx: str) -> list[str]:
    """The assembler only knows lines of PTX; the line table in there leads back to the source."""
    lines, files = ptx.splitlines(), dict(re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]+)"', ptx, re.MULTILINE))
    found = []
    for number, message in re.findall(r"^ptxas application ptx input, line (\d+); error\s*: (.*)", log, re.MULTILINE):
        place = re.compile(r"\s*\.loc\s+(\d+)\s+(\d+)\s+(\d+)")
        before = lines[: int(number)]
        instruction = before[-1].strip() if before else ""
        loc = next((match for line in reversed(before) if (match := place.match(line))), None)
        if loc is None:
            found.append(f"error in the PTX: {message}\n  {instruction}")
            continue
        file = Path(files[loc[1]])
        source = file.read_text(encoding="utf-8", errors="replace").splitlines()[int(loc[2]) - 1] if file.is_file() else ""
        caret = " " * (max(len(source) - len(source.lstrip()), int(loc[3]) - 1)) + "^"
        found.append(f"{file}({loc[2]}): error in inline PTX: {message}\n  {source}\n  {caret}\n  the assembler read: {instruction}")
    return found


def _limits(log: str) -> list[str]:
    """What NVRTC refuses without a word: too much static shared memory."""
    entries = re.findall(r"Compiling entry function '([^']+)'(?:(?!Compiling).)*?(\d+) bytes smem", log, re.DOTALL)
    return [f"{entry} has {size} bytes of static shared memory, and a block may have {STATIC_SHARED}: take DYNAMIC_SHARED for more"
            for entry, size in entries if int(size) > STATIC_SHARED]
