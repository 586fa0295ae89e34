"""The one harness: a test states inputs, a function and (as a rule) nothing else; the harness multiplies.

::

    Case("max_pool2d", "overlapping", (distinct(2, 3, 7, 7),), lambda F, x: F.max_pool2d(x, 3, 2))

The same function is called with scratchvgg as ``F`` and with torch as ``F``. :func:`run` draws the inputs, lays them out in memory
in one of several ways, runs forward and backward on one device in one dtype, and checks against torch

- values, dtypes and shapes of all results, and the gradient of every floating input;
- float64 to 1e-10; float32 and float16 by RMS error against the float64 truth: at most twice torch's own (``closeness.py``), for a convolution
  algorithm that declares a larger error bound than plain sums of products so many times more;
- that inputs and incoming gradients hold the same bits afterwards, and that no two gradients share memory.

:func:`parametrize` spreads cases over device × dtype × memory layout × algorithm as pytest parameters. :func:`check_differences`
compares backward with finite differences, without torch. Inputs are drawn as float32 values, so that one float64 truth
serves float64 and float32 alike.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import scratchvgg
import scratchvgg.cuda
import scratchvgg.ops.device  # fills the table, and says which operations have kernels
from scratchvgg import conv
from scratchvgg.array import Device, get_backend
from scratchvgg.autograd import Tensor, gradcheck, intercept, ops

from .closeness import (
    Accuracy,
    assert_as_good,
    assert_close64,
    assert_same,
    assert_same_kind,
    assert_same_nonfinite,
    is_floating,
    rms_error,
)
from .faces import Face, torch_face
from .inputs import Input, array, booleans, distinct, integers, normal, off_zero, tied, uniform
from .layouts import LAYOUTS

__all__ = [
    "ALGORITHMS", "Accuracy", "Case", "DEVICES", "Face", "Input", "LAYOUTS", "Outcome", "PLAIN", "Variant", "array", "assert_as_good",
    "assert_close64", "assert_same", "booleans", "check_differences", "compare", "distinct", "integers", "normal", "off_zero", "our_face",
    "parametrize", "parametrize_cases", "rms_error", "run", "run_forward", "run_ours", "run_torch", "tied", "torch_face", "uniform",
]

DEVICES = ["cpu", "emulator", *["cuda"] * scratchvgg.cuda.is_available()]
"""Where cases run. An operation without a CUDA kernel runs on other devices than the CPU once: there it is the same array code."""

ALGORITHMS: dict[str, Callable[[bool], Mapping[str, conv.Algorithm]]] = {"conv2d": conv.algorithms, "conv_transpose2d": conv.algorithms}
"""Operations that take ``algorithm=``, and where the names come from: a new algorithm is tested by being registered."""


# ---- cases and variants --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One comparison with torch.

    Args:
        operation: the public name that the case is about (``test_cases.py`` checks that it really ran).
        title: what is particular about it.
        inputs: one :class:`Input` per argument of ``function`` after ``F``.
        function: ``function(F, *tensors)``; ``F`` has every public name of the library under test. Returns a Tensor, a plain value, or a
            (nested) sequence of them.
        half: run in float16 too.
        differences: backward is worth comparing with finite differences (no kinks, few elements).
        layouts: names of :data:`LAYOUTS` to use.
        moments: the result is random: compare shape, dtype, mean and standard deviation instead of values.
    """

    operation: str
    title: str
    inputs: tuple[Input, ...]
    function: Callable
    half: bool = False
    differences: bool = True
    layouts: tuple[str, ...] = ("contiguous", "channels_last", "strided", "reversed")
    moments: bool = False

    @property
    def name(self) -> str:
        """``operation: title``."""
        return f"{self.operation}: {self.title}" if self.title else self.operation

    @property
    def arguments(self) -> list[str]:
        """The names that the function gives its inputs."""
        names = list(inspect.signature(self.function).parameters)[1:]
        return names if len(names) == len(self.inputs) else [f"argument {i}" for i in range(len(self.inputs))]

    def rng(self, seed: int = 0) -> np.random.Generator:
        """Random numbers that depend on the case's name alone, so that adding a case changes no other."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), seed])

    def draw(self, seed: int = 0) -> list[np.ndarray]:
        """The inputs: float32 values held in float64; integers and booleans as they are."""
        rng = self.rng(seed)
        return [a.astype(np.float32).astype(np.float64) if a.dtype.kind == "f" else a for a in (i.draw(rng) for i in self.inputs)]

    def variants(self) -> list[Variant]:
        """Every way to run the case here."""
        widest = max((a.ndim for a in self.draw()), default=0)
        layouts = [name for name in self.layouts if widest >= LAYOUTS[name].dimensions] or ["contiguous"]
        dtypes = ["float64", "float32"] + ["float16"] * self.half
        found = []
        for device in DEVICES:
            if device == "cpu" or self.has_kernel:
                pairs = itertools.product(dtypes, layouts)
                found += [Variant(device, d, layout, a) for d, layout in pairs for a in self.algorithms(device, d)]
            else:
                found.append(Variant(device, "float32", layouts[0]))
        return found

    @functools.cached_property
    def has_kernel(self) -> bool:
        """Whether an operation that the case runs has a twin of CUDA kernels, or is a convolution."""
        ran = []

        def look(op, args, options, proceed):
            ran.append(op)
            return proceed(args, options)

        with intercept(look), suppress(Exception):
            run_forward(self)
        return self.operation in ALGORITHMS or any(op.twin is not None for op in ran)

    def algorithms(self, device: str = "cpu", dtype: str = "float64") -> list[str | None]:
        """The algorithms that support what the case asks for, or ``[None]``."""
        if self.operation not in ALGORITHMS:
            return [None]
        known = ALGORITHMS[self.operation](device != "cpu")
        return [n for n in sorted(known) if all(known[n].supports(problem, dtype) for problem in self.problems)]

    @functools.cached_property
    def problems(self) -> list[conv.Problem]:
        """The convolutions that the case does."""
        with watch_algorithms() as asked, suppress(Exception):  # what fails here fails in the tests themselves, with its traceback
            run_forward(self)
        return [problem for problem, *_ in asked]

    def looseness(self, variant: Variant) -> float:
        """How many times im2col's error bound the bound of the algorithm is, at most; 1 where there is nothing to choose."""
        if variant.algorithm is None:
            return 1.0
        chosen = conv.get(variant.algorithm, variant.device != "cpu"), conv.Im2col()
        ways = [(a.error_bound(g, variant.dtype, which) for a in chosen) for g in self.problems for which in conv.PASSES]
        return max([1.0, *(own / plain for own, plain in ways)])

    def allowance(self, variant: Variant) -> float:
        """Four declared bounds for an algorithm that must be permitted, as TF32: what it loses by rounding its factors has nothing to do with how
        lucky torch's sums are. (A bound is relative to Σ |a|·|b|, the measured error to the sum itself, which cancels to a part of that; that the
        factors are rounded and not cut is checked to the bit in tests/cuda/faces/.) 0 for all others."""
        algorithm = None if variant.algorithm is None else conv.get(variant.algorithm, variant.device != "cpu")
        if algorithm is None or algorithm.permitted is None:
            return 0.0
        return 4 * max(algorithm.error_bound(g, variant.dtype, which) for g in self.problems for which in conv.PASSES)


class Variant(NamedTuple):
    """One way to run a case. ``algorithm`` is None where there is nothing to choose."""

    device: str = "cpu"
    dtype: str = "float64"
    layout: str = "contiguous"
    algorithm: str | None = None

    def __str__(self):
        return "-".join(part for part in self if part)


PLAIN = Variant()


def parametrize(cases: Sequence[Case]):
    """``@parametrize(CASES) def test(case, variant): run(case, variant)``: one pytest test per case and variant.

    Raises:
        ValueError: if two cases have the same name.
    """
    import pytest

    _check_names(cases)
    pairs = [(case, variant) for case in cases for variant in case.variants()]
    marks = {"cuda": pytest.mark.gpu}
    params = [pytest.param(c, v, id=f"{c.name}-{v}", marks=[marks[v.device]] if v.device in marks else []) for c, v in pairs]
    return pytest.mark.parametrize(("case", "variant"), params)


def parametrize_cases(cases: Sequence[Case]):
    """``@parametrize_cases(CASES) def test(case)``: one pytest test per case."""
    import pytest

    _check_names(cases)
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in cases])


def _check_names(cases):
    names = [c.name for c in cases]
    if twice := {n for n in names if names.count(n) > 1}:
        raise ValueError(f"two cases with one name: {', '.join(sorted(twice))}")


# ---- the two libraries under one face -----------------------------------------------------------------------------------


def our_face(case: Case | None = None, algorithm: str | None = None) -> Face:
    """scratchvgg: the table of operations first; the case's operation bound to ``algorithm`` if one is given."""
    if algorithm is None:
        return Face(ops, scratchvgg)
    return Face(SimpleNamespace(**{case.operation: functools.partial(getattr(ops, case.operation), algorithm=algorithm)}), ops, scratchvgg)


# ---- running -------------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a run gave: the results in order, and the gradient of each differentiable argument (None: no path to it).

    Tensors are NumPy arrays here, plain values stay as they are.
    """

    results: list
    gradients: dict[str, np.ndarray | None] = field(default_factory=dict)

    def named(self) -> dict[str, object]:
        """Results and gradients under the names used in messages and in stored references."""
        named = {"result" if len(self.results) == 1 else f"result {i}": r for i, r in enumerate(self.results)}
        return named | {f"gradient of {n}": g for n, g in self.gradients.items()}


def flat(results) -> list:
    """Nested tuples and lists of tensors as one list; a list of plain numbers (``tolist``, a shape) is one plain value."""
    if not isinstance(results, (tuple, list)):
        return [results]
    if not any(hasattr(r, "requires_grad") or isinstance(r, (tuple, list)) for r in results):
        return [list(results)]
    return [leaf for r in results for leaf in flat(r)]


def cotangents(case: Case, results: list, seed: int = 0) -> list[np.ndarray]:
    """The incoming gradient of each result that has a history: uniform in [−1, 1) with 24 bits, exact in float32.

    From the raw words of PCG64, which NumPy promises never to change: stored references rely on them.
    """
    words = np.random.PCG64([zlib.crc32(case.name.encode()), seed, 1])
    shapes = [tuple(r.shape) for r in results if getattr(r, "requires_grad", False)]
    return [((words.random_raw(math.prod(s)) >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(s) for s in shapes]


def run_ours(case: Case, variant: Variant = PLAIN, arrays: list | None = None, seed: int = 0) -> Outcome:
    """Run the case on scratchvgg; checks what needs no reference: nothing is overwritten, no gradients share memory."""
    backend = get_backend(Device(variant.device))
    arrange = LAYOUTS[variant.layout].arrange

    def lay(values, dtype=variant.dtype):
        with backend.quiet():
            return arrange(backend.xp, backend.asarray(values, dtype if values.dtype.kind == "f" else None))

    inputs = [lay(a) for a in (case.draw(seed) if arrays is None else arrays)]
    tensors = _leaves(case, backend, inputs)
    before = [_bits(a) for a in inputs]
    with watch_algorithms() as asked:
        results = flat(case.function(our_face(case, variant.algorithm), *tensors))
    assert variant.algorithm is None or {a for *_, a in asked} == {variant.algorithm}, f"{case.name}: these algorithms ran: {asked}"
    recorded = [r for r in results if getattr(r, "requires_grad", False)]
    incoming = [lay(c, r.dtype) for c, r in zip(cotangents(case, results, seed), recorded, strict=True)]
    kept = [_bits(g) for g in incoming]
    if recorded:
        ops.backward(recorded, [Tensor.wrap(backend, g) for g in incoming])
    for name, array_, bits in zip([*case.arguments, *["the incoming gradient"] * len(kept)], inputs + incoming, before + kept, strict=True):
        assert _bits(array_) == bits, f"{case.name}: {name} was written to"
    gradients = {n: t.grad for n, t in zip(case.arguments, tensors, strict=True) if t.requires_grad}
    _check_separate(case, backend.xp, gradients, inputs + incoming)
    return Outcome(
        [backend.to_numpy(r.array) if isinstance(r, Tensor) else r for r in results],
        {n: None if g is None else backend.to_numpy(g.array) for n, g in gradients.items()},
    )


def run_forward(case: Case):
    """The case's function on scratchvgg, once, in float64 on the CPU, without comparison."""
    return case.function(our_face(), *_leaves(case, get_backend(Device("cpu")), case.draw()))


def _leaves(case, backend, arrays):
    tensors = [Tensor.wrap(backend, a) for a in arrays]
    for tensor, spec in zip(tensors, case.inputs, strict=True):
        tensor.requires_grad = spec.grad and tensor.dtype.is_floating_point
    return tensors


@contextmanager
def watch_algorithms():
    """Yield a list that fills with (problem, dtype, algorithm name) of every pass of a convolution that runs."""
    asked = []

    def look(problem, dtype, which, chosen):
        asked.append((problem, dtype, chosen.name))
        return chosen

    with conv.intercept_choices(look):
        yield asked


def _bits(a) -> bytes:
    """The memory that ``a`` lives in, gaps and all."""
    while a.base is not None and hasattr(a.base, "tobytes"):
        a = a.base
    return a.tobytes()


def _check_separate(case, xp, gradients, others):
    held = [(f"the gradient of {n}", g.array) for n, g in gradients.items() if g is not None]
    for i, (name, a) in enumerate(held):
        for other, b in held[i + 1 :] + [("an input or incoming gradient", b) for b in others]:
            assert not xp.may_share_memory(a, b), f"{case.name}: {name} shares memory with {other}"


@functools.lru_cache(4096)
def run_torch(case: Case, dtype: str = "float64", rounded_to: str = "float64", seed: int = 0) -> Outcome:
    """Run the case on torch, on inputs first rounded to ``rounded_to``: the truth is ``run_torch(case, "float64", dtype)``."""
    import torch

    arrays = [a.astype(rounded_to).astype(dtype) if a.dtype.kind == "f" else a for a in case.draw(seed)]
    tensors = [torch.from_numpy(a).requires_grad_(i.grad and a.dtype.kind == "f") for i, a in zip(case.inputs, arrays, strict=True)]
    results = flat(case.function(torch_face(), *tensors))
    recorded = [r for r in results if getattr(r, "requires_grad", False)]
    incoming = [c.astype(rounded_to) for c in cotangents(case, results, seed)]
    if recorded:
        torch.autograd.backward(recorded, [torch.from_numpy(c).to(r.dtype) for c, r in zip(incoming, recorded, strict=True)])
    return Outcome(
        [r.detach().numpy() if isinstance(r, torch.Tensor) else r for r in results],
        {n: None if t.grad is None else t.grad.numpy() for n, t in zip(case.arguments, tensors, strict=True) if t.requires_grad},
    )


def run(case: Case, variant: Variant = PLAIN, seeds: int = 5) -> None:
    """Run the case both ways in one variant and compare everything.

    Where the first draw is less accurate than allowed, the median over ``seeds`` draws decides: a sum of few numbers may come out
    exact in torch by luck.

    Raises:
        AssertionError: naming the result or gradient that differs, and how.
    """
    if case.moments:
        compare_moments(case, variant)
        return
    if late := [name for name, a in _one_draw(case, variant, 0).items() if not a.good]:
        draws = [_one_draw(case, variant, seed) for seed in range(seeds)]
        for name in late:
            middle = sorted((d[name] for d in draws), key=lambda a: a.error / a.limit)[seeds // 2]
            assert middle.good, f"{name}: {middle} (median of {seeds} draws)"


def _one_draw(case, variant, seed) -> dict[str, Accuracy]:
    peer, truth = (run_torch(case, dtype, variant.dtype, seed) for dtype in (variant.dtype, "float64"))
    errors = {name: rms_error(peer.named()[name], value) for name, value in truth.named().items() if is_floating(value)}
    accuracy = compare(run_ours(case, variant, None, seed), peer, truth, errors)
    looseness = case.looseness(variant)
    return {name: a._replace(limit=max(a.limit * looseness, case.allowance(variant))) for name, a in accuracy.items()}


def compare(ours: Outcome, peer: Outcome, truth: Outcome, errors: dict[str, float]) -> dict[str, Accuracy]:
    """Compare one run with torch's.

    Args:
        peer: torch in the same dtype: its dtypes, shapes, integers, plain values and float64 results must be ours.
        truth: torch in float64.
        errors: the RMS error of ``peer`` against ``truth`` by name.

    Returns:
        For each result and gradient below float64 how accurate it is; the caller decides.

    Raises:
        AssertionError: for any other difference.
    """
    assert list(ours.named()) == list(peer.named()), f"got {list(ours.named())}, expected {list(peer.named())}"
    accuracy = {}
    for (name, value), theirs, true in zip(ours.named().items(), peer.named().values(), truth.named().values(), strict=True):
        if not is_floating(theirs):
            assert_same(name, value, theirs)
            continue
        assert_same_kind(name, value, theirs)
        if theirs.dtype == np.float64:
            assert_close64(name, value, theirs)
        else:
            assert_same_nonfinite(name, value, theirs)
            accuracy[name] = Accuracy.of(value, true, errors[name])
    return accuracy


def compare_moments(case: Case, variant: Variant) -> None:
    """Random results: shape and dtype equal torch's, mean and standard deviation within six standard errors of them."""
    ours, theirs = run_ours(case, variant), run_torch(case, variant.dtype, variant.dtype)
    for (name, a), b in zip(ours.named().items(), theirs.named().values(), strict=True):
        if b is None:
            assert a is None, f"{name}: expected none"
            continue
        assert a.dtype == b.dtype and a.shape == b.shape, f"{name}: got {a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
        a, b = a.astype(np.float64), b.astype(np.float64)
        spread = 6 * max(a.std(), b.std()) * np.sqrt(2 / a.size)
        assert abs(a.mean() - b.mean()) <= spread, f"{name}: mean {a.mean():.6g}, torch {b.mean():.6g}, tolerance {spread:.2g}"
        assert abs(a.std() - b.std()) <= spread, f"{name}: standard deviation {a.std():.6g}, torch {b.std():.6g}, tolerance {spread:.2g}"


def check_differences(case: Case, device: str = "cpu") -> None:
    """Compare backward with central differences in float64 (see :func:`scratchvgg.autograd.gradcheck`); needs no torch."""
    backend = get_backend(Device(device))
    tensors = _leaves(case, backend, [backend.asarray(a) for a in case.draw()])
    recorded = [i for i, r in enumerate(flat(case.function(our_face(), *tensors))) if getattr(r, "requires_grad", False)]
    assert recorded, f"{case.name}: no result has a history"

    def results(*inputs):
        everything = flat(case.function(our_face(), *inputs))
        return tuple(everything[i] for i in recorded)

    assert gradcheck(results, tensors)
