"""Initialisers: fill a tensor in place, outside the tape, and return it. Random ones draw from Philox.

Sources: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010
(xavier); K. He et al., "Delving deep into rectifiers", ICCV 2015, arXiv 1502.01852 (kaiming); A. Saxe et al., "Exact solutions
to the nonlinear dynamics of learning in deep linear neural networks", arXiv 1312.6120 (orthogonal).
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings

from ..array.normal_quantile import normal_cdf, normal_quantile
from ..autograd import no_grad

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75,
}
_local = threading.local()


@contextlib.contextmanager
def skip():
    """Inside, initialisers leave tensors as they are: for layers that are filled by hand right after."""
    before, _local.skipping = getattr(_local, "skipping", False), True
    try:
        yield
    finally:
        _local.skipping = before


def _initializer(fill):
    """Run ``fill`` off the tape, or not at all inside :func:`skip`."""

    @functools.wraps(fill)
    def wrapped(tensor, *args, **kwargs):
        if not getattr(_local, "skipping", False):
            with no_grad():
                fill(tensor, *args, **kwargs)
        return tensor

    return wrapped


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights grow to make up for an activation that shrinks the signal: √2 for ReLU.

    Args:
        param: the negative slope for ``"leaky_relu"`` (default 0.01): √(2 / (1 + slope²)).

    Raises:
        ValueError: for an unknown activation, or a slope that is not a number.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: negative slope {param!r} is not a number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"calculate_gain: unsupported nonlinearity {nonlinearity!r}, expected one of {', '.join([*_GAINS, 'leaky_relu'])}")
    return _GAINS[nonlinearity]


def _fans(tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *kernel): inputs of one output element, and outputs of one input element."""
    if tensor.ndim < 2:
        raise ValueError(f"fan in and fan out need a tensor with at least 2 dimensions, got shape {tuple(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _kaiming_std(tensor, a, mode, nonlinearity):
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"mode {mode!r} is not supported, expected 'fan_in' or 'fan_out'")
    fan = _fans(tensor)[mode.lower() == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _is_empty(tensor) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=4)
        return True
    return False


@_initializer
def uniform_(tensor, a: float = 0.0, b: float = 1.0, generator=None):
    """Uniform in [a, b)."""
    tensor.uniform_(a, b, generator=generator)


@_initializer
def normal_(tensor, mean: float = 0.0, std: float = 1.0, generator=None):
    """Normal with ``mean`` and ``std``."""
    tensor.normal_(mean, std, generator=generator)


@_initializer
def constant_(tensor, val: float):
    """``val`` everywhere."""
    tensor.fill_(val)


@_initializer
def ones_(tensor):
    """1 everywhere."""
    tensor.fill_(1.0)


@_initializer
def zeros_(tensor):
    """0 everywhere."""
    tensor.zero_()


@_initializer
def eye_(tensor):
    """The identity matrix in a 2-dimensional tensor; ValueError for another rank."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: only tensors with 2 dimensions are supported, got {tensor.ndim}")
    tensor.zero_()
    n = min(tensor.shape)
    with tensor.backend.quiet():
        tensor.array[list(range(n)), list(range(n))] = 1


@_initializer
def dirac_(tensor, groups: int = 1):
    """Make a convolution pass its first channels through: 1 at the centre of filter i's channel i (in every group), else 0.

    Raises:
        ValueError: unless the tensor has 3, 4 or 5 dimensions and ``groups`` divides the first.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: only tensors with 3, 4 or 5 dimensions are supported, got {tensor.ndim}")
    if tensor.shape[0] % groups:
        raise ValueError(f"dirac_: dim 0 must be divisible by groups, got {tensor.shape[0]} and {groups}")
    tensor.zero_()
    out_each = tensor.shape[0] // groups
    centre = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(out_each, tensor.shape[1])):
            tensor[(group * out_each + channel, channel, *centre)] = 1


@_initializer
def xavier_uniform_(tensor, gain: float = 1.0, generator=None):
    """Uniform in ±gain · √(6 / (fan_in + fan_out)); ValueError for fewer than 2 dimensions."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    tensor.uniform_(-bound, bound, generator=generator)


@_initializer
def xavier_normal_(tensor, gain: float = 1.0, generator=None):
    """Normal with std gain · √(2 / (fan_in + fan_out)); ValueError for fewer than 2 dimensions."""
    tensor.normal_(0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator=generator)


@_initializer
def kaiming_uniform_(tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None):
    """Uniform in ±gain · √(3 / fan).

    Args:
        a: negative slope of the leaky ReLU that follows.
        mode: ``"fan_in"`` keeps the variance of the forward pass, ``"fan_out"`` that of the backward pass.

    Raises:
        ValueError: for another mode or activation, or fewer than 2 dimensions.
    """
    if not _is_empty(tensor):
        bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
        tensor.uniform_(-bound, bound, generator=generator)


@_initializer
def kaiming_normal_(tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None):
    """Normal with std gain / √fan; arguments and errors as :func:`kaiming_uniform_`."""
    if not _is_empty(tensor):
        tensor.normal_(0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


@_initializer
def trunc_normal_(tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator=None):
    """Normal with ``mean`` and ``std``, cut to [a, b]: the normal quantile function of uniform numbers between Φ(a) and Φ(b)."""
    low, high = normal_cdf((a - mean) / std), normal_cdf((b - mean) / std)
    tensor.uniform_(low, high, generator=generator)
    xp = tensor.backend.xp
    with tensor.backend.quiet():
        tensor.array[...] = xp.clip(mean + std * normal_quantile(xp, tensor.array), a, b)


@_initializer
def orthogonal_(tensor, gain: float = 1, generator=None):
    """A random matrix (shape[0], the rest) with orthonormal rows or columns, whichever are fewer, times ``gain``.

    Q of the QR decomposition of a normal matrix, with signs chosen so that R's diagonal is positive (which makes it uniform).

    Raises:
        ValueError: for fewer than 2 dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: only tensors with 2 or more dimensions are supported, got {tensor.ndim}")
    if 0 in tensor.shape:
        return
    tensor.normal_(0.0, 1.0, generator=generator)
    xp = tensor.backend.xp
    with tensor.backend.quiet():
        flat = tensor.array.reshape(tensor.shape[0], -1)
        wide = flat.shape[0] < flat.shape[1]
        q, r = xp.linalg.qr((flat.T if wide else flat).astype("float64" if flat.dtype == "float64" else "float32"))
        q *= gain * xp.where(xp.diagonal(r) < 0, -1, 1).astype(q.dtype)
        tensor.array[...] = (q.T if wide else q).reshape(tensor.shape)
