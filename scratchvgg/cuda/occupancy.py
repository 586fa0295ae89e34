"""How many blocks of a kernel fit on one multiprocessor at a time, and what stops more.

Sources: the table "Technical Specifications per Compute Capability" of NVIDIA's CUDA C++ Programming Guide for the limits, and ``cuda_occupancy.h``,
NVIDIA's own calculator (in every toolkit), for the rounding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KIB = 1024
WARP = 32
REGISTERS = 64 * KIB  # of a multiprocessor, and the most of a block
PARTITIONS = 4  # a quarter of the registers belongs to each of the four schedulers
REGISTER_UNIT = 256  # a warp's registers come in such pieces
LONGEST_BLOCK = 1024


@dataclass(frozen=True)
class Limits:
    """What a multiprocessor has: warps and blocks at most, bytes of shared memory for all blocks and for one; from Hopper on barriers count too."""

    warps: int
    blocks: int
    shared: int
    shared_of_block: int
    shared_unit: int = 128
    shared_reserved: int = KIB  # the system's own share of every block
    barriers: int | None = None


LIMITS = {
    75: Limits(32, 16, 64 * KIB, 64 * KIB, shared_unit=256, shared_reserved=0),
    80: Limits(64, 32, 164 * KIB, 163 * KIB),
    86: Limits(48, 16, 100 * KIB, 99 * KIB),
    87: Limits(48, 16, 164 * KIB, 163 * KIB),
    89: Limits(48, 24, 100 * KIB, 99 * KIB),
    90: Limits(64, 32, 228 * KIB, 227 * KIB, barriers=64),
    100: Limits(64, 32, 228 * KIB, 227 * KIB, barriers=64),
    120: Limits(48, 24, 100 * KIB, 99 * KIB, barriers=24),
}
SAME_AS = {103: 100, 121: 120}


class UnknownLimits(ValueError):
    """An architecture whose limits are not in the table."""


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps that are on a multiprocessor together, the warps' share of the most there can be, and what stops more.

    ``limit`` is one of "warps", "blocks", "registers", "shared memory", "barriers". No blocks means that a launch would fail.
    """

    blocks: int
    warps: int
    share: float
    limit: str


def limits_of(arch: str) -> Limits:
    """The limits of an architecture.

    Raises:
        UnknownLimits: for one whose numbers are not in the table.
    """
    match = re.fullmatch(r"sm_(\d+)[af]?", arch)
    number = int(match[1]) if match else 0
    limits = LIMITS.get(SAME_AS.get(number, number))
    if limits is None:
        raise UnknownLimits(f"arch: no occupancy table for {arch!r}; there are {', '.join(f'sm_{n}' for n in sorted({*LIMITS, *SAME_AS}))}")
    return limits


def occupancy(arch: str, threads: int, registers: int, shared: int = 0, barriers: int = 1) -> Occupancy:
    """The occupancy of a kernel launched with blocks of ``threads``.

    Args:
        arch: as "sm_90".
        threads: of a block.
        registers: of a thread.
        shared: bytes of a block, static and dynamic.
        barriers: named barriers of a block.

    Raises:
        UnknownLimits, ValueError: for an unknown architecture, or a block without threads or registers.
    """
    limits = limits_of(arch)
    if threads < 1 or registers < 1:
        raise ValueError(f"threads, registers: expected 1 or more, got {threads}, {registers}")
    warps = -(-threads // WARP)
    of_warp = _round_up(registers * WARP, REGISTER_UNIT)
    of_block = _round_up(shared + limits.shared_reserved, limits.shared_unit)
    launchable = registers <= 255 and of_warp * _round_up(warps, PARTITIONS) <= REGISTERS  # warps are dealt out evenly to the partitions
    fits = {
        "warps": limits.warps // warps if threads <= LONGEST_BLOCK else 0,
        "blocks": limits.blocks,
        "registers": PARTITIONS * (REGISTERS // PARTITIONS // of_warp) // warps if launchable else 0,
        "shared memory": limits.shared // max(of_block, 1) if shared <= limits.shared_of_block else 0,
    }
    if limits.barriers and barriers:
        fits["barriers"] = limits.barriers // barriers
    limit = min(fits, key=fits.get)
    blocks = fits[limit]
    return Occupancy(blocks, blocks * warps, blocks * warps / limits.warps, limit)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
