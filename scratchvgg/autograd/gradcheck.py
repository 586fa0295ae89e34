"""Compare backward with central differences: (f(x + h) − f(x − h)) / 2h has error O(h²), about 1e-10 at h = 1e-6 in float64."""

from __future__ import annotations

import numpy as np

from .engine import grad
from .grad_mode import enable_grad, no_grad
from .tensor import Tensor


class GradcheckError(RuntimeError):
    """Backward and differences disagree."""


def gradcheck(func, inputs, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True) -> bool:
    """Check the gradients of ``func(*inputs)`` with respect to every float64 input that requires grad.

    The whole Jacobian is compared, one output element and one input element at a time. Keep inputs small, and away from kinks
    (ReLU at 0, equal maxima), where differences mean nothing.

    Args:
        func: takes the inputs, returns a Tensor or a tuple of them.
        inputs: a Tensor or a sequence; each one that requires grad must be float64.
        eps: step h. atol, rtol: |analytic − numeric| ≤ atol + rtol·|numeric|.
        raise_exception: raise on a difference instead of returning False.

    Raises:
        ValueError: if nothing requires grad or an input is not float64.
        GradcheckError: on a difference: which output, which input, both numbers.
    """
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires grad")
    for i in checked:
        if inputs[i].dtype.name != "float64":
            raise ValueError(f"gradcheck: input {i} is {inputs[i].dtype}; differences need float64")

    def outputs():
        result = func(*inputs)
        return [r for r in (result if isinstance(result, (tuple, list)) else (result,)) if r.dtype.is_floating_point]

    with enable_grad():
        recorded = outputs()
    analytic = [_jacobian(out, [inputs[i] for i in checked]) for out in recorded]
    for place, i in enumerate(checked):
        numeric = _differences(outputs, inputs[i], eps)
        for o, estimate in enumerate(numeric):
            exact = analytic[o][place]
            bad = np.abs(exact - estimate) > atol + rtol * np.abs(estimate)
            if bad.any() or np.isnan(exact).any():
                if not raise_exception:
                    return False
                row, column = np.argwhere(bad | np.isnan(exact))[0]
                raise GradcheckError(
                    f"gradcheck: output {o}, input {i}: d out[{row}] / d in[{column}] is {exact[row, column]:.10g} by backward, "
                    f"{estimate[row, column]:.10g} by differences; {int(bad.sum())} of {bad.size} entries differ"
                )
    return True


def _jacobian(out, inputs):
    """One (outputs, inputs) matrix per input, a row per backward pass."""
    rows = [np.zeros((out.numel(), t.numel())) for t in inputs]
    if not out.requires_grad:
        return rows
    for element in range(out.numel()):
        seed = np.zeros(out.numel())
        seed[element] = 1
        gradient = Tensor(seed.reshape(out.shape), dtype=out.dtype, device=out.device)
        grads = grad(out, inputs, gradient, retain_graph=True, allow_unused=True)
        for matrix, g in zip(rows, grads, strict=True):
            if g is not None:
                matrix[element] = g.cpu().numpy().reshape(-1)
    return rows


def _differences(outputs, tensor, eps):
    array = tensor.array
    columns = []

    def at(index, value):
        kept, array[index] = array[index].copy(), value
        tensor.version.value += 1
        results = [o.detach().cpu().numpy().astype(np.float64).reshape(-1) for o in outputs()]
        array[index] = kept
        tensor.version.value += 1
        return results

    with no_grad():
        for index in np.ndindex(array.shape):
            above, below = at(index, array[index] + eps), at(index, array[index] - eps)
            columns.append([(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)])
    return [np.stack(column, 1) for column in zip(*columns, strict=True)] if columns else []
