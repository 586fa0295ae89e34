"""Finds the entries of a kernel file: ``extern "C" __global__ void name(arguments)`` in its preprocessed text."""

from __future__ import annotations

import re

_BOUNDS = r"(?:__launch_bounds__\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\s*)?"  # parentheses inside, two deep
_ENTRY = re.compile(rf'extern\s+"C"\s+__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(')
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def entries(preprocessed: str) -> dict[str, list[str]]:
    """Each entry's name with the names of its arguments, in the order of the file."""
    found = {}
    for match in _ENTRY.finditer(preprocessed):
        arguments = _balanced(preprocessed, match.end())
        found[match[1]] = [_name(a, i) for i, a in enumerate(_split(arguments))]
    return found


def includes(text: str) -> list[str]:
    """The files that a source names between quotation marks in its ``#include`` lines."""
    return _INCLUDE.findall(text)


def _balanced(text: str, start: int) -> str:
    """The text from ``start`` to the parenthesis that closes the one before it."""
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return text[start:i]
    return text[start:]


def _split(arguments: str) -> list[str]:
    """Split at the commas that stand outside of brackets."""
    parts, depth, part = [], 0, ""
    for c in arguments:
        depth += (c in "(<[{") - (c in ")>]}")
        if c == "," and not depth:
            parts.append(part)
            part = ""
        else:
            part += c
    return [p for p in [*parts, part] if p.strip() not in ("", "void")]


def _name(argument: str, number: int) -> str:
    """``const float* __restrict__ x`` is called x; an argument without a name is called by its number."""
    words = re.findall(r"\w+", argument)
    return words[-1] if len(words) > 1 and words[-1] not in ("__restrict__", "const") else f"argument {number}"
