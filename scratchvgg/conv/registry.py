"""The algorithms by name. To add one: subclass :class:`Algorithm`, decorate it with :func:`register`, import its file."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .geometry import Problem


class Algorithm(ABC):
    """A way to compute a convolution.

    All three passes take the device's backend and the problem first, arrays of the problem's shapes in logical NCHW order with
    any strides, and an optional ``out`` of the result's shape to write into.
    """

    name = ""

    @abstractmethod
    def supports(self, problem: Problem, dtype) -> bool:
        """Whether this algorithm can do ``problem``."""

    @abstractmethod
    def workspace(self, problem: Problem, dtype) -> int:
        """Scratch bytes that one thread holds at most during any pass."""

    @abstractmethod
    def forward(self, backend, problem: Problem, x, w, bias=None, out=None):
        """y[n, k, p, q] = bias[k] + Σ_{c, r, s} x[n, c, p·stride + r·dilation − pad, …] · w[k, c, r, s]."""

    @abstractmethod
    def grad_input(self, backend, problem: Problem, dy, w, out=None):
        """dx[n, c, h, w] = Σ of dy · w over every (k, r, s) whose product touched x[n, c, h, w]."""

    @abstractmethod
    def grad_weight(self, backend, problem: Problem, dy, x, out=None):
        """dw[k, c, r, s] = Σ_{n, p, q} dy[n, k, p, q] · x[n, c, p·stride + r·dilation − pad, …]."""


_ALGORITHMS: dict[str, Algorithm] = {}
DEFAULT = "im2col"


def register(cls):
    """Class decorator: make the algorithm available under its ``name``.

    Raises:
        ValueError: if the name is empty or taken.
    """
    if not cls.name or cls.name in _ALGORITHMS:
        raise ValueError(f"convolution algorithm {cls.__name__}: the name {cls.name!r} is empty or taken")
    _ALGORITHMS[cls.name] = cls()
    return cls


def algorithms() -> dict[str, Algorithm]:
    """All registered algorithms by name."""
    return dict(_ALGORITHMS)


def get(name: str) -> Algorithm:
    """The algorithm called ``name``.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in _ALGORITHMS:
        raise ValueError(f"conv2d: no algorithm {name!r}; there are {', '.join(sorted(_ALGORITHMS))}")
    return _ALGORITHMS[name]


def choose(problem: Problem, dtype, algorithm: str | None = None) -> Algorithm:
    """The algorithm to use: the one asked for, else im2col, which takes every problem.

    Raises:
        ValueError: for an unknown name, or one that does not support the problem.
    """
    chosen = get(algorithm or DEFAULT)
    if not chosen.supports(problem, dtype):
        raise ValueError(f"conv2d: algorithm {chosen.name!r} does not support {problem} in {dtype}")
    return chosen
