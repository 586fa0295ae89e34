"""What a compiled kernel takes of a GPU: registers, shared memory, spills, instructions.

Most of it is in the assembler's log (``--ptxas-options=-v``), the launch bounds are in the PTX, and the length of the code and the size of the
constant bank are those of the sections of the CUBIN, which is an ELF file.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

INSTRUCTION_BYTES = 16  # since Volta, every machine instruction


@dataclass(frozen=True)
class Resources:
    """One entry's needs.

    Attributes:
        entry: the kernel's name.
        arch: what it was compiled for, as "sm_90".
        registers: 32-bit registers of a thread.
        shared: bytes of static shared memory of a block (dynamic shared memory is asked for at launch and comes on top).
        stack: bytes of local memory of a thread, which lies in the GPU's main memory: arrays indexed at run time, and spills.
        spill_stores, spill_loads: bytes that a thread writes to and reads from local memory because its registers did not suffice.
        barriers: named barriers of a block (``__syncthreads`` uses one).
        constant: bytes of the constant bank that holds the arguments.
        instructions: length of the code, the padding at its end included.
        threads: the largest block it may be launched with (``__launch_bounds__``); None where it does not say.
        blocks: blocks per multiprocessor that ``__launch_bounds__`` asks for; None where it does not.
    """

    entry: str
    arch: str
    registers: int
    shared: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    barriers: int = 0
    constant: int = 0
    instructions: int = 0
    threads: int | None = None
    blocks: int | None = None

    @property
    def spills(self) -> int:
        """Bytes stored and loaded for want of registers."""
        return self.spill_stores + self.spill_loads


def parse_resources(log: str, ptx: str = "", cubin: bytes = b"") -> list[Resources]:
    """The entries of a compiled file, in alphabetical order.

    Args:
        log: of NVRTC with ``--ptxas-options=-v``, or of ``nvcc -Xptxas -v``.
        ptx: of the same file, for the launch bounds.
        cubin: of the same file, for the length of the code.
    """
    bounds, sizes = launch_bounds(ptx), section_sizes(cubin) if cubin else {}
    found = []
    for text in log.split("Compiling entry function ")[1:]:
        entry, arch = re.match(r"'([^']+)' for '([^']+)'", text).groups()

        def number(pattern, text=text):
            match = re.search(pattern, text)
            return int(match[1]) if match else 0

        threads, blocks = bounds.get(entry, (None, None))
        found.append(Resources(
            entry, arch, number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), number(r"(\d+) bytes stack frame"),
            number(r"(\d+) bytes spill stores"), number(r"(\d+) bytes spill loads"), number(r"used (\d+) barriers"),
            sizes.get(f".nv.constant0.{entry}", 0), sizes.get(f".text.{entry}", 0) // INSTRUCTION_BYTES, threads, blocks))
    return sorted(found, key=lambda r: r.entry)


def launch_bounds(ptx: str) -> dict[str, tuple[int | None, int | None]]:
    """Of each entry in the PTX: the threads of a block and the blocks per multiprocessor that its ``__launch_bounds__`` name."""
    found = {}
    for entry, directives in re.findall(r"\.entry\s+(\w+)\s*\([^)]*\)([^{]*)\{", ptx):
        threads = re.search(r"\.(?:maxntid|reqntid)\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", directives)
        blocks = re.search(r"\.minnctapersm\s+(\d+)", directives)
        x, y, z = (int(n or 1) for n in threads.groups()) if threads else (0, 0, 0)
        found[entry] = (x * y * z or None, int(blocks[1]) if blocks else None)
    return found


def section_sizes(cubin: bytes) -> dict[str, int]:
    """Name and bytes of every section of a 64-bit little-endian ELF file.

    Raises:
        ValueError: if it is not one.
    """
    if cubin[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a CUBIN: it does not begin as a 64-bit ELF file")
    (start,) = struct.unpack_from("<Q", cubin, 40)
    step, count, names = struct.unpack_from("<3H", cubin, 58)
    headers = [struct.unpack_from("<IIQQQQ", cubin, start + i * step) for i in range(count)]  # name, type, flags, address, offset, size
    table = headers[names][4]

    def name(offset: int) -> str:
        begin = table + offset
        return cubin[begin : cubin.index(b"\0", begin)].decode()

    return {name(header[0]): header[5] for header in headers}
