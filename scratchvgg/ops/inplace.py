"""Operations that write over their first argument: ``add_``, ``mul_``, ``lerp_``, …

Without recording (optimisers, EMA, initialisers) they really write in place, tile by tile, without temporaries of the tensor's
size. While recording, the result is computed beside the old value, which backward may need, and then takes its place.
"""

from __future__ import annotations

from ..array import parallel_for, ranges
from ..autograd import Tensor, is_grad_enabled, ops
from .common import broadcast_shape, check_alpha, check_tensor, common_dtype, is_number, one_device, plain_number, scaled, wrap_integer
from .fused import blend
from .random import overwrite

_TILE = 1 << 17


def in_place(name: str, input, others, recorded, write, floating: bool = False):
    """Run an in-place operation.

    Args:
        others: the other operands, Tensors or numbers.
        recorded: gives the result as a new Tensor; used while recording.
        write: ``write(array, *others)`` writes the result over ``array``; used otherwise, on tiles.
        floating: the operation makes floating results from integers (division, exp).

    Raises:
        RuntimeError: if the result's type does not fit into the tensor's, or its shape is another; or see ``check_writable``.
    """
    check_tensor(name, "input", input)
    others = [o if isinstance(o, Tensor) else plain_number(o) for o in others]
    for o in others:
        if not isinstance(o, Tensor) and not is_number(o):
            raise TypeError(f"{name}: expected a Tensor or a number, got {type(o).__name__}")
    input, *others = one_device(name, [input, *others])
    shape, wanted = broadcast_shape(name, [input, *others]), common_dtype([input, *others], floating)
    if wanted.category > input.dtype.category:
        raise RuntimeError(f"{name}: result type {wanted} can't be cast to the desired output type {input.dtype}")
    if shape != input.array.shape:
        raise RuntimeError(f"{name}: output with shape {list(input.shape)} doesn't match the broadcast shape {list(shape)}")
    input.check_writable(name)
    if is_grad_enabled() and (input.requires_grad or any(isinstance(o, Tensor) and o.requires_grad for o in others)):
        return input.adopt(recorded(input, *others))
    arrays = [o.array if isinstance(o, Tensor) else _fitting(o, input.dtype) for o in others]
    _tiles(input.backend, input.array, arrays, write)
    input.version.value += 1
    return input


def _fitting(number, dtype):
    return wrap_integer(number, dtype) if dtype.category == 1 and not isinstance(number, bool) else number


def _tiles(backend, array, others, write):
    """Call ``write`` on pieces where all arrays lie alike in memory without gaps, else on the whole."""
    same = [o for o in others if getattr(o, "ndim", 0)]
    pieces = [] if backend.runs_kernels else ranges(array.size, _TILE)
    if len(pieces) > 1 and all(o.shape == array.shape and o.strides == array.strides for o in same):
        flat = [a.ravel("K") for a in (array, *same)]
        apart = all(o is array or not backend.xp.may_share_memory(o, array) for o in same)
        if apart and all(backend.xp.may_share_memory(f, a) for f, a in zip(flat, (array, *same), strict=True)):
            flat_of = {id(a): f for a, f in zip((array, *same), flat, strict=True)}

            def tile(piece):
                where = slice(*piece)
                with backend.quiet():
                    write(flat_of[id(array)][where], *(flat_of[id(o)][where] if id(o) in flat_of else o for o in others))

            parallel_for(tile, pieces)
            return
    with backend.quiet():
        write(array, *others)


def _ufunc(xp, ufunc, a, *operands):
    """``ufunc(*operands)`` written over ``a``; the types have been checked."""
    getattr(xp, ufunc)(*operands, out=a, casting="unsafe")


@ops.register
def add_(input, other, *, alpha=1):
    """``input += alpha · other``."""
    xp = check_tensor("add_", "input", input).backend.xp

    check_alpha("add_", alpha, [input, other])
    if alpha != 1 and not isinstance(other, Tensor):
        other, alpha = alpha * other, 1
    return in_place("add_", input, [other], lambda a, b: ops.add(a, b, alpha=alpha), lambda a, b: _ufunc(xp, "add", a, a, scaled(b, alpha)))


@ops.register
def sub_(input, other, *, alpha=1):
    """``input −= alpha · other``."""
    xp = check_tensor("sub_", "input", input).backend.xp
    if input.dtype.name == "bool":
        raise RuntimeError("sub_: not defined for bool tensors; use logical_xor")
    check_alpha("sub_", alpha, [input, other])
    if alpha != 1 and not isinstance(other, Tensor):
        other, alpha = alpha * other, 1
    return in_place("sub_", input, [other], lambda a, b: ops.sub(a, b, alpha=alpha), lambda a, b: _ufunc(xp, "subtract", a, a, scaled(b, alpha)))


@ops.register
def mul_(input, other):
    """``input *= other``."""
    xp = check_tensor("mul_", "input", input).backend.xp
    return in_place("mul_", input, [other], ops.mul, lambda a, b: _ufunc(xp, "multiply", a, a, b))


@ops.register
def div_(input, other):
    """``input /= other``."""
    xp = check_tensor("div_", "input", input).backend.xp
    return in_place("div_", input, [other], ops.div, lambda a, b: _ufunc(xp, "true_divide", a, a, b), floating=True)


@ops.register
def pow_(input, exponent):
    """``input **= exponent``."""
    xp = check_tensor("pow_", "input", input).backend.xp
    return in_place("pow_", input, [exponent], ops.pow, lambda a, b: _ufunc(xp, "power", a, a, b))


@ops.register
def neg_(input):
    """``input = −input``."""
    xp = check_tensor("neg_", "input", input).backend.xp
    if input.dtype.name == "bool":
        raise RuntimeError("neg_: not defined for bool tensors; use logical_not")
    return in_place("neg_", input, [], ops.neg, lambda a: _ufunc(xp, "negative", a, a))


@ops.register
def exp_(input):
    """``input = exp(input)``."""
    xp = check_tensor("exp_", "input", input).backend.xp
    return in_place("exp_", input, [], ops.exp, lambda a: _ufunc(xp, "exp", a, a), floating=True)


@ops.register
def sqrt_(input):
    """``input = √input``."""
    xp = check_tensor("sqrt_", "input", input).backend.xp
    return in_place("sqrt_", input, [], ops.sqrt, lambda a: _ufunc(xp, "sqrt", a, a), floating=True)


@ops.register
def abs_(input):
    """``input = |input|``."""
    xp = check_tensor("abs_", "input", input).backend.xp
    return in_place("abs_", input, [], ops.abs, lambda a: _ufunc(xp, "absolute", a, a))


@ops.register
def clamp_(input, min=None, max=None):
    """``input`` cut to [min, max] (numbers or Tensors; either may be None)."""
    xp = check_tensor("clamp_", "input", input).backend.xp
    if min is None and max is None:
        raise RuntimeError("clamp_: at least one of min and max must be given")
    bounds = [b for b in (min, max) if b is not None]

    def write(a, *bounds):
        for ufunc, bound in zip(["maximum"] * (min is not None) + ["minimum"] * (max is not None), bounds, strict=True):
            _ufunc(xp, ufunc, a, a, bound)

    return in_place("clamp_", input, bounds, lambda a, *_: ops.clamp(a, min, max), write)


@ops.register
def lerp_(input, end, weight):
    """``input += weight · (end − input)``."""
    xp = check_tensor("lerp_", "input", input).backend.xp
    _floating("lerp_", input)

    return in_place("lerp_", input, [end, weight], ops.lerp, lambda a, end, weight: xp.copyto(a, blend(xp, a, end, weight)))


@ops.register
def addcmul_(input, tensor1, tensor2, *, value=1):
    """``input += value · tensor1 · tensor2``."""
    xp = check_tensor("addcmul_", "input", input).backend.xp

    def write(a, b, c):
        product = b * c
        _ufunc(xp, "add", a, a, product if value == 1 else product * value)

    return in_place("addcmul_", input, [tensor1, tensor2], lambda a, b, c: ops.addcmul(a, b, c, value=value), write)


@ops.register
def addcdiv_(input, tensor1, tensor2, *, value=1):
    """``input += value · tensor1 / tensor2``."""
    xp = check_tensor("addcdiv_", "input", input).backend.xp
    _floating("addcdiv_", input)

    def write(a, b, c):
        quotient = xp.true_divide(b, c)
        _ufunc(xp, "add", a, a, quotient if value == 1 else quotient * value)

    return in_place("addcdiv_", input, [tensor1, tensor2], lambda a, b, c: ops.addcdiv(a, b, c, value=value), write)


def _floating(name, input):
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: needs a floating point tensor, got {input.dtype}")


@ops.register
def zero_(input):
    """Fill with zeros."""
    return overwrite("zero_", input, lambda x: x.fill(0))


@ops.register
def fill_(input, value):
    """Fill with a number or a 0-dimensional Tensor.

    Raises:
        RuntimeError: for a Tensor with dimensions.
    """
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"fill_: expected a number or a 0-dimensional tensor, got shape {tuple(value.shape)}")
        return ops.setitem_(input, ..., value)
    return overwrite("fill_", input, lambda x: x.fill(value))


@ops.register
def copy_(input, source):
    """Copy ``source`` (it broadcasts, and is converted to this dtype and device) over ``input``.

    Raises:
        RuntimeError: if it does not broadcast to the shape.
    """
    check_tensor("copy_", "input", input)
    source = source if isinstance(source, Tensor) else Tensor(source, device=input.device)
    return ops.setitem_(input, ..., ops.to(source, input.device))


@ops.register
def masked_fill_(input, mask, value):
    """Write ``value`` where ``mask`` (bool, it broadcasts) is True.

    Raises:
        RuntimeError: for a mask that is not bool or does not broadcast to the shape.
    """
    check_tensor("masked_fill_", "input", input)
    filled = ops.masked_fill(input, mask, value)
    if filled.shape != input.shape:
        raise RuntimeError(f"masked_fill_: the mask of shape {tuple(mask.shape)} does not broadcast to {tuple(input.shape)}")
    input.check_writable("masked_fill_")
    return input.adopt(filled)
