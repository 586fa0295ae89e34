"""What many operations share: promotion, broadcasting backwards, argument checks."""

from __future__ import annotations

import numbers

import numpy as np

from ..array import as_dtype, get_default_dtype
from ..array.dtypes import number_dtype, result_type
from ..autograd import Tensor, ops


def is_number(value) -> bool:
    """True for Python and NumPy scalars (bool included)."""
    return isinstance(value, (numbers.Real, np.generic))


def plain_number(value):
    """A NumPy scalar as a Python number, so that it cannot widen a result's type."""
    return value.item() if isinstance(value, np.generic) else value


def promote(name: str, *operands, floating: bool = False):
    """Bring Tensors and numbers to one element type by torch's rules.

    Args:
        name: the operation, for messages.
        floating: the result must be floating: integers become the default floating type (division, exp).

    Returns:
        The operands: Tensors of that dtype, Python numbers unchanged, and arrays as Tensors.

    Raises:
        TypeError: for an operand that is neither.
        RuntimeError: for shapes that do not broadcast, or tensors on different devices.
    """
    operands = one_device(name, operands)
    if all(isinstance(o, Tensor) and o.array.dtype is operands[0].array.dtype for o in operands) and (
        not floating or operands[0].dtype.is_floating_point
    ):  # nothing to convert
        broadcast_shape(name, operands)
        return operands
    device = next((o.device for o in operands if isinstance(o, Tensor)), None)
    operands = [_operand(name, o, device) for o in operands]
    broadcast_shape(name, operands)
    wanted = common_dtype(operands, floating)
    return [_as_type(o, wanted) for o in operands]


def one_device(name: str, operands):
    """The operands, a 0-dimensional tensor on the CPU moved to where the others are (torch counts it as a number).

    Raises:
        RuntimeError: for tensors with dimensions on different devices.
    """
    tensors = [o for o in operands if isinstance(o, Tensor)]
    if all(t.backend is tensors[0].backend for t in tensors):
        return operands
    home = next((t for t in tensors if t.array.ndim), tensors[0])
    moved = [ops.to(o, home.device) if isinstance(o, Tensor) and not o.array.ndim and o.device.type == "cpu" else o for o in operands]
    check_same_device(name, *(o for o in moved if isinstance(o, Tensor)))
    return moved


def common_dtype(operands, floating: bool = False):
    """The element type that :func:`promote` brings Tensors and Python numbers to."""
    wanted = result_type([(o.dtype, 2 if o.array.ndim else 1) if isinstance(o, Tensor) else (number_dtype(o), 0) for o in operands])
    return get_default_dtype() if floating and not wanted.is_floating_point else wanted


def broadcast_shape(name: str, operands) -> tuple[int, ...]:
    """The shape that Tensors (and numbers, which have none) broadcast to.

    Raises:
        RuntimeError: if they do not, as in torch.
    """
    shapes = [o.array.shape for o in operands if isinstance(o, Tensor)]
    if all(s == shapes[0] for s in shapes):
        return shapes[0] if shapes else ()
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeError(f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast: sizes must be equal or 1") from None


def _as_type(operand, wanted):
    if isinstance(operand, Tensor):
        return operand if operand.dtype is wanted else ops.to(operand, wanted)
    if isinstance(operand, int) and not wanted.is_floating_point and wanted.name != "bool":
        return wrap_integer(operand, wanted)
    return operand


def wrap_integer(value: int, dtype) -> int:
    """A Python integer modulo 2ᵇⁱᵗˢ, in the range of an integer dtype (NumPy refuses what does not fit; C and torch wrap)."""
    bits = 8 * dtype.itemsize
    value = int(value) & ((1 << bits) - 1)
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def _operand(name, value, device):
    if isinstance(value, Tensor):
        return value
    if is_number(value):
        return plain_number(value)
    if isinstance(value, np.ndarray):
        return Tensor(value, device=device)
    raise TypeError(f"{name}: expected a Tensor or a number, got {type(value).__name__}")


def check_alpha(name: str, alpha, operands) -> None:
    """Raise RuntimeError for a floating ``alpha`` between integers."""
    if isinstance(alpha, float) and not common_dtype(operands).is_floating_point:
        raise RuntimeError(f"{name}: alpha must be an integer for integer tensors, got {alpha}")


def scaled(array, alpha):
    """alpha · array in the array's own type (``array`` may be a number too); alpha = 1 costs nothing."""
    if alpha == 1:
        return array
    if hasattr(array, "dtype") and array.dtype.kind in "iu":
        alpha = wrap_integer(alpha, as_dtype(array.dtype))
    return alpha * array


def sum_to(xp, grad, shape):
    """Undo broadcasting: add ``grad`` up over the dimensions that were stretched from ``shape``."""
    if grad.shape == tuple(shape):
        return grad
    lead = grad.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and grad.shape[lead + i] != 1))
    return xp.sum(grad, axis=axes, keepdims=True).reshape(shape)


def add_at(xp, out, index, values) -> None:
    """``out[index] += values`` where an element may be named twice; ``out`` holds zeros. 16-bit types are added up in float32: a GPU cannot add
    to bfloat16. On a GPU the additions come in any order, so the last bit may change from run to run."""
    if out.dtype.itemsize != 2:
        xp.add.at(out, index, values)
        return
    wide = xp.zeros(out.shape, xp.float32)
    xp.add.at(wide, index, values.astype(xp.float32))
    out[...] = wide


def normalize_dim(name: str, dim: int, ndim: int) -> int:
    """A possibly negative dimension as 0 ≤ dim < ndim (0-dimensional tensors take 0 and −1).

    Raises:
        IndexError: out of range, as in torch.
        TypeError: not an integer.
    """
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)):
        raise TypeError(f"{name}: dim must be an integer, got {type(dim).__name__} {dim!r}")
    bound = max(ndim, 1)
    if not -bound <= dim < bound:
        raise IndexError(f"{name}: dim must be between {-bound} and {bound - 1}, got {dim}")
    return int(dim) % bound


def normalize_dims(name: str, dim, ndim: int) -> tuple[int, ...]:
    """``None`` or ``()`` as all dimensions, an int or a sequence as a tuple.

    Raises:
        RuntimeError: for a dimension named twice.
    """
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = tuple(normalize_dim(name, d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"{name}: a dimension appears twice in {dim}")
    return dims if ndim else ()


def pair(name: str, argument: str, value) -> tuple[int, int]:
    """An int or a sequence of one or two ints as (vertical, horizontal).

    Raises:
        TypeError: not integers. RuntimeError: a sequence of another length.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value), int(value)
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in value):
        raise TypeError(f"{name}: {argument} must be an int or a pair of ints, got {value!r}")
    if len(value) not in (1, 2):
        raise RuntimeError(f"{name}: {argument} must be an int or a pair of ints, got {len(value)} of them: {value!r}")
    return int(value[0]), int(value[-1])


def check_tensor(name: str, argument: str, value) -> Tensor:
    """Raise TypeError unless ``value`` is a Tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: {argument} must be a Tensor, got {type(value).__name__}")
    return value


def check_same_device(name: str, *tensors) -> None:
    """Raise RuntimeError, naming both devices, unless all tensors (None is passed over) are on one device. For tensors that an operation gets as
    plain arrays; those that are arguments of the operation are checked when it runs."""
    devices = [t.device for t in tensors if t is not None]
    for device in devices[1:]:
        if device != devices[0]:
            raise RuntimeError(f"{name}: expected all tensors on one device, found {devices[0]} and {device}")


def sizes_of(name: str, size) -> tuple[int, ...]:
    """``f(2, 3)``, ``f((2, 3))`` and ``f([2, 3])`` alike, as a tuple of ints.

    Raises:
        TypeError: for anything but integers.
    """
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    for n in size:
        if isinstance(n, (bool, str, float)) or not hasattr(n, "__index__"):
            raise TypeError(f"{name}: sizes must be integers, got {type(n).__name__} {n!r}")
    return tuple(n.__index__() for n in size)


def layout_of(array) -> str:
    """``"channels_last"`` if a 4-dimensional array lies in memory as N, H, W, C, else ``"contiguous"`` (see ``Backend.empty``)."""
    if array.ndim != 4 or array.flags.c_contiguous:
        return "contiguous"
    return "channels_last" if array.transpose(0, 2, 3, 1).flags.c_contiguous else "contiguous"
