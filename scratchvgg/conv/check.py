"""Is an algorithm right? ``check("my_conv")`` compares it with the seven loops and tells the smallest problem that it gets wrong.

For every problem it supports, on a fixed grid and on random ones, in three dtypes and memory layouts, all passes must

- give the right shape and dtype and err by at most what ``error_bound`` declares, and that must be small enough to mean something;
- leave their inputs as they were, share no memory with them, and fill and return ``out=``;
- take at most the scratch that ``workspace`` declares (twice as much is forgiven, and 64 KiB);
- give the same with prepared filters and with a fused epilogue, if the algorithm has them.
"""

from __future__ import annotations

import random
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..array import CPU, NumpyBackend
from ..array.dtypes import as_dtype
from . import registry
from .direct import Direct
from .epilogue import Epilogue
from .geometry import Problem
from .im2col import Im2col
from .problems import GRID, Choices, problems
from .registry import PASSES, Algorithm, convolve

DTYPES = ("float32", "float64", "float16")
LOOSEST = {"float16": 5e-2}  # an error bound above this, or 1 % elsewhere, says nothing
AXES = {"forward": "nkpq", "grad_input": "nchw", "grad_weight": "kcrs"}


@dataclass(frozen=True)
class Failure:
    """What went wrong, and where.

    Attributes:
        problem, dtype, layout: the case.
        which: the pass, or None where the whole case is meant.
        message: one or two sentences: the first wrong element, what was raised …
    """

    problem: Problem
    dtype: str
    layout: str
    which: str | None
    message: str

    def __str__(self):
        where = f"{self.which}, " if self.which else ""
        return f"{where}{self.dtype}, {self.layout} memory\n  {self.problem}\n  {self.message}"


@dataclass
class Report:
    """The result of :func:`check`; true if nothing was wrong (:attr:`ok`).

    Attributes:
        algorithm: its name.
        problems: how many were tried.
        cases: problems × dtypes × layouts.
        unsupported: problems of the grid that the algorithm does not take.
        failure: the smallest that was found, or None.
        drawn: who drew the random problems.
        errors: (pass, dtype) → the largest error relative to the largest sum, and the bound of that problem.
    """

    algorithm: str
    problems: int = 0
    cases: int = 0
    unsupported: int = 0
    failure: Failure | None = None
    drawn: str = ""
    errors: dict = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing was wrong."""
        return self.failure is None

    def __bool__(self):
        return self.ok

    def __str__(self):
        tried = f"{self.problems} problems ({self.unsupported} of the grid not supported; random ones by {self.drawn}), {self.cases} cases"
        if self.failure is not None:
            return f"{self.algorithm} is WRONG: {self.failure}\n{tried}"
        lines = [
            f"  {which:<12} {dtype:<8} error {error:.1e}, bound {bound:.1e}" for (which, dtype), (error, bound) in sorted(self.errors.items())
        ]
        return "\n".join([f"{self.algorithm} is right: {tried}", *lines])


def check(algorithm, problems=GRID, draws: int = 50, seed: int = 0, progress=None) -> Report:
    """Check an algorithm against ``direct``, pass by pass.

    Args:
        algorithm: an :class:`Algorithm` or the name of one.
        problems: tried first, the smallest first.
        draws: random problems after that. With hypothesis (``pip install 'scratchvgg[test]'``) a failure is shrunk to a small one; without it
            NumPy draws and the smallest failing problem is taken.
        seed: of the random problems and of all operands.
        progress: called as ``progress(done, total)`` after every problem of the grid and at the end.

    Returns:
        A :class:`Report`. It stops at the first failure, once it is as small as can be.

    Raises:
        ValueError: for an unknown name, or an algorithm that supports nothing that was tried.
    """
    algorithm = registry.get(algorithm) if isinstance(algorithm, str) else algorithm
    report = Report(algorithm.name)
    grid = sorted(problems, key=_size)
    total = len(grid) + draws
    for number, problem in enumerate(grid):
        dtypes = [d for d in DTYPES if algorithm.supports(problem, d)]
        report.unsupported += not dtypes
        report.problems += bool(dtypes)
        report.failure = _first(_try(algorithm, problem, d, layout, seed, report) for d in dtypes for layout in LAYOUTS)
        if report.failure:
            break
        if progress is not None:
            progress(number + 1, total)
    try:
        import hypothesis
    except ImportError:
        report.drawn, draw = "NumPy; pip install 'scratchvgg[test]' for hypothesis, which finds smaller ones", _draw_with_numpy
    else:
        report.drawn, draw = f"hypothesis {hypothesis.__version__}", _draw_with_hypothesis
    if draws > 0:
        found = draw(algorithm, draws, seed, report)
        report.failure = min(filter(None, (report.failure, found)), key=lambda f: _size(f.problem), default=None)
    if progress is not None:
        progress(total, total)
    if not report.cases:
        raise ValueError(f"check: algorithm {algorithm.name!r} supports none of the {len(grid)} problems of the grid and nothing that could be drawn")
    return report


def _size(g):
    """Smaller problems first."""
    return g.macs, g.N * g.C * g.H * g.W, sum(map(sum, g.padding))


def _first(failures):
    return next((f for f in failures if f is not None), None)


# ---- random problems -----------------------------------------------------------------------------------------------------


def _draw_with_hypothesis(algorithm, draws, seed, report):
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis import strategies as st
    from hypothesis.errors import NoSuchExample, Unsatisfiable

    def fails(case):
        problem, dtype, layout = case
        if not algorithm.supports(problem, dtype):
            return False
        report.problems += 1
        return _try(algorithm, problem, dtype, layout, seed, report) is not None

    cases = st.tuples(problems(algorithm), st.sampled_from(DTYPES), st.sampled_from(list(LAYOUTS)))
    quiet = settings(
        max_examples=draws, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink)
    )
    try:
        smallest = find(cases, fails, settings=quiet, random=random.Random(seed))
    except (NoSuchExample, Unsatisfiable):
        return None
    return _try(algorithm, *smallest, seed, report)


def _draw_with_numpy(algorithm, draws, seed, report):
    rng, choices = np.random.default_rng(seed), Choices(algorithm)
    failures = []
    for _ in range(draws if choices.any else 0):
        problem = choices.build(lambda values: values[rng.integers(len(values))])
        dtype, layout = DTYPES[rng.integers(len(DTYPES))], list(LAYOUTS)[rng.integers(len(LAYOUTS))]
        if algorithm.supports(problem, dtype):
            report.problems += 1
            failures.append(_try(algorithm, problem, dtype, layout, seed, report))
    return min(filter(None, failures), key=lambda f: _size(f.problem), default=None)


# ---- one case --------------------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    """Carries (pass, message) out of a case."""


class WatchedBackend(NumpyBackend):
    """A CPU backend that remembers how much scratch each thread asked for.

    Attributes:
        asked: (thread, tag) → bytes.
    """

    def __init__(self):
        super().__init__(CPU)
        self.asked: dict[tuple, int] = {}

    def workspace(self, tag, shape, dtype):
        array = super().workspace(tag, shape, dtype)
        place = threading.get_ident(), tag
        self.asked[place] = max(self.asked.get(place, 0), array.nbytes)
        return array

    def most(self) -> int:
        """Bytes of the thread that holds most."""
        totals: dict[int, int] = {}
        for (thread, _), size in self.asked.items():
            totals[thread] = totals.get(thread, 0) + size
        return max(totals.values(), default=0)


def _strided(a):
    """Every second element of a larger array, whose other elements are NaN."""
    held = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = held[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


LAYOUTS = {
    "contiguous": lambda a: a.copy(),
    "channels_last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim == 4 else a.copy(),
    "strided": _strided,
}


def _try(algorithm, problem, dtype, layout, seed, report) -> Failure | None:
    """Run one case; what is wrong with it, if anything."""
    report.cases += 1
    try:
        with np.errstate(all="ignore"):
            _examine(algorithm, problem, dtype, LAYOUTS[layout], seed, report)
    except _Wrong as wrong:
        return Failure(problem, dtype, layout, *wrong.args)
    return None


def _operands(g, seed):
    """x, w, dy, bias: normal numbers that every dtype holds exactly."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float16).astype(np.float64) for shape in (g.x_shape, g.w_shape, g.y_shape, (g.K,))]


def _passes(twin, g, x, w, dy, bias):
    """The three passes by ``twin``."""
    backend = NumpyBackend(CPU)
    results = twin.forward(backend, g, x, w, bias), twin.grad_input(backend, g, dy, w), twin.grad_weight(backend, g, dy, x)
    return dict(zip(PASSES, results, strict=True))


_known: dict[tuple, tuple] = {}  # the latest problem's operands, results and largest sums: all dtypes and layouts share them


def _reference(g, seed):
    if (g, seed) not in _known:
        operands = _operands(g, seed)
        sums = _passes(Im2col(), g, *(np.abs(a) for a in operands))  # sizes only: the slow twin would not be more use
        _known.clear()
        _known[g, seed] = operands, _passes(Direct(), g, *operands), {which: float(s.max(initial=0)) for which, s in sums.items()}
    return _known[g, seed]


def _examine(algorithm: Algorithm, g, dtype, arrange, seed, report):
    """All passes of one case.

    Raises:
        _Wrong: for the first thing that is not as it should be.
    """
    operands, truth, sizes = _reference(g, seed)
    x, w, dy, bias = given = [arrange(a.astype(dtype)) for a in operands]
    kept = [_memory(a).tobytes() for a in given]
    calls = {
        "forward": lambda b, **o: algorithm.forward(b, g, x, w, bias, **o),
        "grad_input": lambda b, **o: algorithm.grad_input(b, g, dy, w, **o),
        "grad_weight": lambda b, **o: algorithm.grad_weight(b, g, dy, x, **o),
    }
    for which, call in calls.items():
        bound = _declared(algorithm, g, dtype, which)
        allowed = (bound + Direct().error_bound(g, "float64", which)) * sizes[which] + float(np.finfo(dtype).smallest_subnormal)
        backend = WatchedBackend()
        got = _call(which, lambda call=call, backend=backend: call(backend))
        _check_unchanged(which, given, kept)
        _compare(which, got, truth[which], dtype, allowed)
        error = float(np.abs(got - truth[which]).max(initial=0)) / (sizes[which] or 1)
        report.errors[which, dtype] = max(report.errors.get((which, dtype), (0.0, bound)), (error, bound))
        if any(np.may_share_memory(got, a) for a in given):
            raise _Wrong(which, "the result shares memory with an input")
        limit = 2 * int(algorithm.workspace(g, dtype, which)) + 65536
        if backend.most() > limit:
            raise _Wrong(which, f"a thread took {backend.most()} bytes of scratch; workspace() declares {algorithm.workspace(g, dtype, which)}")
        out = arrange(np.full(truth[which].shape, np.nan, dtype))
        if _call(which, lambda call=call, out=out: call(WatchedBackend(), out=out)) is not out:
            raise _Wrong(which, "with out= it returned another array")
        _compare(which, out, truth[which], dtype, allowed, "with out=: ")
        _check_unchanged(which, given, kept)
    _check_forward(algorithm, g, x, w, bias, dtype, truth["forward"], sizes["forward"])


def _check_unchanged(which, given, kept):
    for name, now, before in zip(("x", "w", "dy", "bias"), given, kept, strict=True):
        if _memory(now).tobytes() != before:
            raise _Wrong(which, f"it changed its input {name}")


def _check_forward(algorithm, g, x, w, bias, dtype, y, size):
    """Without bias, with prepared filters, with an epilogue."""
    backend = WatchedBackend()
    allowed = (2 * algorithm.error_bound(g, dtype) + Direct().error_bound(g, "float64")) * size + float(np.finfo(dtype).smallest_subnormal)
    if as_dtype(dtype).itemsize < 4:
        allowed *= 2  # sums that are only rounded after the epilogue, and those rounded before
    plain = y - np.asarray(bias, np.float64)[:, None, None]
    _compare("forward", _call("forward", lambda: algorithm.forward(backend, g, x, w)), plain, dtype, allowed, "without bias: ")
    if algorithm.prepares:
        prepared = _call("forward", lambda: algorithm.prepare(backend, g, w))
        got = _call("forward", lambda: convolve(algorithm, backend, g, x, w, bias, prepared=prepared))
        _compare("forward", got, y, dtype, allowed, "with prepared filters: ")
    if algorithm.fuses:
        n, k, p, q = g.y_shape
        pooled = y[:, :, : p // 2 * 2, : q // 2 * 2].reshape(n, k, p // 2, 2, q // 2, 2).max(axis=(3, 5), initial=-np.inf)
        for epilogue, wanted in ((Epilogue(relu=True), y), (Epilogue(relu=True, pool=True), pooled)):
            got = _call("forward", lambda epilogue=epilogue: convolve(algorithm, backend, g, x, w, bias, epilogue=epilogue))
            _compare("forward", got, np.maximum(wanted, 0), dtype, allowed, f"with {epilogue}: ")


def _declared(algorithm, g, dtype, which) -> float:
    """The error bound, if it is one; the other declarations must answer too."""
    bound = _call(which, lambda: float(algorithm.error_bound(g, dtype, which)))
    if not 0 <= bound <= LOOSEST.get(dtype, 1e-2):
        raise _Wrong(which, f"error_bound() is {bound:g}: nothing, or no bound worth the name")
    for name, arguments in (("workspace", (g, dtype, which)), ("cost", (g, dtype, which)), ("operations", (g, which))):
        value = _call(which, lambda name=name, arguments=arguments: getattr(algorithm, name)(*arguments))
        if not value >= 0:
            raise _Wrong(which, f"{name}() is {value!r}; expected a number of at least 0")
    return bound


def _call(which, call):
    """``call()``; what it raises is a finding, with its last line."""
    try:
        return call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise _Wrong(which, f"it raised {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})") from error


def _compare(which, got, wanted, dtype, allowed, how=""):
    """Type, shape, and every element within ``allowed``; the first wrong one is named."""
    if not isinstance(got, np.ndarray):
        raise _Wrong(which, f"{how}expected an array, got {type(got).__name__}")
    if got.dtype != np.dtype(dtype):
        raise _Wrong(which, f"{how}expected {dtype}, got {got.dtype}")
    if got.shape != wanted.shape:
        raise _Wrong(which, f"{how}expected shape {wanted.shape}, got {got.shape}")
    wrong = ~(np.abs(got - wanted) <= allowed)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        index = ", ".join(f"{axis}={i}" for axis, i in zip(AXES[which], place, strict=True))
        raise _Wrong(
            which, f"{how}{int(wrong.sum())} of {wrong.size} elements are wrong, the first at [{index}]: "
            f"got {float(got[place]):.6g}, expected {wanted[place]:.6g}, allowed ±{allowed:.2g}"
        )  # fmt: skip


def _memory(a):
    """The array that owns the memory, gaps and all."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a
