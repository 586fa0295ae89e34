"""Autocast: inside ``with autocast("cuda", dtype=bfloat16)`` every operation runs in the element type that suits it.

    LOWER     conv2d, linear, matmul: many products, summed in float32 anyway         operands as bfloat16 / float16
    FLOAT32   losses, softmax, sums, exp, log, powers: few operations, wide range     operands as float32
    WIDEST    operations that want operands of one type                               operands as the widest of them
    (none)    relu, pooling, dropout, batch_norm, +, ×                                operands as they come, mixed by the usual promotion

The lists are torch's (``ATen/autocast_mode``), one for GPUs (and the emulator, which stands for one), a shorter one for the CPU. A cast is
an operation on the tape: float32 weights receive float32 gradients. The cast of a leaf that requires a gradient is kept and used again
until the leaf is written to, its graph is freed, or the outermost region ends. Micikevicius et al., "Mixed Precision Training", 2018.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ContextDecorator

from ..array.dtypes import as_dtype, bfloat16, float16, float32
from .function import Function, intercept
from .grad_mode import state as grad_state
from .table import ops
from .tensor import Tensor


def lower(operands, dtype):
    """Every operand in the region's 16-bit type."""
    return [_cast(o, dtype) for o in operands]


def full(operands, dtype):
    """Every operand in float32."""
    return [_cast(o, float32) for o in operands]


def widest(operands, dtype):
    """Every operand in float32 if one of them is, else in the 16-bit type."""
    return full(operands, dtype) if any(_floating(o) and o.dtype is float32 for o in operands) else lower(operands, dtype)


LOWER, FLOAT32, WIDEST = lower, full, widest
_EVERYWHERE = {
    LOWER: "conv2d conv2d_relu conv_transpose2d linear linear_relu matmul",
    FLOAT32: "cross_entropy l1_loss local_response_norm mse_loss nll_loss Prod",
}
_ON_GPUS = {
    FLOAT32: "Exp Log Pow Reciprocal Rsqrt Square Sum cumsum interpolate log_softmax logsumexp norm softmax softplus",
    WIDEST: "cat dot",
}
_ON_CPUS = {FLOAT32: "max_unpool2d", WIDEST: "cat"}


def _table(*groups) -> dict[str, Callable]:
    return {name: policy for group in groups for policy, names in group.items() for name in names.split()}


POLICIES: dict[str, dict[str, Callable]] = {
    "cpu": _table(_EVERYWHERE, _ON_CPUS), "cuda": _table(_EVERYWHERE, _ON_GPUS), "emulator": _table(_EVERYWHERE, _ON_GPUS),
}  # fmt: skip
"""Device type → operation (``Op.name``) → policy."""


def set_policy(operation: str, policy: Callable | None, device_types=tuple(POLICIES)) -> None:
    """Put an operation on a list.

    Args:
        operation: the ``name`` of an :class:`~scratchvgg.autograd.Op`.
        policy: :data:`LOWER`, :data:`FLOAT32`, :data:`WIDEST`, another ``policy(operands, dtype)`` that returns the operands, or None for no list.
        device_types: where.
    """
    for device_type in device_types:
        if policy is None:
            POLICIES[device_type].pop(operation, None)
        else:
            POLICIES[device_type][operation] = policy


class _State(threading.local):
    """One per thread, as for recording: autocast in one thread does not touch another's operations."""

    def __init__(self):
        self.regions: dict[str, tuple[bool, object]] = {}  # device type → (enabled, dtype) of the innermost region
        self.depth, self.cache_enabled = 0, True
        self.casts: dict[tuple, tuple[Tensor, int, Tensor]] = {}  # (leaf, dtype, recording) → (leaf, its version, its cast)


_state = _State()
_DEFAULTS = {"cpu": bfloat16, "cuda": float16, "emulator": float16}


class autocast(ContextDecorator):
    """A region, or a decorated function, whose operations choose their element types; torch's ``autocast``.

    Put the forward pass and the loss inside, ``backward()`` outside: each gradient has the type of what it is the gradient of.

    Args:
        device_type: ``"cpu"``, ``"cuda"`` or ``"emulator"``: operations on tensors there.
        dtype: bfloat16 or float16; None takes bfloat16 on the CPU, float16 elsewhere.
        enabled: False leaves types alone, inside a region that does not.
        cache_enabled: cast each weight once; None keeps what the surrounding region says.

    Raises:
        ValueError: if ``device_type`` is no string. RuntimeError: for another device.
    """

    def __init__(self, device_type: str, dtype=None, enabled: bool = True, cache_enabled: bool | None = None):
        _check_device(device_type)
        self.device, self.cache_enabled = device_type, cache_enabled
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else as_dtype(dtype)
        self.enabled = bool(enabled)
        if enabled and self.fast_dtype not in (bfloat16, float16):
            warnings.warn(f"autocast: dtype must be bfloat16 or float16, got {self.fast_dtype}; autocast is disabled", stacklevel=2)
            self.enabled = False
        self._before: list = []

    def __enter__(self):
        s = _state
        attached = intercept(_dispatch) if s.depth == 0 else None
        if attached is not None:
            attached.__enter__()
        self._before.append((s.regions, s.cache_enabled, attached))
        s.regions = {**s.regions, self.device: (self.enabled, self.fast_dtype)}
        s.cache_enabled = s.cache_enabled if self.cache_enabled is None else bool(self.cache_enabled)
        s.depth += 1
        return self

    def __exit__(self, *error):
        s = _state
        s.regions, s.cache_enabled, attached = self._before.pop()
        s.depth -= 1
        if s.depth == 0:
            clear_autocast_cache()
        if attached is not None:
            attached.__exit__(None, None, None)

    def _recreate_cm(self):
        """A region of its own for each call of a decorated function, in whichever thread."""
        return type(self)(self.device, self.fast_dtype, self.enabled, self.cache_enabled)

    def __call__(self, function):
        if not callable(function):
            raise TypeError(f"autocast: expected a function to decorate, got {type(function).__name__}; or write `with autocast(...):`")
        return super().__call__(function)


def _check_device(device_type):
    if not isinstance(device_type, str):
        raise ValueError(f"autocast: device_type must be a string such as 'cuda', got {type(device_type).__name__} {device_type!r}")
    if device_type not in POLICIES:
        raise RuntimeError(f"autocast: unsupported device_type {device_type!r}; expected one of {', '.join(POLICIES)}")


def is_autocast_available(device_type: str) -> bool:
    """Whether :class:`autocast` knows the device type."""
    return device_type in POLICIES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether this thread is in an enabled :class:`autocast` region for the device type."""
    _check_device(device_type)
    return _state.regions.get(device_type, (False, None))[0]


def get_autocast_dtype(device_type: str):
    """The 16-bit type of the region this thread is in, or that a region would have by default."""
    _check_device(device_type)
    return _state.regions.get(device_type, (False, _DEFAULTS[device_type]))[1]


def is_autocast_cache_enabled() -> bool:
    """Whether casts of weights are kept."""
    return _state.cache_enabled


def clear_autocast_cache() -> None:
    """Forget the casts of weights; the end of the outermost region does it too."""
    _state.casts.clear()


def unifies(operation: str, *operands) -> bool:
    """Whether autocast will bring these operands of ``operation`` to one type, so that there is nothing to check before."""
    if not _state.regions:
        return False
    tensors = [o for o in operands if o is not None]
    return _policy(operation, tensors)[0] is not None and all(_floating(t) for t in tensors)


def _policy(operation, operands):
    """(policy or None, dtype) for an operation on these operands."""
    tensor = next((o for o in operands if isinstance(o, Tensor)), None)
    if tensor is None:
        return None, None
    device_type = tensor.device.type
    enabled, dtype = _state.regions.get(device_type, (False, None))
    return (POLICIES[device_type].get(operation), dtype) if enabled else (None, None)


def _dispatch(op, args, options, proceed):
    """The interceptor: stands before every operation while any thread is in a region."""
    if _state.regions and not issubclass(op, Function):
        policy, dtype = _policy(op.name, args)
        if policy is not None:
            args = policy(args, dtype)
    return proceed(args, options)


def _floating(operand) -> bool:
    """What autocast may cast: floating Tensors, but for float64, which somebody wants to be exact."""
    return isinstance(operand, Tensor) and operand.dtype.is_floating_point and operand.dtype.itemsize < 8


def _cast(operand, dtype):
    """The operand in ``dtype``, if it is one that autocast casts; from the cache if it is a leaf that requires a gradient."""
    if not _floating(operand) or operand.dtype is dtype:
        return operand
    if not (_state.cache_enabled and operand.requires_grad and operand.is_leaf and dtype is not float32):
        return ops.to(operand, dtype)
    key = id(operand), dtype.name, grad_state.grad, grad_state.inference
    held = _state.casts.get(key)
    if held is not None:
        _, version, cast = held
        freed = cast.grad_fn is not None and cast.grad_fn.ctx is None
        if version == operand.version.value and not freed:
            return cast
    cast = ops.to(operand, dtype)
    _state.casts[key] = operand, operand.version.value, cast
    return cast
