"""New tensors: zeros, ones, full, ranges, random numbers, and the ``*_like`` family."""

from __future__ import annotations

import math

from ..array import CPU, Device, as_dtype, default_generator, get_backend, get_default_dtype
from ..array.dtypes import number_dtype
from ..array.order import empty_in_order
from ..autograd import Tensor, ops
from . import draws
from .common import check_tensor, plain_number, sizes_of


def _backend(device):
    return get_backend(CPU if device is None else Device(device))


def _shape(name, size):
    """Varargs or one tuple of sizes, none negative."""
    if not size:
        raise TypeError(f"{name}: missing the size")
    shape = sizes_of(name, size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"{name}: sizes must not be negative, got {shape}")
    return shape


def _finish(backend, array, requires_grad):
    out = Tensor.wrap(backend, array)
    if requires_grad:
        out.requires_grad = True
    return out


def _draw(name, shape, dtype, device, requires_grad, generator, kind):
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not dtype.is_floating_point:
        raise NotImplementedError(f"{name}: needs a floating point dtype, got {dtype}")
    backend, generator = _backend(device), generator or default_generator
    return _finish(backend, kind(backend, generator, shape, dtype), requires_grad)


@ops.register
def zeros(*size, dtype=None, device=None, requires_grad: bool = False):
    """A tensor of zeros; sizes as arguments or as one tuple. float32 by default."""
    backend, shape = _backend(device), _shape("zeros", size)
    return _finish(backend, backend.zeros(shape, dtype or get_default_dtype()), requires_grad)


@ops.register
def ones(*size, dtype=None, device=None, requires_grad: bool = False):
    """A tensor of ones; sizes as arguments or as one tuple. float32 by default."""
    return full(_shape("ones", size), 1, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


@ops.register
def empty(*size, dtype=None, device=None, requires_grad: bool = False):
    """An uninitialised tensor; sizes as arguments or as one tuple. float32 by default."""
    backend, shape = _backend(device), _shape("empty", size)
    return _finish(backend, backend.empty(shape, dtype or get_default_dtype()), requires_grad)


@ops.register
def full(size, fill_value, *, dtype=None, device=None, requires_grad: bool = False):
    """A tensor full of one number, whose kind decides the dtype (bool, int64 or the default floating type) unless it is given."""
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"full: size must be a tuple of ints, got {size!r}")
    fill_value = fill_value.item() if isinstance(fill_value, Tensor) else plain_number(fill_value)
    backend, shape = _backend(device), _shape("full", (size,))
    out = backend.empty(shape, number_dtype(fill_value) if dtype is None else dtype)
    with backend.quiet():
        out[...] = fill_value
    return _finish(backend, out, requires_grad)


@ops.register
def arange(start=0, end=None, step=1, *, dtype=None, device=None, requires_grad: bool = False):
    """start, start + step, … below end (``arange(end)`` starts at 0). int64, or the default floating type if any argument is a float.

    Raises:
        RuntimeError: for step 0, or a step that leads away from ``end``.
    """
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (v.item() if isinstance(v, Tensor) else plain_number(v) for v in (start, end, step))
    if step == 0:
        raise RuntimeError("arange: step must not be 0")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: step {step} does not lead from start {start} to end {end}")
    if dtype is None:
        dtype = get_default_dtype() if any(isinstance(v, float) for v in (start, end, step)) else "int64"
    backend = _backend(device)
    count = math.ceil((end - start) / step)
    with backend.quiet():
        values = start + backend.xp.arange(count) * step  # int64, or float64 rounded once
        return _finish(backend, values.astype(as_dtype(dtype).numpy), requires_grad)


@ops.register
def linspace(start, end, steps: int, *, dtype=None, device=None, requires_grad: bool = False):
    """``steps`` numbers from ``start`` to ``end``, both included.

    Raises:
        RuntimeError: for negative ``steps``.
    """
    if steps < 0:
        raise RuntimeError(f"linspace: steps must not be negative, got {steps}")
    backend = _backend(device)
    with backend.quiet():
        values = backend.xp.linspace(float(start), float(end), steps)
        return _finish(backend, values.astype(as_dtype(dtype or get_default_dtype()).numpy), requires_grad)


@ops.register
def eye(n: int, m: int | None = None, *, dtype=None, device=None, requires_grad: bool = False):
    """n × m (by default n × n) with ones on the diagonal."""
    shape = _shape("eye", (n, n if m is None else m))
    backend = _backend(device)
    with backend.quiet():
        return _finish(backend, backend.xp.eye(*shape, dtype=as_dtype(dtype or get_default_dtype()).numpy), requires_grad)


@ops.register
def rand(*size, generator=None, dtype=None, device=None, requires_grad: bool = False):
    """Uniform in [0, 1)."""
    return _draw("rand", _shape("rand", size), dtype, device, requires_grad, generator, draws.uniform)


@ops.register
def randn(*size, generator=None, dtype=None, device=None, requires_grad: bool = False):
    """Standard normal."""
    return _draw("randn", _shape("randn", size), dtype, device, requires_grad, generator, draws.normal)


@ops.register
def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad: bool = False):
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``. int64 by default.

    Raises:
        RuntimeError: unless low < high.
    """
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint: missing the size")
    backend, generator = _backend(device), generator or default_generator
    drawn = draws.integers(backend, generator, int(low), int(high), _shape("randint", (size,)))
    with backend.quiet():
        return _finish(backend, drawn.astype(as_dtype(dtype or "int64").numpy, copy=False), requires_grad)


@ops.register
def randperm(n: int, *, generator=None, dtype=None, device=None):
    """The numbers 0 … n − 1 in random order, int64 by default."""
    (n,) = _shape("randperm", (n,))
    backend, generator = _backend(device), generator or default_generator
    return _finish(backend, backend.asarray(generator.permutation(n), dtype or "int64"), False)


# ---- like another tensor: its shape, memory order, dtype and device unless given -----------------------------------------


def _like(name, input, dtype, device, requires_grad, memory_format):
    """An uninitialised array like ``input``'s, in its memory order, and how to finish it."""
    check_tensor(name, "input", input)
    backend = input.backend if device is None else _backend(device)
    dtype = input.dtype if dtype is None else as_dtype(dtype)
    if memory_format is not None and memory_format.name != "preserve_format":
        layout = "channels_last" if memory_format.name == "channels_last" else "contiguous"
        array = backend.empty(input.shape, dtype, layout)
    else:
        array = empty_in_order(backend, input.array, dtype)
    return backend, array, lambda: _finish(backend, array, requires_grad)


@ops.register
def empty_like(input, *, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Uninitialised, like ``input``."""
    *_, finish = _like("empty_like", input, dtype, device, requires_grad, memory_format)
    return finish()


@ops.register
def full_like(input, fill_value, *, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Full of one number, like ``input``."""
    backend, array, finish = _like("full_like", input, dtype, device, requires_grad, memory_format)
    with backend.quiet():
        array[...] = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return finish()


@ops.register
def zeros_like(input, *, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Zeros, like ``input``."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad, memory_format=memory_format)


@ops.register
def ones_like(input, *, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Ones, like ``input``."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad, memory_format=memory_format)


@ops.register
def rand_like(input, *, generator=None, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Uniform in [0, 1), like ``input``; drawn in logical order."""
    return _random_like("rand_like", "uniform_", input, generator, dtype, device, requires_grad, memory_format)


@ops.register
def randn_like(input, *, generator=None, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Standard normal, like ``input``; drawn in logical order."""
    return _random_like("randn_like", "normal_", input, generator, dtype, device, requires_grad, memory_format)


@ops.register
def randint_like(input, low, high=None, *, generator=None, dtype=None, device=None, requires_grad: bool = False, memory_format=None):
    """Integers in [low, high) (or [0, low)), like ``input``."""
    low, high = (0, low) if high is None else (low, high)
    backend, array, finish = _like("randint_like", input, dtype, device, requires_grad, memory_format)
    with backend.quiet():
        array[...] = draws.integers(backend, generator or default_generator, int(low), int(high), array.shape)
    return finish()


def _random_like(name, fill, input, generator, dtype, device, requires_grad, memory_format):
    if not (as_dtype(dtype) if dtype is not None else input.dtype).is_floating_point:
        raise NotImplementedError(f"{name}: needs a floating point dtype, got {input.dtype if dtype is None else as_dtype(dtype)}")
    *_, finish = _like(name, input, dtype, device, False, memory_format)
    return getattr(ops, fill)(finish(), generator=generator).requires_grad_(requires_grad)


@ops.register
def tril(input, diagonal: int = 0):
    """The lower triangle of the last two dimensions, zeros above diagonal ``diagonal``."""
    return _triangle("tril", input, lambda xp, rows, columns: xp.tri(rows, columns, diagonal, dtype=bool))


@ops.register
def triu(input, diagonal: int = 0):
    """The upper triangle of the last two dimensions, zeros below diagonal ``diagonal``."""
    return _triangle("triu", input, lambda xp, rows, columns: ~xp.tri(rows, columns, diagonal - 1, dtype=bool))


def _triangle(name, input, mask):
    check_tensor(name, "input", input)
    if input.ndim < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions, got {input.ndim}")
    with input.backend.quiet():
        kept = Tensor.wrap(input.backend, mask(input.backend.xp, *input.shape[-2:]))
    return ops.masked_fill(input, ~kept, 0)


