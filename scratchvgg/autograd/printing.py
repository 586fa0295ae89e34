"""How a tensor looks when printed: its numbers as torch shows them, then only what is unusual (dtype, device, grad)."""

from __future__ import annotations

import numpy as np

from ..array import get_default_dtype

_LONG, _EDGE = 1000, 3  # tensors of more elements show this many at each end


def tensor_repr(tensor) -> str:
    """``tensor([[1., 2.]], requires_grad=True)``: four decimals, long tensors shortened in the middle."""
    array = tensor.backend.to_numpy(tensor.array)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    prefix, name = "tensor(", tensor.dtype.name
    formatter = {"float_kind": _float_format(_shown(array))} if array.dtype.kind == "f" else None
    body = np.array2string(array, separator=", ", prefix=prefix, threshold=_LONG, edgeitems=_EDGE, formatter=formatter) if array.size else "[]"
    notes = []
    if array.size == 0 and array.shape != (0,):
        notes.append(f"size={tuple(array.shape)}")
    if tensor.device.type != "cpu":
        notes.append(f"device={str(tensor.device)!r}")
    if name != get_default_dtype().name and (array.size == 0 or name not in ("int64", "bool")):
        notes.append(f"dtype=scratchvgg.{name}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn=<{tensor.grad_fn.name}Backward>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return prefix + ", ".join([body, *notes]) + ")"


def _shown(array) -> np.ndarray:
    """The elements that will be printed."""
    if array.size > _LONG:
        for axis, n in enumerate(array.shape):
            if n > 2 * _EDGE:
                array = array.take([*range(_EDGE), *range(n - _EDGE, n)], axis)
    return array


def _float_format(shown):
    """Whole numbers as ``1.``, others with four decimals, very large, small or mixed ones as powers of ten; all equally wide."""
    finite = np.abs(shown[np.isfinite(shown) & (shown != 0)]).astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (1.0, 1.0)
    whole = bool((finite == np.ceil(finite)).all())
    if high > 1e8 or high / low > 1000 or (low < 1e-4 and not whole):
        spec = ".4e"
    else:
        spec = ".0f" if whole else ".4f"
    end = "." if spec == ".0f" else ""

    def text(value):
        return f"{value:{spec}}{end}" if np.isfinite(value) else str(float(value))

    width = max((len(text(v)) for v in shown.reshape(-1)), default=0) if shown.ndim else 0
    return lambda value: text(value).rjust(width)
