"""VGG with nothing hidden. ``import scratchvgg as sv`` gives torch's surface.

Tensors, element types and all operations are here; ``sv.nn``, ``sv.optim``, ``sv.models``, ``sv.data`` and the other
subpackages are imported when first used.
"""

import math as _math
from importlib import import_module as _import_module

from . import autograd
from . import cuda as _cuda  # noqa: F401 - registers the devices
from . import ops as _ops  # noqa: F401 - fills the table
from .array import (
    Device,
    Generator,
    get_default_dtype,
    get_num_threads,
    initial_seed,
    manual_seed,
    promote_types,
    set_default_dtype,
    set_num_threads,
)
from .array.dtypes import bfloat16, bool_, dtype, float16, float32, float64, int8, int16, int32, int64, uint8
from .autograd import (
    Size,
    Tensor,
    as_tensor,
    autocast,
    clear_autocast_cache,
    enable_grad,
    from_dlpack,
    from_numpy,
    get_autocast_dtype,
    inference_mode,
    is_anomaly_enabled,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    is_tensor,
    no_grad,
    set_grad_enabled,
    tensor,
)
from .autograd import ops as _table
from .cuda.precision import backends
from .ops.shape import channels_last, contiguous_format, preserve_format

__version__ = "0.1.0"

device = Device
half, float, double = float16, float32, float64
short, int, long, bool = int16, int32, int64, bool_
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e

_SUBPACKAGES = ("amp", "bench", "cli", "conv", "cuda", "data", "evaluate", "hub", "models", "nn", "optim", "study", "train", "utils", "weights")
_NOT_FUNCTIONS = {"backward", "getitem", "setitem_"}  # reached through methods and operators

__all__ = [
    "Generator", "Size", "Tensor", "as_tensor", "autocast", "autograd", "backends", "bfloat16", "bool", "channels_last", "clear_autocast_cache",
    "contiguous_format", "device", "double", "dtype", "e", "enable_grad", "float", "float16", "float32", "float64", "from_dlpack", "from_numpy",
    "get_autocast_dtype", "get_default_dtype", "get_num_threads", "half", "inf", "inference_mode", "initial_seed", "int", "int16", "int32", "int64",
    "int8", "is_anomaly_enabled", "is_autocast_cache_enabled", "is_autocast_enabled", "is_grad_enabled", "is_inference_mode_enabled", "is_tensor",
    "load", "long", "manual_seed", "nan", "no_grad", "pi",
    "preserve_format", "promote_types", "save", "set_default_dtype", "set_grad_enabled", "set_num_threads", "short", "tensor", "uint8",
    *_SUBPACKAGES,
]
_operations = [name for name in _table.names() if name not in _NOT_FUNCTIONS]
__all__ += _operations


def __getattr__(name):
    if name in _SUBPACKAGES:
        return _import_module(f"{__name__}.{name}")
    if name in ("load", "save"):
        return getattr(_import_module(f"{__name__}.serialization"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, "__version__"])


globals().update({name: getattr(_table, name) for name in _operations})
