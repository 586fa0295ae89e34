"""DLPack: arrays handed from library to library without a copy (dmlc.github.io/dlpack, versions 0 and 1).

NumPy has no bfloat16, so it refuses to hand one out or take one. The bits are the same as a 16-bit integer's: the array crosses as uint16 with the
type written over in the capsule.
"""

from __future__ import annotations

import ctypes

import numpy as np

from .backend import get_backend
from .device import CPU, Device
from .dtypes import bfloat16

_UINT, _BFLOAT = 1, 4  # DLDataTypeCode
_CPU, _CUDA, _CUDA_HOST = 1, 2, 3  # DLDeviceType
# Where DLTensor lies in DLManagedTensor and DLManagedTensorVersioned (dlpack.h), by the name of the capsule.
_TENSOR = {b"dltensor": 0, b"dltensor_versioned": 32}
_TYPE_CODE = 20  # in DLTensor, after data, device and ndim


def export(array, **options):
    """The capsule of an array; ``options`` as in ``__dlpack__``."""
    if isinstance(array, np.ndarray) and array.dtype.name == "bfloat16":
        capsule = array.view(np.uint16).__dlpack__(**options)
        _type_code(capsule).value = _BFLOAT
        return capsule
    return array.__dlpack__(**options)


def take(source):
    """The memory of any object with ``__dlpack__``, as (backend, array) of the device it lies on.

    Raises:
        TypeError: for another object. RuntimeError: for memory on a device that this library does not have.
    """
    if not (hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__")):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__ and __dlpack_device__, got {type(source).__name__}")
    kind, index = source.__dlpack_device__()
    if kind == _CUDA:
        backend = get_backend(Device("cuda", index))
        with backend.quiet():
            return backend, backend.xp.from_dlpack(source)
    if kind not in (_CPU, _CUDA_HOST):
        raise RuntimeError(f"from_dlpack: the memory lies on a device of DLPack type {int(kind)}; this library has the CPU (1) and CUDA (2)")
    hidden = _BFloat16Hidden(source)
    array = np.from_dlpack(hidden)
    return get_backend(CPU), array.view(bfloat16.numpy) if hidden.found else array


class _BFloat16Hidden:
    """An object with ``__dlpack__`` whose bfloat16 looks like uint16."""

    def __init__(self, source):
        self._source, self.found = source, False

    def __dlpack_device__(self):
        return _CPU, 0

    def __dlpack__(self, **options):
        try:
            capsule = self._source.__dlpack__(**options)
        except TypeError:  # a library from before version 1
            capsule = self._source.__dlpack__()
        code = _type_code(capsule)
        if code.value == _BFLOAT:
            code.value, self.found = _UINT, True
        return capsule


def _type_code(capsule) -> ctypes.c_uint8:
    """The byte of a capsule that says the kind of number."""
    api = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))(capsule)
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))(capsule, name)
    return ctypes.c_uint8.from_address(address + _TENSOR[name] + _TYPE_CODE)
