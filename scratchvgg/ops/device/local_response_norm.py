"""Local response normalisation by CUDA kernels."""

from __future__ import annotations

from ...autograd import Op, kernel_twin
from ...cuda.faces import local_response_norm as face
from ...cuda.launch_size import SUFFIX
from ..local_response_norm import LocalResponseNorm
from .matrix import as_matrix, from_matrix


@kernel_twin(LocalResponseNorm)
class DeviceLocalResponseNorm(Op):
    """Keeps x; d is made again."""

    name = "local_response_norm"

    @staticmethod
    def takes(ctx, x, size, alpha, beta, k):
        """Floating arrays that are not empty."""
        return x.dtype.name in SUFFIX and x.size > 0

    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        ctx.norm = size, alpha, beta, k
        ctx.save(x=x)
        return from_matrix(ctx.backend, face.local_response_norm(ctx.backend, as_matrix(ctx.backend, x), *ctx.norm), x.shape)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved
        gx = face.local_response_norm_backward(ctx.backend, as_matrix(ctx.backend, x), as_matrix(ctx.backend, g), *ctx.norm)
        return from_matrix(ctx.backend, gx, x.shape), None, None, None, None
