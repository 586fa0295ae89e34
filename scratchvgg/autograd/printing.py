"""How a tensor looks when printed: its numbers, then only what is unusual (dtype, device, grad)."""

from __future__ import annotations

import numpy as np

from ..array import get_default_dtype


def tensor_repr(tensor) -> str:
    """``tensor([[1., 2.]], requires_grad=True)``: four decimals, long tensors shortened in the middle."""
    array = tensor.backend.to_numpy(tensor.array)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    prefix = "tensor("
    body = np.array2string(array, separator=", ", prefix=prefix, precision=4, suppress_small=False, threshold=1000, floatmode="maxprec")
    notes = []
    if array.size == 0 and array.shape != (0,):
        notes.append(f"size={tuple(array.shape)}")
    if tensor.device.type != "cpu":
        notes.append(f"device={str(tensor.device)!r}")
    name = tensor.dtype.name
    if name not in (get_default_dtype().name, "int64", "bool") or array.size == 0:
        notes.append(f"dtype=scratchvgg.{name}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn=<{tensor.grad_fn.name}Backward>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return prefix + ", ".join([body, *notes]) + ")"
