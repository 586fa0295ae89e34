"""Batch normalisation (S. Ioffe, C. Szegedy, arXiv 1502.03167) and local response normalisation (A. Krizhevsky et al., NIPS 2012)."""

from __future__ import annotations

from ..autograd import is_recomputing
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter, empty_tensor


class _BatchNorm(Module):
    """y = weight · (x − mean) / √(var + eps) + bias, per channel.

    In training mode mean and (biased) variance are the batch's, and the running estimates move towards the batch's mean and
    unbiased variance by ``momentum``; in evaluation mode the running estimates are used and nothing is written.

    Args:
        num_features: channels C.
        eps: added to the variance.
        momentum: weight of the new batch; None averages over all batches so far.
        affine: learn ``weight`` (starts at 1) and ``bias`` (starts at 0).
        track_running_stats: keep running estimates; without them the batch's statistics are always used.
        bias: False leaves only ``weight``.
    """

    _may_be_missing = ("num_batches_tracked",)

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device=None, dtype=None, *, bias: bool = True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (num_features,)
        self.register_parameter("weight", Parameter(empty_tensor(shape, dtype, device)) if affine else None)
        self.register_parameter("bias", Parameter(empty_tensor(shape, dtype, device)) if affine and bias else None)
        self.register_buffer("running_mean", empty_tensor(shape, dtype, device) if track_running_stats else None)
        self.register_buffer("running_var", empty_tensor(shape, dtype, device) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", empty_tensor((), "int64", device) if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, running estimates as new."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input(self, input):
        raise TypeError(f"{type(self).__name__} does not say which inputs it takes")

    def forward(self, input):
        """Normalise."""
        return F.batch_norm(*self.arguments(input))

    def arguments(self, input) -> tuple:
        """What ``functional.batch_norm`` is called with; in training the batch is counted.

        Raises:
            ValueError: for an input of the wrong number of dimensions.
        """
        self._check_input(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            if not is_recomputing():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        use_batch = self.training or self.running_mean is None
        write = self.training and self.track_running_stats
        known = not use_batch or write
        statistics = (self.running_mean, self.running_var) if known else (None, None)
        return input, *statistics, self.weight, self.bias, use_batch, factor, self.eps

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see :class:`BatchNorm2d`."""

    def _check_input(self, input):
        if input.ndim not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.ndim}D input)")


class BatchNorm2d(_BatchNorm):
    __doc__ = "Batch normalisation of (N, C, H, W).\n\n    " + _BatchNorm.__doc__

    def _check_input(self, input):
        if input.ndim != 4:
            raise ValueError(f"expected 4D input (got {input.ndim}D input)")


class LocalResponseNorm(Module):
    """y = x / (k + alpha/size · Σ x²)^beta, the sum over ``size`` neighbouring channels."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        """Normalise."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
