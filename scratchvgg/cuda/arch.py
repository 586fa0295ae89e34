"""GPU architectures: ``sm_80`` Ampere, ``sm_90`` Hopper; ``sm_90a`` is Hopper with the instructions that no later GPU has (wgmma, setmaxnreg).

A kernel file that does not compile everywhere says so in a comment line of its own (:mod:`scratchvgg.cuda.registry`):

    // arch: sm_80      needs this or a newer one
    // arch: sm_90a     needs exactly this one
"""

from __future__ import annotations

import re
from collections.abc import Sequence

DEFAULT = "sm_90"  # asked about where there is no GPU to ask


class ArchitectureError(ValueError):
    """A kernel file does not work on the architecture asked for."""


def parse_arch(text: str) -> str:
    """``"sm_90"`` from ``"sm_90"``, ``"90"`` or ``"9.0"``, and likewise ``"sm_90a"``.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"(?:sm_)?(\d{1,2})\.?(\d)([af]?)", text.strip().lower())
    if not match:
        raise ValueError(f"arch: expected a name such as 'sm_80' or 'sm_90a', got {text!r}")
    return f"sm_{match[1]}{match[2]}{match[3]}"


def number_of(arch: str) -> int:
    """90 of ``"sm_90a"``."""
    return int(re.search(r"\d+", arch)[0])


def target(arch: str, needs: str | None) -> str:
    """What to compile a file for whose kernels are to run on ``arch``, when its comment says that it ``needs`` something.

    Raises:
        ArchitectureError: if they cannot run there.
    """
    if needs is None:
        return arch
    exact = needs[-1].isalpha()
    if number_of(arch) < number_of(needs) or (exact and number_of(arch) != number_of(needs)):
        raise ArchitectureError(f"needs {needs}{'' if exact else ' or newer'}, not {arch}")
    return needs if exact else arch


def supported_arch(arch: str, supported: Sequence[int]) -> str:
    """What to compile for so that a GPU of ``arch`` runs it: just that, else the nearest older one of its generation, whose code it runs too.

    Args:
        arch: of the GPU, as "sm_89".
        supported: the architectures of the compiler, as [75, 80, …].

    Raises:
        ArchitectureError: if the compiler knows none for this GPU.
    """
    number = number_of(arch)
    if number in supported:
        return arch
    older = [n for n in supported if n // 10 == number // 10 and n < number]
    if not older or arch[-1].isalpha():
        raise ArchitectureError(f"this NVRTC compiles for {', '.join(f'sm_{n}' for n in supported)}, not for {arch}")
    return f"sm_{max(older)}"
