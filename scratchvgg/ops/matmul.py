"""Matrix products. For C = A B:  ∂L/∂A = g Bᵀ, ∂L/∂B = Aᵀ g, added up over broadcast batch dimensions. Both factors are kept."""

from __future__ import annotations

import math

from ..autograd import Op, ops, unifies
from .common import broadcast_shape, check_tensor, sum_to


def _product(xp, a, b):
    """a @ b; half precision multiplies and adds in float32."""
    if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        return xp.matmul(a.astype(xp.float32), b.astype(xp.float32)).astype(a.dtype)
    return xp.matmul(a, b)


def _rows(x):
    """A stack of matrices as one tall matrix."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class MatMul(Op):
    """(…, M, K) @ (…, K, N), at least two dimensions each."""

    name = "matmul"

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a=a if ctx.needs_input_grad[1] else None, b=b if ctx.needs_input_grad[0] else None)
        ctx.shapes = a.shape, b.shape
        if a.ndim > 2 and b.ndim == 2:  # one tall product instead of many small ones
            return _product(ctx.xp, _rows(a), b).reshape(*a.shape[:-1], b.shape[-1])
        return _product(ctx.xp, a, b)

    @staticmethod
    def backward(ctx, g):
        xp = ctx.xp
        a, b = ctx.saved
        shape_a, shape_b = ctx.shapes
        ga = gb = None
        if len(shape_a) > 2 and len(shape_b) == 2:
            g, a = _rows(g), None if a is None else _rows(a)
        if ctx.needs_input_grad[0]:
            ga = _product(xp, g, b.swapaxes(-1, -2))
            ga = ga.reshape(shape_a) if len(shape_b) == 2 else sum_to(xp, ga, shape_a)
        if ctx.needs_input_grad[1]:
            gb = sum_to(xp, _product(xp, a.swapaxes(-1, -2), g), shape_b)
        return ga, gb


class Dot(MatMul):
    """(1, K) @ (K, 1): a sum rather than a product of matrices, so autocast does not lower it."""

    name = "dot"


def _same_type(name, a, b, op=MatMul):
    check_tensor(name, "input", a)
    check_tensor(name, "other", b)
    if a.dtype is not b.dtype and not unifies(op.name, a, b):
        raise RuntimeError(f"{name}: expected both factors to have the same dtype, got {a.dtype} and {b.dtype}")


def _fits(name, a, b):
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"{name}: shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied: {a.shape[-1]} ≠ {b.shape[-2]}")


@ops.register
def matmul(input, other):
    """The product ``input @ other``: vectors, matrices, or stacks of matrices whose leading dimensions broadcast.

    A vector on the left is a row, on the right a column; that dimension is missing in the result.

    Raises:
        RuntimeError: for sizes that do not fit, 0-dimensional tensors, or different dtypes.
    """
    _same_type("matmul", input, other)
    if input.ndim == 0 or other.ndim == 0:
        raise RuntimeError(f"matmul: both factors need at least 1 dimension, got {input.ndim} and {other.ndim}")
    a = ops.unsqueeze(input, 0) if input.ndim == 1 else input
    b = ops.unsqueeze(other, 1) if other.ndim == 1 else other
    _fits("matmul", a, b)
    if a.ndim > 2 and b.ndim > 2:
        broadcast_shape("matmul", [a[..., :1, :1], b[..., :1, :1]])
    out = MatMul.apply(a, b)
    out = ops.squeeze(out, -2) if input.ndim == 1 else out
    return ops.squeeze(out, -1) if other.ndim == 1 else out


@ops.register
def mm(input, mat2):
    """The product of two matrices.

    Raises:
        RuntimeError: unless both are matrices that fit.
    """
    _same_type("mm", input, mat2)
    if input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(f"mm: expected two matrices, got {input.ndim} and {mat2.ndim} dimensions")
    _fits("mm", input, mat2)
    return MatMul.apply(input, mat2)


@ops.register
def bmm(input, mat2):
    """The products of two equally long stacks of matrices: (B, M, K) and (B, K, N) give (B, M, N).

    Raises:
        RuntimeError: for other shapes.
    """
    _same_type("bmm", input, mat2)
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: expected shapes (B, M, K) and (B, K, N), got {tuple(input.shape)} and {tuple(mat2.shape)}")
    _fits("bmm", input, mat2)
    return MatMul.apply(input, mat2)


@ops.register
def dot(input, other):
    """Σ aᵢbᵢ of two vectors.

    Raises:
        RuntimeError: unless both are vectors of one length.
    """
    _same_type("dot", input, other, Dot)
    if input.ndim != 1 or other.ndim != 1 or input.shape != other.shape:
        raise RuntimeError(f"dot: expected two vectors of one length, got shapes {tuple(input.shape)} and {tuple(other.shape)}")
    return ops.reshape(Dot.apply(ops.unsqueeze(input, 0), ops.unsqueeze(other, 1)), ())


@ops.register
def outer(input, vec2):
    """The matrix aᵢbⱼ of two vectors.

    Raises:
        RuntimeError: unless both are vectors.
    """
    check_tensor("outer", "input", input)
    check_tensor("outer", "vec2", vec2)
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"outer: expected two vectors, got {input.ndim} and {vec2.ndim} dimensions")
    return ops.mul(ops.unsqueeze(input, 1), vec2)
