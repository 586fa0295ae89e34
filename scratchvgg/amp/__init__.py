"""Floor 7: mixed precision under torch's names. The lists of operations are in ``autograd/autocast.py``, loss scaling in ``optim/grad_scaler.py``.

What torch has not: ``POLICIES`` (the lists), ``set_policy`` and the policies ``LOWER``, ``FLOAT32`` and ``WIDEST`` for it.
"""

from ..autograd.autocast import FLOAT32, LOWER, POLICIES, WIDEST, autocast, is_autocast_available, set_policy
from ..optim.grad_scaler import GradScaler
from .custom import custom_bwd, custom_fwd

__all__ = [
    "FLOAT32", "LOWER", "POLICIES", "WIDEST", "GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available", "set_policy",
]
