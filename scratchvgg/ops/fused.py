"""Two operations in one step, as optimisers use them: lerp, addcmul, addcdiv."""

from __future__ import annotations

from ..autograd import Op, Tensor, ops
from .common import check_tensor, promote, sum_to


def blend(xp, start, end, weight):
    """start + w (end − start), from the nearer end, so that w = 1 gives exactly ``end``."""
    difference = end - start
    if isinstance(weight, (int, float)):
        return start + weight * difference if abs(weight) < 0.5 else end - difference * (1 - weight)
    return xp.where(xp.abs(weight) < 0.5, start + weight * difference, end - difference * (1 - weight))


class Lerp(Op):
    """Gradients (1 − w) g, w g, and (end − start) g for a tensor w."""

    name = "lerp"

    @staticmethod
    def forward(ctx, start, end, weight):
        ctx.shapes = start.shape, end.shape, getattr(weight, "shape", ())
        wanted = ctx.needs_input_grad[2]
        ctx.save(start=start if wanted else None, end=end if wanted else None, weight=weight)
        return blend(ctx.xp, start, end, weight)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        start, end, weight = ctx.saved
        gs = sum_to(xp, g * (1 - weight), ctx.shapes[0]) if ctx.needs_input_grad[0] else None
        ge = sum_to(xp, g * weight, ctx.shapes[1]) if ctx.needs_input_grad[1] else None
        gw = sum_to(xp, g * (end - start), ctx.shapes[2]) if ctx.needs_input_grad[2] else None
        return gs, ge, gw


@ops.register
def lerp(input, end, weight):
    """input + weight · (end − input); ``weight`` is a number or a Tensor.

    Raises:
        RuntimeError: for operands of different dtypes, or integers.
    """
    check_tensor("lerp", "input", input)
    check_tensor("lerp", "end", end)
    for other in (end, weight):
        if isinstance(other, Tensor) and other.dtype is not input.dtype:
            raise RuntimeError(f"lerp: expected dtype {input.dtype} for every operand, got {other.dtype}")
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"lerp: needs floating point tensors, got {input.dtype}")
    return Lerp.apply(*promote("lerp", input, end, weight))


@ops.register
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value · tensor1 · tensor2, with broadcasting."""
    product = ops.mul(tensor1, tensor2)
    return ops.add(check_tensor("addcmul", "input", input), product, alpha=value)


@ops.register
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value · tensor1 / tensor2, with broadcasting.

    Raises:
        RuntimeError: for a division of integers.
    """
    check_tensor("addcdiv", "input", input)
    if not any(isinstance(t, Tensor) and t.dtype.is_floating_point for t in (tensor1, tensor2)):
        raise RuntimeError("addcdiv: integer division is not supported; convert with float() first")
    return ops.add(input, ops.div(tensor1, tensor2), alpha=value)
