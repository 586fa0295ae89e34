"""Element type and device: ``to`` and its short forms. The gradient travels back to the type (and device) it came from."""

from __future__ import annotations

from ..array import Device, as_dtype, get_backend
from ..autograd import Op, Tensor, ops


class Cast(Op):
    """Another element type; g is cast back."""

    keeps_dtype = False

    @staticmethod
    def forward(ctx, x, dtype):
        ctx.dtype = x.dtype
        return x.astype(dtype)

    @staticmethod
    def backward(ctx, g):
        return g.astype(ctx.dtype), None


class Transfer(Op):
    """Another device; g goes back to the first."""

    @staticmethod
    def forward(ctx, x, backend):
        ctx.source, ctx.backend = ctx.backend, backend
        return _carried(x, ctx.source, backend)

    @staticmethod
    def backward(ctx, g):
        return _carried(g, ctx.backend, ctx.source), None


def _carried(array, source, target):
    """A copy of ``array`` on another device, in its memory order."""
    out = target.asarray(array if source.xp is target.xp else source.to_numpy(array))
    return out.copy("K") if isinstance(array, target.xp.ndarray) and target.xp.may_share_memory(out, array) else out


@ops.register
def to(input, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    """``input`` as another dtype and/or on another device and/or in another memory order; the tensor itself if nothing changes.

    Args:
        args: a dtype, a device, a Tensor to imitate, or device and dtype, in torch's orders.
        non_blocking: accepted for torch's sake; a copy is complete when the call returns, or ordered by the device's stream.
        copy: make a copy even if nothing changes.

    Raises:
        RuntimeError: for a device that this machine does not have; the message says what is missing.
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, Device) or (isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda", "emulator")):
            device = a
        elif isinstance(a, str):
            try:
                dtype = as_dtype(a)
            except TypeError:
                raise RuntimeError(f"to: expected a dtype or a device such as 'cpu' or 'cuda:0', got {a!r}") from None
        elif not isinstance(a, bool):
            dtype = a
    out = input
    if device is not None and Device(device) != out.device:
        backend = get_backend(Device(device))
        out = Transfer.apply(out, backend)
    if dtype is not None and as_dtype(dtype) is not out.dtype:
        out = Cast.apply(out, as_dtype(dtype).numpy)
    if memory_format is not None:
        out = ops.contiguous(out, memory_format)
    return ops.clone(out) if copy and out is input else out
