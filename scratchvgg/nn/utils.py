"""Gradient clipping, and parameters as one flat vector."""

from __future__ import annotations

from collections.abc import Iterable

from ..autograd import Tensor, no_grad, ops, tensor


def _gradients(parameters):
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p.grad for p in parameters if p.grad is not None]


@no_grad()
def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients, in place, so that the norm of their concatenation is at most ``max_norm``.

    Args:
        norm_type: the p of the p-norm; ``inf`` for the largest element.
        error_if_nonfinite: raise instead of scaling by NaN or 0.

    Returns:
        The norm before clipping, a 0-dimensional Tensor.

    Raises:
        RuntimeError: for a NaN or infinite norm if ``error_if_nonfinite``; gradients stay as they were.
    """
    grads = _gradients(parameters)
    if not grads:
        return tensor(0.0)
    total = ops.norm(ops.stack([ops.norm(g, float(norm_type)).to(grads[0].device) for g in grads]), float(norm_type))
    if error_if_nonfinite and not bool(ops.isfinite(total)):
        raise RuntimeError(
            f"clip_grad_norm_: the total norm of order {float(norm_type)} of the gradients is {total.item()}, so it cannot be clipped; "
            "pass error_if_nonfinite=False to scale them all the same"
        )
    factor = ops.clamp(max_norm / (total + 1e-6), max=1.0)
    for g in grads:
        g.mul_(factor.to(g.device))
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every element of every gradient to ±``clip_value``, in place."""
    for g in _gradients(parameters):
        g.clamp_(-float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, in order, as one vector (recorded on the tape)."""
    return ops.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy consecutive pieces of a vector into the parameters.

    Raises:
        TypeError: if ``vec`` is not a Tensor. RuntimeError: if its length is not the number of parameters.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    needed = sum(p.numel() for p in parameters)
    if vec.shape != (needed,):
        raise RuntimeError(f"vector_to_parameters: the parameters have {needed} elements, the vector has shape {tuple(vec.shape)}")
    start = 0
    for p in parameters:
        p.data.copy_(vec.detach()[start : start + p.numel()].reshape(p.shape))
        start += p.numel()
