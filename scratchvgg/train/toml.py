"""Writing TOML, which the standard library only reads."""

from __future__ import annotations

import math


def value(v) -> str:
    """A string, number, bool, or list or dict of these in TOML's spelling.

    Raises:
        TypeError: for anything else (TOML has no None).
    """
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, str):
        return '"' + "".join(map(_escaped, v)) + '"'
    if isinstance(v, float):
        return repr(v) if math.isfinite(v) else "nan" if math.isnan(v) else "inf" if v > 0 else "-inf"
    if isinstance(v, int):
        return str(v)
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(map(value, v)) + "]"
    if isinstance(v, dict):
        return "{" + ", ".join(f"{key(k)} = {value(x)}" for k, x in v.items()) + "}"
    raise TypeError(f"TOML cannot say {v!r}")


def table(name: str, content: dict, comment: str) -> list[str]:
    """The lines of a table, with an empty line before; none for an empty one."""
    return ["", f"[{key(name)}]  # {comment}", *(f"{key(k)} = {value(v)}" for k, v in content.items())] if content else []


def key(k: str) -> str:
    """A key, quoted where TOML wants it."""
    return k if k and all(c.isascii() and (c.isalnum() or c in "_-") for c in k) else value(k)


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
