"""Tensor's methods, one line each: a call into the table of operations that ``ops/`` fills.

Each is documented where it is computed: ``help(scratchvgg.relu)`` for ``x.relu()``. Names with a trailing ``_`` write in place.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from .table import ops


class TensorMethods:
    """The part of :class:`~scratchvgg.autograd.tensor.Tensor` that only forwards."""

    __array_priority__ = 1000  # ndarray + Tensor asks Tensor
    __hash__ = object.__hash__

    # ---- arithmetic ----------------------------------------------------------------------------------------------
    def __add__(self, other): return ops.add(self, other)
    def __radd__(self, other): return ops.add(other, self)
    def __sub__(self, other): return ops.sub(self, other)
    def __rsub__(self, other): return ops.sub(other, self)
    def __mul__(self, other): return ops.mul(self, other)
    def __rmul__(self, other): return ops.mul(other, self)
    def __truediv__(self, other): return ops.div(self, other)
    def __rtruediv__(self, other): return ops.div(other, self)
    def __floordiv__(self, other): return ops.floor_divide(self, other)
    def __rfloordiv__(self, other): return ops.floor_divide(other, self)
    def __mod__(self, other): return ops.remainder(self, other)
    def __rmod__(self, other): return ops.remainder(other, self)
    def __pow__(self, other): return ops.pow(self, other)
    def __rpow__(self, other): return ops.pow(other, self)
    def __matmul__(self, other): return ops.matmul(self, other)
    def __rmatmul__(self, other): return ops.matmul(other, self)
    def __neg__(self): return ops.neg(self)
    def __pos__(self): return self
    def __abs__(self): return ops.abs(self)
    def __iadd__(self, other): return ops.add_(self, other)
    def __isub__(self, other): return ops.sub_(self, other)
    def __imul__(self, other): return ops.mul_(self, other)
    def __itruediv__(self, other): return ops.div_(self, other)
    def __ipow__(self, other): return ops.pow_(self, other)
    def add(self, other, *, alpha=1): return ops.add(self, other, alpha=alpha)
    def sub(self, other, *, alpha=1): return ops.sub(self, other, alpha=alpha)
    def mul(self, other): return ops.mul(self, other)
    def div(self, other, *, rounding_mode=None): return ops.div(self, other, rounding_mode=rounding_mode)
    def pow(self, exponent): return ops.pow(self, exponent)
    def neg(self): return ops.neg(self)
    def matmul(self, other): return ops.matmul(self, other)
    def mm(self, other): return ops.mm(self, other)
    def bmm(self, other): return ops.bmm(self, other)
    def remainder(self, other): return ops.remainder(self, other)
    def dot(self, other): return ops.dot(self, other)
    def outer(self, vec2): return ops.outer(self, vec2)
    def floor_divide(self, other): return ops.floor_divide(self, other)
    def addcmul(self, tensor1, tensor2, *, value=1): return ops.addcmul(self, tensor1, tensor2, value=value)
    def addcdiv(self, tensor1, tensor2, *, value=1): return ops.addcdiv(self, tensor1, tensor2, value=value)
    def lerp(self, end, weight): return ops.lerp(self, end, weight)
    subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg

    # ---- comparison and logic ------------------------------------------------------------------------------------
    def __eq__(self, other): return ops.eq(self, other) if _comparable(other) else NotImplemented
    def __ne__(self, other): return ops.ne(self, other) if _comparable(other) else NotImplemented
    def __lt__(self, other): return ops.lt(self, other)
    def __le__(self, other): return ops.le(self, other)
    def __gt__(self, other): return ops.gt(self, other)
    def __ge__(self, other): return ops.ge(self, other)
    def __and__(self, other): return ops.bitwise_and(self, other)
    def __or__(self, other): return ops.bitwise_or(self, other)
    def __xor__(self, other): return ops.bitwise_xor(self, other)
    def __invert__(self): return ops.bitwise_not(self)
    def eq(self, other): return ops.eq(self, other)
    def ne(self, other): return ops.ne(self, other)
    def lt(self, other): return ops.lt(self, other)
    def le(self, other): return ops.le(self, other)
    def gt(self, other): return ops.gt(self, other)
    def ge(self, other): return ops.ge(self, other)
    def equal(self, other): return ops.equal(self, other)
    def allclose(self, other, rtol=1e-5, atol=1e-8, equal_nan=False): return ops.allclose(self, other, rtol, atol, equal_nan)
    def isclose(self, other, rtol=1e-5, atol=1e-8, equal_nan=False): return ops.isclose(self, other, rtol, atol, equal_nan)
    def isnan(self): return ops.isnan(self)
    def isinf(self): return ops.isinf(self)
    def isfinite(self): return ops.isfinite(self)
    def logical_not(self): return ops.logical_not(self)
    def logical_and(self, other): return ops.logical_and(self, other)
    def logical_or(self, other): return ops.logical_or(self, other)
    def logical_xor(self, other): return ops.logical_xor(self, other)
    def all(self, dim=None, keepdim=False): return ops.all(self, dim, keepdim)
    def any(self, dim=None, keepdim=False): return ops.any(self, dim, keepdim)

    # ---- elementwise ---------------------------------------------------------------------------------------------
    def exp(self): return ops.exp(self)
    def log(self): return ops.log(self)
    def sqrt(self): return ops.sqrt(self)
    def rsqrt(self): return ops.rsqrt(self)
    def square(self): return ops.square(self)
    def reciprocal(self): return ops.reciprocal(self)
    def sin(self): return ops.sin(self)
    def cos(self): return ops.cos(self)
    def erf(self): return ops.erf(self)
    def abs(self): return ops.abs(self)
    def sign(self): return ops.sign(self)
    def floor(self): return ops.floor(self)
    def ceil(self): return ops.ceil(self)
    def trunc(self): return ops.trunc(self)
    def round(self, *, decimals=0): return ops.round(self, decimals=decimals)
    def clamp(self, min=None, max=None): return ops.clamp(self, min, max)
    def clip(self, min=None, max=None): return ops.clamp(self, min, max)
    def maximum(self, other): return ops.maximum(self, other)
    def minimum(self, other): return ops.minimum(self, other)
    def where(self, condition, other): return ops.where(condition, self, other)
    def masked_fill(self, mask, value): return ops.masked_fill(self, mask, value)
    def relu(self): return ops.relu(self)
    def sigmoid(self): return ops.sigmoid(self)
    def tanh(self): return ops.tanh(self)
    def softmax(self, dim, dtype=None): return ops.softmax(self, dim, dtype=dtype)
    def log_softmax(self, dim, dtype=None): return ops.log_softmax(self, dim, dtype=dtype)

    # ---- reductions ----------------------------------------------------------------------------------------------
    def sum(self, dim=None, keepdim=False, *, dtype=None): return ops.sum(self, dim, keepdim, dtype=dtype)
    def mean(self, dim=None, keepdim=False, *, dtype=None): return ops.mean(self, dim, keepdim, dtype=dtype)
    def prod(self, dim=None, keepdim=False, *, dtype=None): return ops.prod(self, dim, keepdim, dtype=dtype)
    def var(self, dim=None, unbiased=None, keepdim=False, *, correction=None): return ops.var(self, dim, unbiased, keepdim, correction=correction)
    def std(self, dim=None, unbiased=None, keepdim=False, *, correction=None): return ops.std(self, dim, unbiased, keepdim, correction=correction)
    def max(self, dim=None, keepdim=False): return ops.max(self, dim, keepdim)
    def min(self, dim=None, keepdim=False): return ops.min(self, dim, keepdim)
    def amax(self, dim=(), keepdim=False): return ops.amax(self, dim, keepdim)
    def amin(self, dim=(), keepdim=False): return ops.amin(self, dim, keepdim)
    def argmax(self, dim=None, keepdim=False): return ops.argmax(self, dim, keepdim)
    def argmin(self, dim=None, keepdim=False): return ops.argmin(self, dim, keepdim)
    def norm(self, p=2, dim=None, keepdim=False, *, dtype=None): return ops.norm(self, p, dim, keepdim, dtype=dtype)
    def logsumexp(self, dim, keepdim=False): return ops.logsumexp(self, dim, keepdim)
    def cumsum(self, dim, *, dtype=None): return ops.cumsum(self, dim, dtype=dtype)
    def topk(self, k, dim=-1, largest=True, sorted=True): return ops.topk(self, k, dim, largest, sorted)
    def sort(self, dim=-1, descending=False, stable=False): return ops.sort(self, dim, descending, stable)
    def argsort(self, dim=-1, descending=False, stable=False): return ops.argsort(self, dim, descending, stable)
    def unique(self, sorted=True, return_inverse=False, return_counts=False): return ops.unique(self, sorted, return_inverse, return_counts)
    def bincount(self, weights=None, minlength=0): return ops.bincount(self, weights, minlength)
    def nonzero(self, *, as_tuple=False): return ops.nonzero(self, as_tuple=as_tuple)

    # ---- shape ---------------------------------------------------------------------------------------------------
    def reshape(self, *shape): return ops.reshape(self, _sizes(shape))
    def view(self, *shape): return ops.view(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else _sizes(shape))
    def view_as(self, other): return ops.view(self, other.shape)
    def reshape_as(self, other): return ops.reshape(self, other.shape)
    def flatten(self, start_dim=0, end_dim=-1): return ops.flatten(self, start_dim, end_dim)
    def unflatten(self, dim, sizes): return ops.unflatten(self, dim, sizes)
    def permute(self, *dims): return ops.permute(self, _sizes(dims))
    def transpose(self, dim0, dim1): return ops.transpose(self, dim0, dim1)
    def swapaxes(self, axis0, axis1): return ops.swapaxes(self, axis0, axis1)
    def movedim(self, source, destination): return ops.movedim(self, source, destination)
    def t(self): return ops.t(self)
    def squeeze(self, dim=None): return ops.squeeze(self, dim)
    def unsqueeze(self, dim): return ops.unsqueeze(self, dim)
    def expand(self, *sizes): return ops.expand(self, _sizes(sizes))
    def expand_as(self, other): return ops.expand(self, other.shape)
    def repeat(self, *sizes): return ops.repeat(self, _sizes(sizes))
    def tile(self, *dims): return ops.tile(self, _sizes(dims))
    def tril(self, diagonal=0): return ops.tril(self, diagonal)
    def triu(self, diagonal=0): return ops.triu(self, diagonal)
    def flip(self, *dims): return ops.flip(self, _sizes(dims))
    def roll(self, shifts, dims=None): return ops.roll(self, shifts, dims)
    def chunk(self, chunks, dim=0): return ops.chunk(self, chunks, dim)
    def split(self, split_size_or_sections, dim=0): return ops.split(self, split_size_or_sections, dim)
    def unbind(self, dim=0): return ops.unbind(self, dim)
    def narrow(self, dim, start, length): return ops.narrow(self, dim, start, length)
    def contiguous(self, memory_format=None): return ops.contiguous(self, memory_format)
    def clone(self, *, memory_format=None): return ops.clone(self, memory_format=memory_format)
    @property
    def T(self): return ops.permute(self, tuple(range(self.ndim))[::-1])
    @property
    def mT(self): return ops.transpose(self, -2, -1)

    # ---- indexing ------------------------------------------------------------------------------------------------
    def __getitem__(self, index): return ops.getitem(self, index)
    def __setitem__(self, index, value): ops.setitem_(self, index, value)
    def gather(self, dim, index): return ops.gather(self, dim, index)
    def index_select(self, dim, index): return ops.index_select(self, dim, index)
    def masked_select(self, mask): return ops.masked_select(self, mask)
    def __len__(self):
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]
    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter([self[i] for i in range(len(self))])
    def __contains__(self, value): return bool((self == value).any())

    # ---- in place ------------------------------------------------------------------------------------------------
    def add_(self, other, *, alpha=1): return ops.add_(self, other, alpha=alpha)
    def sub_(self, other, *, alpha=1): return ops.sub_(self, other, alpha=alpha)
    def mul_(self, other): return ops.mul_(self, other)
    def div_(self, other): return ops.div_(self, other)
    def pow_(self, exponent): return ops.pow_(self, exponent)
    def neg_(self): return ops.neg_(self)
    def exp_(self): return ops.exp_(self)
    def sqrt_(self): return ops.sqrt_(self)
    def abs_(self): return ops.abs_(self)
    def clamp_(self, min=None, max=None): return ops.clamp_(self, min, max)
    def relu_(self): return ops.relu_(self)
    def lerp_(self, end, weight): return ops.lerp_(self, end, weight)
    def addcmul_(self, tensor1, tensor2, *, value=1): return ops.addcmul_(self, tensor1, tensor2, value=value)
    def addcdiv_(self, tensor1, tensor2, *, value=1): return ops.addcdiv_(self, tensor1, tensor2, value=value)
    def masked_fill_(self, mask, value): return ops.masked_fill_(self, mask, value)
    def zero_(self): return ops.zero_(self)
    def fill_(self, value): return ops.fill_(self, value)
    def copy_(self, source): return ops.copy_(self, source)
    def normal_(self, mean=0.0, std=1.0, *, generator=None): return ops.normal_(self, mean, std, generator=generator)
    def uniform_(self, low=0.0, high=1.0, *, generator=None): return ops.uniform_(self, low, high, generator=generator)
    def random_(self, low=0, high=None, *, generator=None): return ops.random_(self, low, high, generator=generator)
    def bernoulli_(self, p=0.5, *, generator=None): return ops.bernoulli_(self, p, generator=generator)

    # ---- type and device -----------------------------------------------------------------------------------------
    def to(self, *args, **kwargs): return ops.to(self, *args, **kwargs)
    def type_as(self, other): return ops.to(self, other)
    def type(self, dtype): return ops.to(self, dtype=dtype)
    def float(self): return ops.to(self, "float32")
    def double(self): return ops.to(self, "float64")
    def half(self): return ops.to(self, "float16")
    def bfloat16(self): return ops.to(self, "bfloat16")
    def int(self): return ops.to(self, "int32")
    def long(self): return ops.to(self, "int64")
    def bool(self): return ops.to(self, "bool")
    def cpu(self): return ops.to(self, device="cpu")
    def cuda(self, device=None, non_blocking=False): return ops.to(self, device=f"cuda:{device}" if isinstance(device, int) else device or "cuda")
    def pin_memory(self): return self
    def get_device(self): return -1 if self.device.index is None else self.device.index
    def new_zeros(self, *size): return ops.zeros(_sizes(size), dtype=self.dtype, device=self.device)
    def new_ones(self, *size): return ops.ones(_sizes(size), dtype=self.dtype, device=self.device)
    def new_empty(self, *size): return ops.empty(_sizes(size), dtype=self.dtype, device=self.device)
    def new_full(self, size, fill_value): return ops.full(size, fill_value, dtype=self.dtype, device=self.device)
    def new_tensor(self, data): return ops.to(type(self).wrap(self.backend, np.array(data)), self.dtype)
    def is_floating_point(self): return self.dtype.is_floating_point

    # ---- sizes and numbers ---------------------------------------------------------------------------------------
    def size(self, dim=None): return self.shape if dim is None else self.array.shape[dim]
    def dim(self): return self.array.ndim
    ndimension = dim
    def numel(self): return math.prod(self.array.shape)
    nelement = numel
    def stride(self, dim=None):
        steps = tuple(s // self.array.itemsize for s in self.array.strides)
        return steps if dim is None else steps[dim]
    def is_contiguous(self, memory_format=None): return ops.is_contiguous(self, memory_format)
    def element_size(self): return self.array.itemsize
    def data_ptr(self): return self.backend.address(self.array)
    @property
    def itemsize(self): return self.array.itemsize
    @property
    def nbytes(self): return self.array.nbytes
    @property
    def is_cuda(self): return self.device.type == "cuda"
    def tolist(self): return self.backend.to_numpy(self.array).tolist()
    def item(self):
        if self.array.size != 1:
            raise RuntimeError(f"a tensor with {self.array.size} elements cannot be converted to a number; shape {tuple(self.shape)}")
        return self.backend.to_numpy(self.array).item()
    def __float__(self): return float(self.item())
    def __int__(self): return int(self.item())
    def __bool__(self):
        if self.array.size != 1:
            raise RuntimeError(f"the truth value of a tensor with {self.array.size} elements is ambiguous; use any() or all()")
        return bool(self.item())
    def __index__(self):
        if self.dtype.is_floating_point or self.array.size != 1:
            raise TypeError(f"only integer tensors of one element can be an index, this one is {self.dtype} of shape {tuple(self.shape)}")
        return int(self.item())
    def __format__(self, spec): return object.__format__(self, spec) if self.array.ndim else format(self.item(), spec)


def _comparable(other) -> bool:
    """Tensors, arrays and numbers are compared by element; anything else is simply another thing."""
    return isinstance(other, (TensorMethods, np.ndarray, np.generic, int, float))


def _sizes(args) -> tuple:
    """``f(2, 3)``, ``f((2, 3))`` and ``f([2, 3])`` alike."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    return tuple(a if isinstance(a, int) else operator.index(a) for a in args)
