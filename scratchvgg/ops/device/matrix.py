"""(N, C, ...) arrays as the (M, C) matrices of pixels and channels that kernels take, and back."""

from __future__ import annotations

from ...cuda.faces.planes import channels_last


def as_matrix(backend, x):
    """``x`` (N, C, ...) as (M, C), contiguous: a view if it lies channels last in memory, else a copy."""
    return backend.xp.moveaxis(channels_last(backend, x), 1, -1).reshape(-1, x.shape[1])


def from_matrix(backend, matrix, shape):
    """The matrix as (N, C, ...) of ``shape``, channels last in memory."""
    n, c, *positions = shape
    return backend.xp.moveaxis(matrix.reshape(n, *positions, c), -1, 1)
