"""The algorithms by name. To add one: subclass :class:`Algorithm`, decorate it with :func:`register`, import its file."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .epilogue import PLAIN, Epilogue
from .geometry import Problem

PASSES = ("forward", "grad_input", "grad_weight")


class Algorithm(ABC):
    """A way to compute a convolution.

    All three passes take the device's backend and the problem first, arrays of the problem's shapes in logical NCHW order with
    any strides, and an optional ``out`` of the result's shape to write into.

    Attributes:
        name: what ``algorithm=`` asks for.
        layout: the memory order that costs no copy; results come in it.
        fuses: ``forward`` takes ``epilogue=`` (scale, ReLU, pool) and does it on the tile.
        prepares: :meth:`prepare` returns something, and ``forward`` takes it as ``prepared=``.
        kernels: it launches CUDA kernels (see ``conv/device/``), on a GPU or the emulator; else it computes on the CPU's arrays. The two kinds
            have names of their own: "im2col" is there twice.
        permitted: whether it may be chosen by itself, if the user has a switch for that; None: its error decides (see ``candidates.py``).
    """

    name = ""
    layout = "channels_last"
    fuses = False
    prepares = False
    kernels = False
    permitted: bool | None = None

    @abstractmethod
    def supports(self, problem: Problem, dtype) -> bool:
        """Whether this algorithm can do ``problem``, all three passes."""

    @abstractmethod
    def workspace(self, problem: Problem, dtype, which: str = "forward") -> int:
        """Scratch bytes that one thread holds at most during the pass."""

    def operations(self, problem: Problem, which: str = "forward") -> int:
        """Multiplications and additions that the pass executes; those of the direct sum unless an algorithm says otherwise."""
        return 2 * problem.macs

    def cost(self, problem: Problem, dtype, which: str = "forward") -> float:
        """Predicted nanoseconds of one core (see ``cost.py``); what the chooser compares. Infinite: never chosen by itself."""
        return float("inf")

    @abstractmethod
    def error_bound(self, problem: Problem, dtype, which: str = "forward") -> float:
        """A bound on max |error| / max S, where S is the same sum over absolute values, as Σ |x|·|w| (see ``errors.py``)."""

    def prepare(self, backend, problem: Problem, w):
        """What ``forward`` derives from the filter alone, worth keeping while the weight does not change; None: nothing."""
        return None

    def prepare_cost(self, problem: Problem, dtype) -> float:
        """The part of ``cost(problem, dtype, "forward")`` that :meth:`prepare` saves."""
        return 0.0

    def filter_key(self, problem: Problem):
        """What of ``problem`` decides what :meth:`prepare` returns, besides the filter's shape; by default all of it."""
        return problem

    @abstractmethod
    def forward(self, backend, problem: Problem, x, w, bias=None, out=None):
        """y[n, k, p, q] = bias[k] + Σ_{c, r, s} x[n, c, p·stride + r·dilation − pad, …] · w[k, c, r, s]."""

    @abstractmethod
    def grad_input(self, backend, problem: Problem, dy, w, out=None):
        """dx[n, c, h, w] = Σ of dy · w over every (k, r, s) whose product touched x[n, c, h, w]."""

    @abstractmethod
    def grad_weight(self, backend, problem: Problem, dy, x, out=None):
        """dw[k, c, r, s] = Σ_{n, p, q} dy[n, k, p, q] · x[n, c, p·stride + r·dilation − pad, …]."""


_ALGORITHMS: dict[bool, dict[str, Algorithm]] = {False: {}, True: {}}  # by Algorithm.kernels, then by name


def register(cls):
    """Class decorator: make the algorithm available under its ``name``.

    Raises:
        ValueError: if the name is empty or taken.
    """
    if not cls.name or cls.name in _ALGORITHMS[cls.kernels]:
        raise ValueError(f"convolution algorithm {cls.__name__}: the name {cls.name!r} is empty or taken")
    _ALGORITHMS[cls.kernels][cls.name] = cls()
    return cls


def forget(names) -> None:
    """Take algorithms out of the registry; unknown names are passed over."""
    for name in names:
        for known in _ALGORITHMS.values():
            known.pop(name, None)


def snapshot() -> dict[bool, dict[str, Algorithm]]:
    """The whole registry, to :func:`restore` it."""
    return {kernels: algorithms(kernels) for kernels in _ALGORITHMS}


def restore(held: dict[bool, dict[str, Algorithm]]) -> None:
    """Make the registry what :func:`snapshot` returned before."""
    _ALGORITHMS.update({kernels: dict(known) for kernels, known in held.items()})


def algorithms(kernels: bool = False) -> dict[str, Algorithm]:
    """All registered algorithms by name: those of the CPU, or those of devices that run CUDA kernels."""
    return dict(_known(kernels))


def _known(kernels):
    if kernels:
        from . import device  # noqa: F401 - registers them, when somebody asks first
    return _ALGORITHMS[kernels]


def get(name: str, kernels: bool = False) -> Algorithm:
    """The algorithm called ``name``, on the CPU or on devices that run CUDA kernels.

    Raises:
        ValueError: for an unknown name.
    """
    known = _known(kernels)
    if name not in known:
        raise ValueError(f"conv2d: no algorithm {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def convolve(algorithm: Algorithm, backend, problem: Problem, x, w, bias=None, out=None, epilogue: Epilogue = PLAIN, prepared=None):
    """``algorithm.forward`` and what follows it, fused if the algorithm can.

    Args:
        out: of shape ``epilogue.shape(problem)``, or None.
        prepared: what ``algorithm.prepare`` returned for this ``w``, or None.
    """
    options = {"prepared": prepared} if algorithm.prepares and prepared is not None else {}
    if epilogue.trivial:
        return algorithm.forward(backend, problem, x, w, bias, out, **options)
    if algorithm.fuses:
        return algorithm.forward(backend, problem, x, w, bias, out, epilogue=epilogue, **options)
    y = algorithm.forward(backend, problem, x, w, None if epilogue.scale is not None else bias, None if epilogue.pool else out, **options)
    if epilogue.scale is not None:
        y *= epilogue.scale[:, None, None]
        if bias is not None:
            y += bias[:, None, None]
    return epilogue.apply(backend, y, out)
