"""Mutated weights files by the hundred thousand: ``python -m benchmarks.fuzz``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from ..memory import status
from .judge import Judge, Wrong
from .seeds import SEEDS

FORMATS = tuple(SEEDS)
ROUND = 5000  # files of one hypothesis run: it remembers all that it drew

__all__ = ["FORMATS", "Judge", "Wrong", "fuzz"]


def fuzz(form: str, count: int, seed: int, folder: Path, progress: Callable[[str, int, int], None] = lambda form, done, count: None) -> Judge:
    """Draw ``count`` mutated files of a format and judge each.

    Args:
        form: one of :data:`FORMATS`.
        seed: of what is drawn.
        folder: for the file in work.
        progress: told the format, how many are done and how many there will be.

    Raises:
        Wrong: for the first file that was treated wrongly, shrunk.
    """
    with _child_memory(form) as child_memory:
        seeds = SEEDS[form]()
        judge = Judge(form, seeds, folder, child_memory)
        _draw(judge, seeds, count, seed, progress)
    return judge


def _draw(judge: Judge, seeds: list[bytes], count: int, seed: int, progress) -> None:
    import hypothesis
    from hypothesis import strategies as st

    from . import mutations

    form, inside = judge.form, mutations.INSIDE.get(judge.form)
    cases = st.tuples(st.integers(0, len(seeds) - 1), mutations.programs(mutations.WORDS[form]), st.booleans() if inside else st.just(True),
                      st.integers(0, 1 << 16))

    def one(case):
        number, program, raw, choice = case
        content = mutations.apply(program, seeds[number]) if raw else inside(program, seeds[number], choice)
        judge(content, number, raw)

    done, turn = 0, 0
    while done < count:
        settings = hypothesis.settings(
            max_examples=min(ROUND, count - done), deadline=None, database=None, phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            suppress_health_check=list(hypothesis.HealthCheck), print_blob=False)
        hypothesis.seed(seed * 1_000_003 + turn)(settings(hypothesis.given(cases)(one)))()
        done, turn = sum(judge.counts.values()), turn + 1
        progress(form, min(done, count), count)


@contextmanager
def _child_memory(form: str):
    """One child process for all the HDF5 files of a run; gives a function that says how much memory it has needed."""
    if form != "keras":
        yield lambda: 0
        return
    from scratchvgg.weights import keras

    with keras.one_child() as inspector:
        yield lambda: status("VmHWM", inspector.pid) if inspector.pid else 0
