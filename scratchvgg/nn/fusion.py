"""Runs of layers done as one operation: what :class:`Sequential` looks up before it calls its modules one by one.

    Conv2d – ReLU                               conv2d_relu
    Conv2d – ReLU – MaxPool2d(2)                conv2d_relu with the pool
    Conv2d – BatchNorm2d – ReLU (– MaxPool2d)   the same with a factor per channel, in evaluation and without recording
    BatchNorm2d – ReLU (– MaxPool2d)            batch_norm_relu
    Linear – ReLU (– Dropout)                   linear_relu, on devices that run CUDA kernels

Values and gradients are those of the layers alone (up to rounding where a batch norm takes part): rounding to 16 bits is monotone, so
it commutes with ReLU and maximum, and pools compare rounded numbers. A run stays unfused where somebody
looks at its inside: a module with hooks or a ``forward`` of its own, a subclass, anomaly mode. Interceptors see one operation
under the names above; switch fusion off to see the layers: ``with fusion(False)``, or ``SCRATCHVGG_FUSE=0`` in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from contextvars import ContextVar

from ..autograd import Tensor, is_anomaly_enabled, is_grad_enabled, unifies
from ..ops.batch_norm_act import batch_norm_relu
from ..ops.conv2d_act import conv2d_norm_relu, conv2d_relu
from ..ops.device.linear import linear_relu
from .activation import ReLU
from .conv import Conv2d
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import BatchNorm2d
from .pooling import MaxPool2d

_switch: ContextVar[bool | None] = ContextVar("fusion", default=None)
_PATTERNS: dict[tuple[type[Module], ...], Callable] = {}


@contextmanager
def fusion(mode: bool):
    """Fuse (True) or call every layer by itself (False) in this ``with`` block or decorated function, whatever the environment says."""
    before = _switch.set(bool(mode))
    try:
        yield
    finally:
        _switch.reset(before)


def is_fusion_enabled() -> bool:
    """Whether :class:`Sequential` fuses now."""
    mode = _switch.get()
    return os.environ.get("SCRATCHVGG_FUSE", "1") != "0" if mode is None else mode


def pattern(*types: type[Module]):
    """Decorator: ``rule(input, *modules)`` does modules of exactly these types at once, or returns None to decline."""

    def enter(rule):
        _PATTERNS[types] = rule
        return rule

    return enter


def run(modules: Iterable[Module], input):
    """Call the modules in turn, the longest fusable runs at once."""
    modules = list(modules)
    fuse = is_fusion_enabled() and not is_anomaly_enabled()
    place = 0
    while place < len(modules):
        result, length = _fused(modules[place : place + _longest()], input) if fuse else (None, 0)
        if result is None:
            result, length = modules[place](input), 1
        input, place = result, place + length
    return input


def _longest():
    return max(map(len, _PATTERNS))


def _fused(modules, input):
    """(result, how many modules it took) of the longest run that a rule does, or (None, 0)."""
    dimensions = 2 if type(modules[0]) is Linear else 4
    if not (isinstance(input, Tensor) and input.ndim == dimensions and input.dtype.is_floating_point):
        return None, 0
    for length in range(len(modules), 1, -1):
        rule = _PATTERNS.get(tuple(map(type, modules[:length])))
        if rule is not None and not any(map(_watched, modules[:length])):
            result = rule(input, *modules[:length])
            if result is not None:
                return result, length
    return None, 0


def _watched(module):
    """Somebody wants to be called for this module alone."""
    hooks = module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks
    return any(hooks) or "forward" in module.__dict__


def _halves(pool):
    """2×2 windows side by side."""
    sizes = pool.kernel_size, pool.stride, pool.padding, pool.dilation
    pairs = tuple(tuple(s) if isinstance(s, (tuple, list)) else (s, s) for s in sizes)
    return pairs == ((2, 2), (2, 2), (0, 0), (1, 1)) and not pool.ceil_mode and not pool.return_indices


@pattern(Conv2d, ReLU)
@pattern(Conv2d, ReLU, MaxPool2d)
def _conv_relu(input, conv, relu, pool=None):
    if conv.padding_mode != "zeros" or (pool is not None and not _halves(pool)):
        return None
    return conv2d_relu(input, *_arguments(conv), pool is not None, algorithm=conv.algorithm)


@pattern(Conv2d, BatchNorm2d, ReLU)
@pattern(Conv2d, BatchNorm2d, ReLU, MaxPool2d)
def _conv_norm_relu(input, conv, norm, relu, pool=None):
    """In evaluation the batch norm is one factor and one summand per channel."""
    if conv.padding_mode != "zeros" or (pool is not None and not _halves(pool)):
        return None
    tensors = [t for t in (input, conv.weight, conv.bias, norm.weight, norm.bias) if t is not None]
    evaluates = not norm.training and norm.running_mean is not None
    records = is_grad_enabled() and any(t.requires_grad for t in tensors)
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    plain = all(v.dtype is conv.weight.dtype for v in vectors if v is not None)
    if not evaluates or records or not plain or norm.num_features != conv.out_channels:
        return None
    statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps
    return conv2d_norm_relu((input, *_arguments(conv)), statistics, pool is not None, conv.algorithm)


@pattern(BatchNorm2d, ReLU)
@pattern(BatchNorm2d, ReLU, MaxPool2d)
def _norm_relu(input, norm, relu, pool=None):
    if pool is not None and not _halves(pool):
        return None
    return batch_norm_relu(*norm.arguments(input), pool=pool is not None)


@pattern(Linear, ReLU)
@pattern(Linear, ReLU, Dropout)
def _linear_relu(input, linear, relu, dropout=None):
    tensors = [t for t in (linear.weight, linear.bias) if t is not None]
    typed = all(t.dtype is input.dtype for t in tensors) or unifies("linear_relu", input, *tensors)
    plain = typed and all(t.backend is input.backend for t in tensors)
    if not (input.backend.runs_kernels and plain and input.shape[1] == linear.in_features) or (dropout is not None and dropout.inplace):
        return None
    return linear_relu(input, linear.weight, linear.bias, dropout.p if dropout is not None and dropout.training else 0.0)


def _arguments(conv):
    return conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
