"""The face of measuring: ``with sv.conv.autotune(): model(x)``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from . import answers
from .candidates import candidates
from .chooser import choose, using
from .geometry import Problem
from .registry import PASSES


class autotune(contextlib.ContextDecorator):
    """Measure the algorithms for each convolution and take the fastest from then on.

    As a context, ``with sv.conv.autotune(): model(x)`` (or a whole training step) measures each pass of each problem that is met and not
    yet in the cache file. With ``problems`` the measuring is done at once, without a model. The answers hold in this process wherever
    no algorithm is asked for, and in others under ``SCRATCHVGG_CONV=tuned``.

    Args:
        problems: :class:`Problem` or several, to be measured now.
        dtype: element type of those.
        passes: passes of those. Each forward is measured twice: with the filter transformed beforehand, as in inference, and without.
        seconds: measuring time of each question, about.
        file: keeps the answers; by default one for this machine, BLAS, number of threads and versions in the cache folder.
        progress: called as ``progress(question, times)`` for each question answered; see :class:`~scratchvgg.conv.answers.Question`.

    Attributes:
        met: question → {algorithm: median seconds} of all that was asked, measured now or before.

    Raises:
        ValueError: for an unknown pass, or seconds below 0.
    """

    def __init__(self, problems: Problem | Iterable[Problem] = (), dtype="float32", *, passes: Iterable[str] = PASSES, seconds: float = 0.3,
                 file=None, progress: Callable | None = None):
        passes = (passes,) if isinstance(passes, str) else tuple(passes)
        if unknown := set(passes) - set(PASSES):
            raise ValueError(f"autotune: no pass {sorted(unknown)[0]!r}; there are {', '.join(PASSES)}")
        if not seconds >= 0:
            raise ValueError(f"autotune: expected seconds of 0 or more, got {seconds!r}")
        self._session = answers.Session(seconds, None if file is None else Path(file), progress)
        self._entered: list[contextlib.ExitStack] = []
        with self:
            for problem in (problems,) if isinstance(problems, Problem) else problems:
                for which in passes:
                    for prepared in (True, False) if which == "forward" else (False,):
                        choose(problem, dtype, None, which, prepared)

    @property
    def met(self) -> dict:
        """Question → {algorithm: median seconds}."""
        return dict(self._session.met)

    def __enter__(self):
        stack = contextlib.ExitStack()
        stack.enter_context(using("tuned"))
        token = answers.session.set(self._session)
        stack.callback(answers.session.reset, token)
        self._entered.append(stack)
        return self

    def __exit__(self, *_):
        self._entered.pop().close()

    def __str__(self):
        """One line a question: the algorithm taken, and the times of all in milliseconds."""
        return "\n".join(_line(question, times) for question, times in self.met.items())


def _line(question, times) -> str:
    g = question.problem
    best = answers.fastest(times, candidates(*question))
    shape = f"{g.N}×{g.C}×{g.H}×{g.W} → {g.K}, {g.R}×{g.S}"
    others = ", ".join(f"{name} {1e3 * t:.3g} ms" for name, t in sorted(times.items(), key=lambda item: item[1]))
    return f"{shape} {question.dtype} {question.which}{' (filters ready)' if question.prepared else ''}: {best.name} ({others})"
