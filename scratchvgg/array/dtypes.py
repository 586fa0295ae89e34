"""Element types with torch's names, and torch's rules for mixing them.

``sv.float32`` is an instance of :class:`dtype`. Everywhere a dtype is asked for, NumPy's spelling
(``np.float32``, ``"float32"``, ``float``) is taken too: :func:`as_dtype` translates.

Promotion follows PyTorch's *categories* (bool < integer < floating) instead of NumPy's table, because NumPy turns
``int64 + float32`` into float64 and this library never makes a float64 that was not asked for.
"""

from __future__ import annotations

import numpy as np

_BOOL, _INTEGER, _FLOATING = 0, 1, 2


class dtype:
    """One element type. Compare with ``==`` or ``is``; ``.numpy`` is the NumPy dtype, ``.itemsize`` its bytes."""

    __slots__ = ("name", "itemsize", "category", "_numpy")

    def __init__(self, name: str, itemsize: int, category: int):
        self.name, self.itemsize, self.category, self._numpy = name, itemsize, category, None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype. bfloat16 needs the ``bfloat16`` extra (ml_dtypes)."""
        if self._numpy is None:
            if self.name == "bfloat16":
                try:
                    import ml_dtypes
                except ImportError:
                    raise ImportError(
                        "bfloat16 on the CPU needs ml_dtypes: pip install 'scratchvgg[bfloat16]'"
                    ) from None
                self._numpy = np.dtype(ml_dtypes.bfloat16)
            else:
                self._numpy = np.dtype(self.name)
        return self._numpy

    @property
    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.category == _FLOATING

    @property
    def is_signed(self) -> bool:
        """False for bool and uint8."""
        return self.name not in ("bool", "uint8")

    def __repr__(self):
        return f"scratchvgg.{self.name}"

    def __reduce__(self):
        return (as_dtype, (self.name,))


float16 = dtype("float16", 2, _FLOATING)
bfloat16 = dtype("bfloat16", 2, _FLOATING)
float32 = dtype("float32", 4, _FLOATING)
float64 = dtype("float64", 8, _FLOATING)
uint8 = dtype("uint8", 1, _INTEGER)
int8 = dtype("int8", 1, _INTEGER)
int16 = dtype("int16", 2, _INTEGER)
int32 = dtype("int32", 4, _INTEGER)
int64 = dtype("int64", 8, _INTEGER)
bool_ = dtype("bool", 1, _BOOL)

ALL = (float16, bfloat16, float32, float64, uint8, int8, int16, int32, int64, bool_)
_BY_NAME = {d.name: d for d in ALL} | {"half": float16, "float": float32, "double": float64, "long": int64, "int": int32}
_BY_NUMPY: dict[np.dtype, dtype] = {d.numpy: d for d in ALL if d.name != "bfloat16"}
_default = float32


def as_dtype(spec) -> dtype:
    """Translate ``sv.float32``, ``np.float32``, ``np.dtype``, ``"float32"``, ``float``, ``int`` or ``bool`` to a :class:`dtype`.

    ``float`` means the default floating type and ``int`` means int64, as in torch.

    Raises:
        TypeError: for an element type this library does not have (complex, unsigned 16/32/64, strings, objects).
    """
    if type(spec) is dtype:
        return spec
    if isinstance(spec, np.dtype) and spec in _BY_NUMPY:  # the commonest question, asked by every Tensor.dtype
        return _BY_NUMPY[spec]
    if spec is float:
        return _default
    if spec is int:
        return int64
    if spec is bool:
        return bool_
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    try:
        if isinstance(spec, str) and spec.startswith("a"):  # NumPy's deprecated letter for bytes
            raise TypeError
        found = np.dtype(spec)
    except TypeError:
        raise TypeError(f"expected a dtype such as scratchvgg.float32 or 'float32', got {spec!r}") from None
    known = _BY_NUMPY.get(found) or _BY_NUMPY.get(found.newbyteorder("="))
    if known is None and found.name == "bfloat16":
        _BY_NUMPY[found] = known = bfloat16
        bfloat16._numpy = found
    if known is None:
        raise TypeError(f"scratchvgg has no element type {found}; it has {', '.join(d.name for d in ALL)}")
    return known


def get_default_dtype() -> dtype:
    """The type of new floating tensors: float32 unless :func:`set_default_dtype` changed it."""
    return _default


def set_default_dtype(d) -> None:
    """Set the type of new floating tensors (float16, float32 or float64).

    Raises:
        TypeError: if ``d`` is not a floating type.
    """
    global _default
    d = as_dtype(d)
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


def promote_types(a, b) -> dtype:
    """The smallest type that holds both, by torch's table (``promote_types(int64, float32)`` is float32)."""
    a, b = as_dtype(a), as_dtype(b)
    if a.category != b.category:
        return a if a.category > b.category else b
    if a is b:
        return a
    if {a.name, b.name} == {"float16", "bfloat16"}:
        return float32
    if a.category == _FLOATING:
        return a if a.itemsize > b.itemsize else b
    return as_dtype(np.promote_types(a.numpy, b.numpy))


def result_type(operands) -> dtype:
    """The type of an operation between tensors and Python numbers.

    Args:
        operands: pairs ``(dtype, rank)``; ``rank`` is 2 for a tensor with dimensions, 1 for a 0-dimensional tensor,
            0 for a Python number (whose dtype is bool, int64 or the default floating type).

    Higher ranks win within a category; a lower rank counts only if its category is higher (torch's
    "wrapped number" rule), so ``float32 tensor * 2.5`` stays float32.
    """
    best: list[dtype | None] = [None, None, None]
    for d, rank in operands:
        best[rank] = d if best[rank] is None else promote_types(best[rank], d)
    result = None
    for candidate in (best[2], best[1], best[0]):
        if candidate is not None and (result is None or candidate.category > result.category):
            result = candidate
    return result


def number_dtype(value) -> dtype:
    """The dtype a Python number brings into :func:`result_type`."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    return _default
