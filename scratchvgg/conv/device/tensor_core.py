"""tensor_core: the implicit matrix product on tensor cores, ``kernels/conv_tensor_core*.cu``. Scale, bias, ReLU and the 2×2 max-pool are done on
the sums.

Errors. 16-bit numbers are multiplied as they are and products are exact; sums are kept in fp32, but added in blocks of eight (Ampere) or
sixteen (Hopper) whose terms are aligned and *cut*, not rounded (Fasi, Higham, Mikaitis & Pranesh, PeerJ Comput. Sci. 7, 2021): twice fp32's
unit roundoff for each of n / 8 blocks and for the terms of one (the block FMA of Blanchard, Higham, Lopez, Mary & Pranesh, SIAM J. Sci.
Comput. 42, 2020). Cutting has a direction, so that no square root of n is claimed; but blocks that share a sum make each n shorter. TF32
first rounds both factors to 11 bits: 2·2⁻¹¹ more.
"""

from __future__ import annotations

import numpy as np

from ...array.dtypes import as_dtype
from ...cuda.faces import conv_tensor_core as face
from ...cuda.faces.conv_arrays import aligned
from ...cuda.precision import backends
from ..epilogue import PLAIN
from ..errors import terms, unit_roundoff
from ..registry import PASSES, Algorithm, register
from .costs import CLOCK, LAUNCH, floor
from .memory import dense, filled, per_channel

_BLOCK = 8  # products that are added up in one go


@register
class TensorCore(Algorithm):
    """float16 and bfloat16, one group, filters up to 16 × 16, K a multiple of 8; C is free."""

    name = "tensor_core"
    kernels = True
    fuses = True
    dtypes = ("float16", "bfloat16")

    def supports(self, problem, dtype):
        return as_dtype(dtype).name in self.dtypes and all(face.fitting(problem, which, as_dtype(dtype).name) for which in PASSES)

    def workspace(self, problem, dtype, which="forward"):
        return face.workspace(problem, which, as_dtype(dtype).name)

    def cost(self, problem, dtype, which="forward"):
        return LAUNCH + max(floor(problem, dtype), face.plan(problem, which, as_dtype(dtype).name).cycles / CLOCK)

    def error_bound(self, problem, dtype, which="forward"):
        splits = face.plan(problem, which, as_dtype(dtype).name).splits
        n = terms(problem, which) / splits
        factors, result = (2 * 2.0**-11 + 2.0**-22, 0.0) if as_dtype(dtype).itemsize == 4 else (0.0, unit_roundoff(dtype))
        return (n / _BLOCK + _BLOCK) * 2.0**-23 + splits * 2.0**-24 + factors + result

    def forward(self, backend, problem, x, w, bias=None, out=None, *, epilogue=PLAIN):
        options = {"relu": epilogue.relu, "pool": epilogue.pool}
        options |= {"scale": per_channel(backend, epilogue.scale, x.dtype), "bias": per_channel(backend, bias, x.dtype)}
        shape, image, filters = epilogue.shape(problem), _words(backend, x), _words(backend, w)
        with filled(backend, shape, x.dtype, _target(backend, out)) as (y, result):
            if epilogue.winners is None:
                face.forward(backend, problem, image, filters, y, **options)
            else:
                with filled(backend, shape, "uint8", epilogue.winners) as (winners, _):
                    face.forward(backend, problem, image, filters, y, winners=winners, **options)
        return _delivered(result, out)

    def grad_input(self, backend, problem, dy, w, out=None):
        with filled(backend, problem.x_shape, dy.dtype, _target(backend, out)) as (dx, result):
            face.grad_input(backend, problem, _words(backend, dy), _words(backend, w), dx)
        return _delivered(result, out)

    def grad_weight(self, backend, problem, dy, x, out=None):
        """As :class:`Algorithm` says; a float32 ``out`` receives the sums unrounded."""
        dtype = np.float32 if out is not None and out.dtype == np.float32 else dy.dtype
        with filled(backend, problem.w_shape, dtype, _target(backend, out)) as (dw, result):
            face.grad_weight(backend, problem, _words(backend, dy), _words(backend, x), dw)
        return _delivered(result, out)


@register
class TensorCoreTf32(TensorCore):
    """float32, both factors rounded to TF32; K a multiple of 4. Chosen by itself only if ``sv.backends.cudnn.allow_tf32`` is True."""

    name = "tensor_core_tf32"
    dtypes = ("float32",)

    @property
    def permitted(self):
        """The user's switch, whatever the error."""
        return backends.cudnn.allow_tf32


def _words(backend, array):
    """In memory order, beginning at a multiple of 16 bytes: a view if it does, else a copy."""
    held = dense(backend, array)
    return held if aligned(backend, 16, held) else held.copy()


def _target(backend, out):
    """``out`` if the kernels can write into it where it begins."""
    return out if out is not None and aligned(backend, 16, out) else None


def _delivered(result, out):
    """``result`` in ``out``, unless it is there already."""
    if out is None or result is out:
        return result
    out[...] = result
    return out
