"""Floor 7: mixed precision under torch's names. The lists of operations are in ``autograd/autocast.py``, loss scaling in ``optim/grad_scaler.py``."""

from ..autograd import autocast, is_autocast_available
from ..optim.grad_scaler import GradScaler
from .custom import custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
