"""A module's element type and device."""

from __future__ import annotations

from typing import Self

from ..array import Device, as_dtype
from ..autograd import Tensor


class Moving:
    """The part of :class:`~scratchvgg.nn.Module` that casts and moves; everything happens in place and returns the module."""

    def _apply(self, fn):
        """Replace the memory of every parameter, its gradient and every buffer by ``fn`` of it."""
        for child in self.children():
            child._apply(fn)
        for param in self._parameters.values():
            if param is not None:
                param.data = fn(param.detach())
                if param.grad is not None:
                    param.grad = fn(param.grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args, dtype=None, device=None, non_blocking: bool = False) -> Self:
        """Move to a device and/or cast floating tensors, in place: ``to("cuda")``, ``to(sv.float64)``, ``to(tensor)``.

        Raises:
            TypeError: for a dtype that is not floating.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, Device) or (isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda", "emulator")):
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        if dtype is not None and not as_dtype(dtype).is_floating_point:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={as_dtype(dtype)}")
        return self._apply(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    def float(self) -> Self:
        """Cast floating tensors to float32."""
        return self.to(dtype="float32")

    def double(self) -> Self:
        """Cast floating tensors to float64."""
        return self.to(dtype="float64")

    def half(self) -> Self:
        """Cast floating tensors to float16."""
        return self.to(dtype="float16")

    def bfloat16(self) -> Self:
        """Cast floating tensors to bfloat16."""
        return self.to(dtype="bfloat16")

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to(device="cpu")

    def cuda(self, device=None) -> Self:
        """Move to a GPU."""
        return self.to(device=f"cuda:{device}" if isinstance(device, int) else device or "cuda")
