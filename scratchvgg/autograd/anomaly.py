"""Anomaly mode: name the operation, and the line that called it, where the first NaN or Inf was made."""

from __future__ import annotations

import traceback


def _first_bad(xp, array) -> str | None:
    if array.dtype.kind not in "fV" or bool(xp.isfinite(array).all()):
        return None
    kind = "NaN" if bool(xp.isnan(array).any()) else "Inf"
    return f"{int((~xp.isfinite(array)).sum())} of {array.size} elements are not finite, {kind} among them"


def check_forward(op, outputs) -> None:
    """Raise if an output of ``op`` holds NaN or Inf.

    Raises:
        RuntimeError: with the operation, the output's shape and the calling stack.
    """
    for index, out in enumerate(outputs):
        bad = _first_bad(out.backend.xp, out.array)
        if bad:
            stack = "".join(traceback.format_list(traceback.extract_stack()[:-3]))
            raise RuntimeError(f"{op.name} made the first NaN or Inf: output {index}, shape {tuple(out.shape)}: {bad}. It was called here:\n{stack}")


def check_backward(node, xp, grads) -> None:
    """Raise if a gradient that ``node`` computed holds NaN or Inf.

    Raises:
        RuntimeError: with the operation, the argument's number and the stack of the forward call.
    """
    for index, grad in enumerate(grads):
        bad = None if grad is None else _first_bad(xp, grad)
        if bad:
            stack = "".join(traceback.format_list(node.stack)) if node.stack else "(forward ran outside anomaly mode: no stack was kept)\n"
            raise RuntimeError(
                f"{node.name}Backward made the first NaN or Inf in the gradient of argument {index}, shape {tuple(grad.shape)}: {bad}. "
                f"Its forward was called here:\n{stack}"
            )
