"""Is an algorithm right? ``check("my_conv")`` compares it with the seven loops and tells the smallest problem that it gets wrong.

For every problem it supports, on a fixed grid and on random ones, in three dtypes and memory layouts, all passes must

- give the right shape and dtype and err by at most what ``error_bound`` declares, and that must be small enough to mean something;
- leave their inputs as they were, share no memory with them, and fill and return ``out=``;
- take at most the scratch that ``workspace`` declares (twice as much is forgiven, and 64 KiB);
- give the same with prepared filters and with a fused epilogue, if the algorithm has them.

Algorithms that launch CUDA kernels are run on the emulator, or on the GPU if that is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import random
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..array import CPU, Backend, Device, NumpyBackend, get_backend
from ..array.dtypes import as_dtype
from . import registry
from .check_memory import LAYOUTS, WatchedBackend, memory, watched
from .direct import Direct
from .epilogue import Epilogue
from .geometry import Problem
from .im2col import Im2col
from .problems import GRID, Choices, problems
from .registry import PASSES, Algorithm, convolve

__all__ = ["Failure", "Report", "WatchedBackend", "check"]

DTYPES = ("float32", "float64", "float16")
LOOSEST = {"float16": 5e-2, "bfloat16": 5e-2}  # an error bound above this, or 1 % elsewhere, says nothing
LOOPS_AT_MOST = 300_000  # multiply–accumulates: beyond, im2col in float64 is the truth, and the seven loops have checked that
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


@dataclass(frozen=True)
class _Plan:
    """What is checked and how; see :func:`check`."""

    algorithm: Algorithm
    backend: Backend
    passes: tuple[str, ...]
    dtypes: tuple[str, ...]
    layouts: tuple[str, ...]
    seed: int
    report: Report


def check(algorithm, problems=GRID, draws: int = 50, seed: int = 0, progress=None, *, device=None, passes=PASSES, dtypes=None,
          layouts=tuple(LAYOUTS)) -> Report:
    """Check an algorithm against ``direct``, pass by pass.

    Args:
        algorithm: an :class:`Algorithm` or the name of one.
        problems: tried first, the smallest first.
        draws: random problems after that. With hypothesis (``pip install 'scratchvgg[test]'``) a failure is shrunk to a small one; without it
            NumPy draws and the smallest failing problem is taken.
        seed: of the random problems and of all operands.
        progress: called as ``progress(done, total)`` after every problem of the grid and at the end.
        device: where; None: ``"emulator"`` for an algorithm that launches kernels, else ``"cpu"``. It also says which algorithm a name means.
        passes: those to check.
        dtypes: names; None: float32, float64 and float16, with kernels bfloat16 too.
        layouts: of ``contiguous``, ``channels_last`` and ``strided`` memory.

    Returns:
        A :class:`Report`. It stops at the first failure, once it is as small as can be.

    Raises:
        ValueError: for an unknown name, an algorithm that supports nothing that was tried, or one that cannot run on ``device``.
        RuntimeError: if the device is not there.
    """
    plan = _plan(algorithm, device, passes, dtypes, layouts, seed)
    report, algorithm = plan.report, plan.algorithm
    grid = sorted(problems, key=_size)
    total = len(grid) + draws
    for number, problem in enumerate(grid):
        supported = [d for d in plan.dtypes if algorithm.supports(problem, d)]
        report.unsupported += not supported
        report.problems += bool(supported)
        report.failure = _first(_try(plan, problem, d, layout) for d in supported for layout in plan.layouts)
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
        report.failure = min(filter(None, (report.failure, draw(plan, draws))), key=lambda f: _size(f.problem), default=None)
    if progress is not None:
        progress(total, total)
    if not report.cases:
        raise ValueError(f"check: algorithm {algorithm.name!r} supports none of the {len(grid)} problems of the grid and nothing that could be drawn")
    return report


def _plan(algorithm, device, passes, dtypes, layouts, seed) -> _Plan:
    if isinstance(algorithm, str):
        algorithm = registry.get(algorithm, kernels=device is not None and Device(device).type != "cpu")
    backend = get_backend(Device(device or ("emulator" if algorithm.kernels else "cpu")))
    if backend.runs_kernels != algorithm.kernels:
        raise ValueError(f"check: algorithm {algorithm.name!r} {'launches CUDA kernels' if algorithm.kernels else 'computes on the CPU'}, "
                         f"got device {str(backend.device)!r}")
    dtypes = tuple(dtypes or DTYPES + ("bfloat16",) * algorithm.kernels)
    return _Plan(algorithm, backend, tuple(passes), dtypes, tuple(layouts), seed, Report(algorithm.name))


def _size(g):
    """Smaller problems first."""
    return g.macs, g.N * g.C * g.H * g.W, sum(map(sum, g.padding))


def _first(failures):
    return next((f for f in failures if f is not None), None)


# ---- random problems -----------------------------------------------------------------------------------------------------


def _draw_with_hypothesis(plan, draws):
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis import strategies as st
    from hypothesis.errors import NoSuchExample, Unsatisfiable

    def fails(case):
        problem, dtype, layout = case
        if not plan.algorithm.supports(problem, dtype):
            return False
        plan.report.problems += 1
        return _try(plan, problem, dtype, layout) is not None

    cases = st.tuples(problems(plan.algorithm, _asked_about(plan)), st.sampled_from(plan.dtypes), st.sampled_from(plan.layouts))
    quiet = settings(
        max_examples=draws, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink)
    )
    try:
        smallest = find(cases, fails, settings=quiet, random=random.Random(plan.seed))
    except (NoSuchExample, Unsatisfiable):
        return None
    return _try(plan, *smallest)


def _asked_about(plan) -> str:
    """The element type by which the random problems are chosen: float32, unless it is not checked."""
    return DTYPES[0] if DTYPES[0] in plan.dtypes else plan.dtypes[0]


def _draw_with_numpy(plan, draws):
    rng, choices = np.random.default_rng(plan.seed), Choices(plan.algorithm, _asked_about(plan))
    failures = []
    for _ in range(draws if choices.any else 0):
        problem = choices.build(lambda values: values[rng.integers(len(values))])
        dtype, layout = plan.dtypes[rng.integers(len(plan.dtypes))], plan.layouts[rng.integers(len(plan.layouts))]
        if plan.algorithm.supports(problem, dtype):
            plan.report.problems += 1
            failures.append(_try(plan, problem, dtype, layout))
    return min(filter(None, failures), key=lambda f: _size(f.problem), default=None)


# ---- one case --------------------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    """Carries (pass, message) out of a case."""


def _try(plan, problem, dtype, layout) -> Failure | None:
    """Run one case; what is wrong with it, if anything."""
    plan.report.cases += 1
    try:
        with np.errstate(all="ignore"), plan.backend.quiet() if plan.algorithm.kernels else contextlib.nullcontext():
            _examine(plan, problem, dtype, LAYOUTS[layout])
    except _Wrong as wrong:
        return Failure(problem, dtype, layout, *wrong.args)
    return None


def _operands(g, seed, dtype):
    """x, w, dy, bias: normal numbers that ``dtype`` and every wider one hold exactly."""
    rng = np.random.default_rng(seed)
    drawn = [rng.standard_normal(shape).astype(np.float16) for shape in (g.x_shape, g.w_shape, g.y_shape, (g.K,))]
    return [a.astype(as_dtype(dtype).numpy).astype(np.float64) for a in drawn]


def _passes(twin, g, passes, x, w, dy, bias):
    """The passes by ``twin``."""
    backend = NumpyBackend(CPU)
    calls = {"forward": lambda: twin.forward(backend, g, x, w, bias), "grad_input": lambda: twin.grad_input(backend, g, dy, w),
             "grad_weight": lambda: twin.grad_weight(backend, g, dy, x)}
    return {which: calls[which]() for which in passes}


@functools.lru_cache(64)
def _reference(g, seed, dtype, passes):
    """Operands, results and largest sums: layouts and orders of threads share them."""
    operands = _operands(g, seed, dtype)
    sums = _passes(Im2col(), g, passes, *(np.abs(a) for a in operands))  # sizes only: the slow twin would not be more use
    twin = Direct() if g.macs <= LOOPS_AT_MOST else Im2col()
    return operands, _passes(twin, g, passes, *operands), {which: float(s.max(initial=0)) for which, s in sums.items()}


def _examine(plan, g, dtype, arrange):
    """All passes of one case.

    Raises:
        _Wrong: for the first thing that is not as it should be.
    """
    algorithm, device, report, element = plan.algorithm, plan.backend, plan.report, as_dtype(dtype).numpy
    operands, truth, sizes = _reference(g, plan.seed, dtype if dtype == "bfloat16" else "float16", plan.passes)
    x, w, dy, bias = given = [arrange(device.asarray, a.astype(element)) for a in operands]
    kept = [memory(device, a) for a in given]
    calls = {
        "forward": lambda b, **o: algorithm.forward(b, g, x, w, bias, **o),
        "grad_input": lambda b, **o: algorithm.grad_input(b, g, dy, w, **o),
        "grad_weight": lambda b, **o: algorithm.grad_weight(b, g, dy, x, **o),
    }
    for which in plan.passes:
        call, bound = calls[which], _declared(algorithm, g, dtype, which)
        allowed = (bound + Direct().error_bound(g, "float64", which)) * sizes[which] + _least(dtype)
        backend = watched(device)
        got = _call(which, lambda call=call, backend=backend: call(backend))
        _check_unchanged(device, which, given, kept)
        host = _compare(device, which, got, truth[which], dtype, allowed)
        error = float(np.abs(host - truth[which]).max(initial=0)) / (sizes[which] or 1)
        report.errors[which, dtype] = max(report.errors.get((which, dtype), (0.0, bound)), (error, bound))
        if any(device.xp.may_share_memory(got, a) for a in given):
            raise _Wrong(which, "the result shares memory with an input")
        limit = 2 * int(algorithm.workspace(g, dtype, which)) + 65536
        if backend.most() > limit:
            raise _Wrong(which, f"a thread took {backend.most()} bytes of scratch; workspace() declares {algorithm.workspace(g, dtype, which)}")
        out = arrange(device.asarray, np.full(truth[which].shape, np.nan, element))
        if _call(which, lambda call=call, out=out: call(watched(device), out=out)) is not out:
            raise _Wrong(which, "with out= it returned another array")
        _compare(device, which, out, truth[which], dtype, allowed, "with out=: ")
        _check_unchanged(device, which, given, kept)
    if "forward" in plan.passes:
        _check_forward(algorithm, device, g, x, w, bias, dtype, (truth["forward"], operands[3]), sizes["forward"])


def _least(dtype) -> float:
    """The smallest number above 0."""
    return 2.0**-133 if dtype == "bfloat16" else float(np.finfo(dtype).smallest_subnormal)


def _check_unchanged(device, which, given, kept):
    for name, now, before in zip(("x", "w", "dy", "bias"), given, kept, strict=True):
        if memory(device, now) != before:
            raise _Wrong(which, f"it changed its input {name}")


def _check_forward(algorithm, device, g, x, w, bias, dtype, truth, size):
    """Without bias, with prepared filters, with an epilogue. ``truth``: (y with bias, bias), float64."""
    backend, y = watched(device), truth[0]
    allowed = (2 * algorithm.error_bound(g, dtype) + Direct().error_bound(g, "float64")) * size + _least(dtype)
    if as_dtype(dtype).itemsize < 4:
        allowed *= 2  # sums that are only rounded after the epilogue, and those rounded before
    plain = y - truth[1][:, None, None]
    _compare(device, "forward", _call("forward", lambda: algorithm.forward(backend, g, x, w)), plain, dtype, allowed, "without bias: ")
    if algorithm.prepares:
        prepared = _call("forward", lambda: algorithm.prepare(backend, g, w))
        got = _call("forward", lambda: convolve(algorithm, backend, g, x, w, bias, prepared=prepared))
        _compare(device, "forward", got, y, dtype, allowed, "with prepared filters: ")
    if algorithm.fuses:
        n, k, p, q = g.y_shape
        pooled = y[:, :, : p // 2 * 2, : q // 2 * 2].reshape(n, k, p // 2, 2, q // 2, 2).max(axis=(3, 5), initial=-np.inf)
        for epilogue, wanted in ((Epilogue(relu=True), y), (Epilogue(relu=True, pool=True), pooled)):
            got = _call("forward", lambda epilogue=epilogue: convolve(algorithm, backend, g, x, w, bias, epilogue=epilogue))
            _compare(device, "forward", got, np.maximum(wanted, 0), dtype, allowed, f"with {epilogue}: ")


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
    """``call()``; what it raises is a finding, with its last line (what the emulator finds names its line itself)."""
    try:
        return call()
    except Exception as error:
        if type(error).__module__.startswith("scratchvgg.cuda.emulator"):
            raise _Wrong(which, str(error)) from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise _Wrong(which, f"it raised {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})") from error


def _compare(device, which, got, wanted, dtype, allowed, how=""):
    """Type, shape, and every element within ``allowed``; the first wrong one is named. Returns the numbers on the host."""
    if not isinstance(got, device.xp.ndarray):
        raise _Wrong(which, f"{how}expected an array, got {type(got).__name__}")
    if got.dtype != as_dtype(dtype).numpy:
        raise _Wrong(which, f"{how}expected {dtype}, got {got.dtype}")
    if got.shape != wanted.shape:
        raise _Wrong(which, f"{how}expected shape {wanted.shape}, got {got.shape}")
    got = np.asarray(device.to_numpy(got)).astype(np.float64)
    wrong = ~(np.abs(got - wanted) <= allowed)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        index = ", ".join(f"{axis}={i}" for axis, i in zip(AXES[which], place, strict=True))
        raise _Wrong(
            which, f"{how}{int(wrong.sum())} of {wrong.size} elements are wrong, the first at [{index}]: "
            f"got {float(got[place]):.6g}, expected {wanted[place]:.6g}, allowed ±{allowed:.2g}"
        )  # fmt: skip
    return got
