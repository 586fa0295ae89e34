"""How numbers are written, in templates (as filters) and in terminals alike."""

from __future__ import annotations

import math

import numpy as np

MISSING = "–"


def count(value) -> str:
    """1234567 → ``1,234,567``."""
    return MISSING if value is None else f"{value:,}"


def number(value, digits: int = 4) -> str:
    """``digits`` significant ones; very large and very small numbers as powers of ten: ``0.03125``, ``1.2e-09``."""
    if value is None:
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if math.isnan(value):
        return "NaN"
    return f"{value:.{digits}g}" if math.isinf(value) or value == 0 or 1e-4 <= abs(value) < 10**6 else f"{value:.{digits - 1}e}"


def size(value) -> str:
    """Bytes with the unit that fits: ``512 B``, ``27.6 MiB``."""
    if value is None:
        return MISSING
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "B" or abs(amount) >= 100 else f"{amount:.1f} {unit}"


def shape(value) -> str:
    """(2, 64, 8, 8) → ``2×64×8×8``; of no dimension: ``scalar``."""
    return MISSING if value is None else "×".join(map(str, value)) or "scalar"


def ms(value) -> str:
    """Seconds as milliseconds."""
    return MISSING if value is None else f"{1e3 * value:.3g}" if value < 0.1 else f"{1e3 * value:,.0f}"


def percent(value, digits: int = 1) -> str:
    """A share as a percentage: 0.256 → ``25.6 %``."""
    return MISSING if value is None else "NaN" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def multiply(value, factor):
    """A number in another unit; None stays None."""
    return None if value is None else value * factor


FILTERS = {"bytes": size, "multiply": multiply, "count": count, "number": number, "shape": shape, "ms": ms, "percent": percent}
