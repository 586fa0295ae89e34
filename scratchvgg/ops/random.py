"""Filling a tensor with random numbers. Draws come from a Philox stream in logical order, whatever the memory order is."""

from __future__ import annotations

import math

from ..array import default_generator
from ..array.dtypes import float32
from ..autograd import Op, Tensor, ops
from . import draws
from .common import check_same_device, check_tensor


class Overwrite(Op):
    """``write(array)`` puts something new into x; what was there no longer matters, so the gradient is 0."""

    name = "overwrite"

    @staticmethod
    def forward(ctx, x, *, write):
        write(x)
        ctx.writes = True
        return x

    @staticmethod
    def backward(ctx, g):
        return ctx.xp.zeros_like(g)


def overwrite(name: str, input, write):
    """Run ``write(array)`` on a tensor's memory as an in-place operation called ``name``."""
    check_tensor(name, "input", input)
    input.check_writable(name)
    return input.adopt(Overwrite.apply(input, write=write))


def _floating(name, input):
    check_tensor(name, "input", input)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name}: needs a floating point tensor, got {input.dtype}")


@ops.register
def normal_(input, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers: mean + std · z.

    Raises:
        RuntimeError: for negative ``std`` or an integer tensor.
    """
    _floating("normal_", input)
    if std < 0:
        raise RuntimeError(f"normal_: std must not be negative, got {std}")
    return overwrite("normal_", input, lambda x: draws.fill_normal(input.backend, generator or default_generator, x, float(mean), float(std)))


@ops.register
def uniform_(input, low=0.0, high=1.0, *, generator=None):
    """Fill with numbers uniform in [low, high).

    Raises:
        RuntimeError: if low > high, or for an integer tensor.
    """
    _floating("uniform_", input)
    if low > high:
        raise RuntimeError(f"uniform_: low must not be above high, got [{low}, {high})")
    return overwrite("uniform_", input, lambda x: draws.fill_uniform(input.backend, generator or default_generator, x, float(low), float(high)))


@ops.register
def random_(input, low=0, high=None, *, generator=None):
    """Fill with integers in [low, high); ``random_(high)`` starts at 0; without bounds every integer the type holds exactly.

    Raises:
        RuntimeError: unless low < high.
    """
    check_tensor("random_", "input", input)
    if high is None:
        low, high = (0, _largest(input.dtype) + 1) if low == 0 else (0, low)
    if low >= high:
        raise RuntimeError(f"random_: low must be below high, got low={low}, high={high}")

    def write(x):
        x[...] = draws.integers(input.backend, generator or default_generator, int(low), int(high), x.shape)

    return overwrite("random_", input, write)


def _largest(dtype) -> int:
    """The largest integer up to which all are representable (floating), or the type's largest."""
    if dtype.is_floating_point:
        return 1 << {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[dtype.name]
    if dtype.name == "bool":
        return 1
    return (1 << (8 * dtype.itemsize - (1 if dtype.is_signed else 0))) - 1


@ops.register
def bernoulli(input, *, generator=None):
    """1 with the probability that each element of ``input`` gives, else 0, in the same dtype; the gradient is 0.

    Raises:
        RuntimeError: for an element outside [0, 1], or an integer tensor.
    """
    _floating("bernoulli", input)
    return bernoulli_(ops.clone(input), input, generator=generator)


@ops.register
def bernoulli_(input, p=0.5, *, generator=None):
    """Fill with 1 (probability ``p``, a number or a tensor that broadcasts) and 0.

    Raises:
        RuntimeError: for p outside [0, 1].
    """
    check_tensor("bernoulli_", "input", input)
    chance = p.detach().array if isinstance(p, Tensor) else p
    if not isinstance(p, Tensor) and not (0 <= p <= 1 and math.isfinite(p)):
        raise RuntimeError(f"bernoulli_: p must be in [0, 1], got {p}")
    if isinstance(p, Tensor):
        check_same_device("bernoulli_", input, p)
    if isinstance(p, Tensor) and not bool(((p.detach() >= 0) & (p.detach() <= 1)).all()):
        raise RuntimeError("bernoulli_: every p must be in [0, 1]")

    def write(x):
        x[...] = draws.uniform(input.backend, generator or default_generator, x.shape, float32) < chance

    return overwrite("bernoulli_", input, write)
