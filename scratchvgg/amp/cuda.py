"""``sv.cuda.amp``, torch's older spelling: autocast and GradScaler for the device ``cuda``."""

from __future__ import annotations

from functools import partial

from ..array.dtypes import float16
from ..autograd import autocast as _autocast
from ..optim.grad_scaler import GradScaler as _GradScaler
from .custom import custom_bwd as _custom_bwd
from .custom import custom_fwd as _custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

custom_fwd, custom_bwd = partial(_custom_fwd, device_type="cuda"), partial(_custom_bwd, device_type="cuda")
GradScaler = partial(_GradScaler, "cuda")


class autocast(_autocast):
    """``sv.autocast("cuda", dtype, enabled, cache_enabled)``; the type is float16 unless given."""

    def __init__(self, enabled: bool = True, dtype=float16, cache_enabled: bool = True):
        super().__init__("cuda", dtype, enabled, cache_enabled)

    def _recreate_cm(self):
        return type(self)(self.enabled, self.fast_dtype, self.cache_enabled)
