"""The chooser's model of time: fixed numbers, so that the same problem gets the same algorithm everywhere.

An algorithm's cost is the sum of what it does, in nanoseconds of one core of the machine that the constants were fitted on (AVX-512,
OpenBLAS, float32). Only ratios matter: they decide which algorithm is taken, not how long anything lasts. ``docs/choosing-an-algorithm.md``
says how well they do.

    product(m, n, k)   2·m·n·k operations at GEMM's rate, slower where a side is short (BLAS pads its tiles and packs its operands)
    moved(numbers)     a copy or an elementwise pass that reads and writes so many numbers
    CALL               entering one array operation from Python
"""

from __future__ import annotations

from .blocks import ROWS

GEMM = 95.0  # operations per nanosecond of a large product
COPY = 5.0  # float32 numbers per nanosecond, copied within the cache
CALL = 2_000.0  # nanoseconds: one array operation on a tile, with its slicing and its share of the interpreter lock


def product(m: float, n: float, k: float, count: float = 1, packed: bool = True) -> float:
    """Nanoseconds of ``count`` products (m, k) · (k, n); not ``packed``: small ones, for which a dozen rows are enough (see ``blocks.py``)."""
    rows = 1 + 4 / max(m, 1) if packed else max(1, ROWS / max(m, 1))
    return count * 2 * m * n * k / GEMM * rows * (1 + 4 / max(n, 1)) * (1 + 12 / max(k, 1))


def moved(numbers: float) -> float:
    """Nanoseconds of one pass over so many numbers."""
    return numbers / COPY
