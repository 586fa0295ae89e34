"""Keep freed memory in the process instead of giving it back to the system after every operation.

glibc maps large arrays one by one and unmaps them when they die, so each new activation starts as untouched pages, and the first
write to a page costs more than the arithmetic (measured: 1.5 to 5 times the time of an elementwise operation). Raising two of
malloc's limits makes it reuse what was freed.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_freed_memory() -> bool:
    """Let this process's malloc reuse large blocks; returns whether it could (glibc only, elsewhere nothing happens).

    It changes the whole process, so programs call it (``scratchvgg train`` does), the library does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
