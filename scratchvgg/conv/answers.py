"""What measuring has found: for each pass of each problem, the time of each algorithm; in memory and in a file.

There is one table for each number of threads, and one file for each combination of processor, BLAS, threads and versions, in
``conv/`` of the cache folder (``$SCRATCHVGG_HOME``). A file that is damaged or was made elsewhere is left alone, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from contextvars import ContextVar
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..array import get_num_threads
from ..array.dtypes import as_dtype
from ..array.machine import blas, processor
from ..weights.atomic import atomic_write
from ..weights.filelock import file_lock
from ..weights.folders import cache_folder
from .candidates import candidates, contenders
from .geometry import Problem
from .measure import measure
from .registry import PASSES, Algorithm

FORMAT = 1
MARGIN = 0.97  # another algorithm than the cost model's must take at most so much of its time

_lock = threading.RLock()
_tables: dict[int, dict[Question, dict[str, float]]] = {}
_loaded: set[Path] = set()


class Question(NamedTuple):
    """One pass of one problem; ``prepared``: with filters transformed beforehand."""

    problem: Problem
    dtype: str
    which: str
    prepared: bool


@dataclass
class Session:
    """How new questions are answered.

    Attributes:
        seconds: measuring time of each.
        file: where answers are kept; None: the machine's own file in the cache folder.
        progress: called with each question and its times (name → seconds).
        met: the questions answered so far and their times.
    """

    seconds: float = 0.3
    file: Path | None = None
    progress: object = None
    met: dict[Question, dict[str, float]] = field(default_factory=dict)


session: ContextVar[Session | None] = ContextVar("scratchvgg.conv.session", default=None)


def lookup(problem, dtype, which: str, prepared: bool) -> Algorithm | None:
    """The fastest algorithm by what this process has measured or loaded, or None."""
    table = _tables.get(get_num_threads())
    times = table and table.get(Question(problem, as_dtype(dtype).name, which, prepared))
    return fastest(times, candidates(problem, dtype, which, prepared)) if times else None


def fastest(times: dict[str, float], allowed: list[Algorithm]) -> Algorithm | None:
    """The algorithm of ``allowed`` (best first) with the least time; an earlier one wins within :data:`MARGIN`."""
    best = None
    for algorithm in allowed:
        if algorithm.name in times and (best is None or times[algorithm.name] < MARGIN * times[best.name]):
            best = algorithm
    return best


def find(problem, dtype, which: str, prepared: bool) -> Algorithm:
    """As :func:`lookup`; what is not known is loaded from the file, or measured and written to it."""
    question, now = Question(problem, as_dtype(dtype).name, which, prepared), session.get() or Session()
    wanted = {a.name for a in contenders(problem, dtype, which, prepared)}
    with _lock:
        table = _tables.setdefault(get_num_threads(), {})
        if not wanted <= table.get(question, {}).keys():
            _load(table, now.file or default_file())
        if not wanted <= table.get(question, {}).keys():
            table[question] = measure(problem, dtype, which, prepared, now.seconds)
            _store(question, table[question], now.file or default_file())
        if question not in now.met:
            now.met[question] = table[question]
            if now.progress is not None:
                now.progress(question, table[question])
    return lookup(problem, dtype, which, prepared)


def forget() -> None:
    """Drop the answers in memory; files stay."""
    with _lock:
        _tables.clear()
        _loaded.clear()


# ---- the file --------------------------------------------------------------------------------------------------------


def machine_key() -> dict:
    """What the answers depend on."""
    from .. import __version__

    return {"processor": processor(), "blas": blas(threads=False), "threads": get_num_threads(), "numpy": np.__version__, "scratchvgg": __version__}


def default_file() -> Path:
    """The file of this machine, BLAS, number of threads and versions."""
    digest = hashlib.sha256(json.dumps(machine_key(), sort_keys=True).encode()).hexdigest()
    return cache_folder() / "conv" / f"autotune-{digest[:12]}.json"


def _load(table, path: Path) -> None:
    """Add the answers of a file, once; what was measured in this process stays."""
    if path in _loaded or not path.exists():
        return
    _loaded.add(path)
    table |= _read(path) | table


def _read(path: Path) -> dict[Question, dict[str, float]]:
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT or content["machine"] != machine_key():
            warnings.warn(f"{path}: measured elsewhere or by another version ({content['machine']}); not used", stacklevel=2)
            return {}
        return dict(map(_from_entry, content["answers"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        warnings.warn(f"{path}: damaged, not used ({type(error).__name__}: {error})", stacklevel=2)
        return {}


def _store(question, times, path: Path) -> None:
    """Add one answer to the file, whatever other processes wrote to it meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_suffix(".lock")):
            known = _read(path) if path.exists() else {}
            known[question] = times
            content = {"format": FORMAT, "machine": machine_key(), "answers": list(map(_to_entry, known, known.values()))}
            with atomic_write(path, "w") as file:
                json.dump(content, file, indent=1)
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error.strerror or error}); what was measured is kept in memory only", stacklevel=2)


def _to_entry(question, times) -> dict:
    return {"problem": astuple(question.problem), "dtype": question.dtype, "pass": question.which, "prepared": question.prepared, "seconds": times}


def _from_entry(entry) -> tuple[Question, dict[str, float]]:
    *sizes, stride, padding, dilation, groups = entry["problem"]
    problem = Problem(*map(int, sizes), tuple(stride), tuple(map(tuple, padding)), tuple(dilation), int(groups))
    times = {str(name): float(t) for name, t in entry["seconds"].items()}
    if entry["pass"] not in PASSES or not all(t > 0 for t in times.values()):
        raise ValueError(f"malformed answer {entry}")
    return Question(problem, as_dtype(entry["dtype"]).name, entry["pass"], bool(entry["prepared"])), times
