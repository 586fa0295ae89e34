"""What CuPy has: its public names with their parameters, as stored in ``cupy_names.txt`` (CuPy 14.2). One line a name:

::

    concatenate: tup axis= out= * dtype= casting=      a function; = has a default, what follows * goes by keyword
    add: ufunc
    float32: value                                     a type or a constant, the same object as NumPy's
    ndarray.ravel: method

``python -m tests.cuda.rehearsal.names`` writes the file anew from the CuPy that is installed; no GPU is needed.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("cupy_names.txt")
MODULES = ("", "linalg.", "lib.stride_tricks.")
_P = inspect.Parameter


@functools.cache
def stored() -> dict[str, str]:
    """name → what stands behind it."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line) | {line[:-1]: "" for line in lines if line.endswith(":")}


def signature(description: str) -> inspect.Signature:
    """The parameters of a stored function."""
    kind, parameters = _P.POSITIONAL_OR_KEYWORD, []
    for word in description.split():
        if word == "*":
            kind = _P.KEYWORD_ONLY
        elif word.startswith("**"):
            parameters.append(_P(word[2:], _P.VAR_KEYWORD))
        elif word.startswith("*"):
            parameters.append(_P(word[1:], _P.VAR_POSITIONAL))
            kind = _P.KEYWORD_ONLY
        else:
            parameters.append(_P(word.rstrip("="), kind, default=None if word.endswith("=") else _P.empty))
    return inspect.Signature(parameters)


def described(cupy) -> dict[str, str]:
    """The same from a CuPy that is installed."""
    found = {}
    for prefix in MODULES:
        ours, theirs = cupy, np
        for part in prefix.split(".")[:-1]:
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        for name in dir(ours):
            if not name.startswith("_") and hasattr(theirs, name) and (text := _describe(getattr(ours, name), getattr(theirs, name))) is not None:
                found[prefix + name] = text
    found |= {f"ndarray.{name}": "method" for name in dir(cupy.ndarray) if not name.startswith("_") and hasattr(np.ndarray, name)}
    return found | dict.fromkeys(("asnumpy", "get_default_memory_pool"), "function")


def _describe(ours, theirs) -> str | None:
    if inspect.ismodule(ours):
        return None
    if ours is theirs or isinstance(ours, (float, int)):
        return "value"
    if type(ours).__name__ == "nd_grid":
        return "grid"
    if type(ours).__name__ in ("ufunc", "_GUFunc"):
        return "ufunc"
    try:
        parameters = inspect.signature(ours).parameters.values()
    except (TypeError, ValueError):
        return "function" if callable(ours) else None
    words, keyword = [], False
    for p in parameters:
        if p.kind == _P.KEYWORD_ONLY and not keyword and not any(w.startswith("*") for w in words):
            words.append("*")
        keyword = p.kind == _P.KEYWORD_ONLY
        stars = {_P.VAR_POSITIONAL: "*", _P.VAR_KEYWORD: "**"}.get(p.kind, "")
        words.append(f"{stars}{p.name}{'' if stars or p.default is _P.empty else '='}")
    return " ".join(words)


if __name__ == "__main__":
    import cupy

    FILE.write_text("".join(f"{name}: {text}".rstrip() + "\n" for name, text in sorted(described(cupy).items())), encoding="utf-8")
