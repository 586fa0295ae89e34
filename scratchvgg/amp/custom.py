"""Autocast around a user's own :class:`~scratchvgg.autograd.Function`: torch's ``amp.custom_fwd`` and ``amp.custom_bwd``."""

from __future__ import annotations

import functools

from ..autograd import Tensor, autocast, get_autocast_dtype, is_autocast_enabled


def custom_fwd(fwd=None, *, device_type: str, cast_inputs=None):
    """Decorator of a Function's ``forward``.

    Args:
        device_type: whose autocast state counts.
        cast_inputs: in an enabled region, convert floating arguments (float64 excepted) on that device to this type and run ``forward`` with
            autocast off; None lets the operations inside choose as they would anywhere in the region.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def wrapped(ctx, *args, **kwargs):
        inside = is_autocast_enabled(device_type)
        ctx._dtype, ctx._fwd_used_autocast = get_autocast_dtype(device_type), inside and cast_inputs is None
        if not inside or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_converted(args, device_type, cast_inputs), **_converted(kwargs, device_type, cast_inputs))

    return wrapped


def custom_bwd(bwd=None, *, device_type: str):
    """Decorator of a Function's ``backward``: runs it with the autocast state that its ``forward`` ran with."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def wrapped(ctx, *grads):
        with autocast(device_type, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *grads)

    return wrapped


def _converted(value, device_type, dtype):
    """``value`` with the Tensors in it converted, in lists, tuples and dicts too."""
    if isinstance(value, Tensor):
        eligible = value.dtype.is_floating_point and value.dtype.itemsize < 8 and value.device.type == device_type
        return value.to(dtype) if eligible else value
    if isinstance(value, dict):
        return {key: _converted(item, device_type, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(item, device_type, dtype) for item in value)
    return value
