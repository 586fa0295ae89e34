"""Floor 2: Tensor, the tape and the walk back over it. Operations are on floor 4, in ``ops/``."""

from .autocast import (
    autocast,
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    unifies,
)
from .checkpoint import checkpoint, checkpoint_sequential
from .engine import backward, grad, intercept_backward
from .function import Function, Op, intercept, kernel_twin
from .grad_mode import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_anomaly_enabled,
    is_grad_enabled,
    is_inference_mode_enabled,
    is_recomputing,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from .gradcheck import GradcheckError, gradcheck
from .handle import RemovableHandle
from .size import Size
from .table import ops
from .tensor import Tensor, Variable, as_array, as_tensor, from_dlpack, from_numpy, is_tensor, tensor

__all__ = [
    "Function", "GradcheckError", "Op", "RemovableHandle", "Size", "Tensor", "Variable", "as_array", "as_tensor", "autocast",
    "backward", "checkpoint", "checkpoint_sequential", "clear_autocast_cache", "detect_anomaly", "enable_grad", "from_dlpack", "from_numpy",
    "get_autocast_dtype", "grad", "gradcheck", "inference_mode", "intercept", "intercept_backward", "is_anomaly_enabled",
    "is_autocast_available", "is_autocast_cache_enabled", "is_autocast_enabled", "is_grad_enabled", "is_inference_mode_enabled", "is_recomputing",
    "is_tensor", "kernel_twin", "no_grad", "ops", "set_detect_anomaly", "set_grad_enabled", "tensor", "unifies",
]
